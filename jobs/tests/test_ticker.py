from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from jobs.engine.ticker import JUMP_S, LAGS_KEPT, Lag, Ticker


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.offset = 1_773_144_000.0
        self.uptime = 50.0

    def wall(self) -> float:
        return self.offset + self.uptime

    def steady(self) -> float:
        return self.uptime


def make(clocks: Clocks, jumps: list[float]) -> Ticker:
    return Ticker(
        tick=lambda: None, on_jump=jumps.append, wall=clocks.wall, steady=clocks.steady, interval_s=1.0
    )


def started(ticker: Ticker) -> Ticker:
    ticker._scheduler.add_job(ticker._tick, ticker._trigger(), id="tick")
    ticker._scheduler.start(paused=True)
    return ticker


def test_time_going_by_is_no_jump():
    clocks, jumps = Clocks(), []
    ticker = started(make(clocks, jumps))
    clocks.uptime += 3600

    assert ticker.look() is None
    assert jumps == []


def test_a_clock_disciplined_by_a_second_is_no_jump():
    clocks, jumps = Clocks(), []
    ticker = started(make(clocks, jumps))
    clocks.offset -= JUMP_S - 0.5

    assert ticker.look() is None


def test_a_clock_set_back_an_hour_realigns_the_tick_and_is_reported_once():
    clocks, jumps = Clocks(), []
    ticker = started(make(clocks, jumps))
    scheduled_far = datetime.now(UTC) + timedelta(hours=1)
    ticker._scheduler.modify_job("tick", next_run_time=scheduled_far)
    clocks.offset -= 3600

    assert ticker.look() == -3600
    assert ticker.look() is None

    assert jumps == [-3600]
    assert ticker._scheduler.get_job("tick").next_run_time < datetime.now(UTC) + timedelta(seconds=2)


def test_ticks_come_on_the_whole_second():
    seen: list[float] = []
    enough = threading.Event()

    def tick() -> None:
        seen.append(datetime.now(UTC).timestamp() % 1)
        if len(seen) == 3:
            enough.set()

    ticker = Ticker(tick=tick, on_jump=lambda jump: None)
    ticker.start()
    try:
        assert enough.wait(10)
    finally:
        ticker.stop(10)

    # The first comes at once; those after it on the second, give or take a busy machine.
    assert all(part < 0.5 for part in seen[1:])


def test_a_tick_that_hangs_does_not_hold_up_the_stop_and_none_follows():
    began, release = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        release.wait(30)

    ticker = Ticker(tick=hang, on_jump=lambda jump: None)
    ticker.start()
    assert began.wait(10)

    ticker.stop(0.01)
    assert not release.is_set()

    began.clear()
    release.set()
    ticker._timed_tick()
    assert not began.is_set()


# ---- how late ticks are ----------------------------------------------------------------------------


def tick_at(ticker: Ticker, clocks: Clocks, uptime: float, *, took: float = 0.0) -> None:
    """One tick that begins then."""
    clocks.uptime = uptime
    ticker._tick = lambda: setattr(clocks, "uptime", uptime + took)
    ticker._timed_tick()


def test_the_lag_is_of_the_last_tick_and_the_worst_of_a_minute():
    clocks = Clocks()
    ticker = make(clocks, [])
    assert ticker.lag() is None

    tick_at(ticker, clocks, 50.004)
    assert ticker.lag() is None, "of the first nobody knows when it was due"
    for begins in (51.010, 52.250, 53.020):
        tick_at(ticker, clocks, begins)

    assert ticker.lag() == Lag(last_ms=20, worst_ms=250)
    for second in range(54, 54 + LAGS_KEPT):
        tick_at(ticker, clocks, second + 0.005)
    assert ticker.lag() == Lag(last_ms=5, worst_ms=5)


def test_a_tick_that_takes_long_makes_the_next_one_late_once():
    clocks = Clocks()
    ticker = make(clocks, [])
    tick_at(ticker, clocks, 50.0)
    tick_at(ticker, clocks, 51.0, took=2.5)
    assert ticker.lag() == Lag(last_ms=1500, worst_ms=1500), "while it waits"

    tick_at(ticker, clocks, 53.5)
    tick_at(ticker, clocks, 54.0)

    assert ticker.lag() == Lag(last_ms=0, worst_ms=1500)


def test_a_clock_that_is_set_is_no_lag():
    clocks = Clocks()
    ticker = started(make(clocks, []))
    tick_at(ticker, clocks, 50.0)
    tick_at(ticker, clocks, 51.0)
    clocks.offset += 3600.4
    ticker.look()

    tick_at(ticker, clocks, 51.6)
    tick_at(ticker, clocks, 52.6)

    assert ticker.lag() == Lag(last_ms=0, worst_ms=0)
