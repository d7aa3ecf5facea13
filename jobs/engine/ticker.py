"""The tick: APScheduler's interval job on the whole second, and a watchdog for the clock.

A memory store, one job: on a scheduler with a persistent store the listeners cost 8 to 10 queries
for every tick. APScheduler keeps time by the wall clock; set back by an hour, its interval job was
seen silent for that hour. The watchdog compares wall time with a clock that nobody sets, wakes the
scheduler, realigns the job and reports the jump.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from cronsched.core.uptime import uptime

logger = logging.getLogger(__name__)
# A tick that is held up is said once, by us; APScheduler would say it each second.
_scheduler_logger = logging.getLogger(f"{__name__}.apscheduler")
_scheduler_logger.setLevel(logging.ERROR)

TICK_ID = "tick"
WATCH_S = 0.5
# A tick that took longer was held up, by the database as a rule; it is said once, when it is over.
HELD_UP_S = 5.0
# Smaller steps are the clock being disciplined; a tick is lost or doubled at most.
JUMP_S = 2.0
# How many ticks the worst lag is of: a minute of them.
LAGS_KEPT = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Lag:
    """How late ticks began, after the second they belong to: the last one, and the worst of a minute."""

    last_ms: int
    worst_ms: int


class Ticker:
    """Calls `tick` at each whole second and `on_jump(seconds)` when the wall clock was set."""

    def __init__(
        self,
        *,
        tick: Callable[[], None],
        on_jump: Callable[[float], None],
        interval_s: float = 1.0,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = uptime,
    ) -> None:
        self._tick = tick
        self._on_jump = on_jump
        self._interval_s = interval_s
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._stop = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="clock-watchdog", daemon=True)
        self._ticking = threading.Lock()
        # By `steady`: when the next tick is due; None until one has begun, and after a jump.
        self._due_at: float | None = None
        # Replaced whole, since another thread reads it.
        self._lags: tuple[float, ...] = ()
        self._scheduler: Any = BackgroundScheduler(
            logger=_scheduler_logger,
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        # The second that is under way counts: the first tick comes at once, the next on the second.
        # (The trigger goes on from the last planned time, so that one must be whole.)
        first = datetime.now(UTC).replace(microsecond=0)
        self._scheduler.add_job(self._timed_tick, self._trigger(), id=TICK_ID, next_run_time=first)
        self._scheduler.start()
        self._watchdog.start()

    def stop(self, timeout_s: float) -> None:
        """No further tick; one that is under way is waited for, `timeout_s` seconds at most."""
        self._stop.set()
        self._scheduler.shutdown(wait=False)
        if self._ticking.acquire(timeout=timeout_s):
            self._ticking.release()
        else:
            logger.error("the tick under way does not end, it is left behind")
        self._watchdog.join(timeout_s)

    def is_alive(self) -> bool:
        return self._watchdog.is_alive()

    def lag(self) -> Lag | None:
        """None before the second tick. A tick that is held up delays the next one, which counts at once."""
        lags, due_at = self._lags, self._due_at
        if not lags or due_at is None:
            return None
        overdue_s = max(0.0, self._steady() - due_at)
        return Lag(
            last_ms=round(max(lags[-1], overdue_s) * 1000), worst_ms=round(max(*lags, overdue_s) * 1000)
        )

    def look(self) -> float | None:
        """One look at both clocks: the jump in seconds and everything realigned, or None."""
        offset = self._wall() - self._steady()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) < JUMP_S:
            return None
        logger.warning("clock was set, ticks are realigned jump_s=%+.1f", jump)
        self._due_at = None
        self._scheduler.reschedule_job(TICK_ID, trigger=self._trigger())
        self._scheduler.wakeup()
        self._on_jump(jump)
        return jump

    def _timed_tick(self) -> None:
        with self._ticking:
            # Handed to the pool before the stop, begun after it.
            if self._stop.is_set():
                return
            began_s = self._steady()
            self._note_lag(began_s)
            self._tick()
            took_s = self._steady() - began_s
        if took_s > HELD_UP_S:
            logger.warning("a tick was held up took_s=%.1f", took_s)

    def _note_lag(self, began_s: float) -> None:
        due_at = self._due_at
        if due_at is None:
            # Where in its second this one begins, the wall clock says.
            due_at = began_s - self._wall() % self._interval_s
        else:
            self._lags = (*self._lags[1 - LAGS_KEPT :], max(0.0, began_s - due_at))
        # Those it is too late for already are not made up for: they are one with this one.
        passed = (began_s - due_at) // self._interval_s
        self._due_at = due_at + (passed + 1) * self._interval_s

    def _trigger(self) -> IntervalTrigger:
        base = datetime.fromtimestamp(int(self._wall()), UTC) - timedelta(seconds=self._interval_s)
        return IntervalTrigger(seconds=self._interval_s, start_date=base, timezone=UTC)

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_S):
            try:
                self.look()
            except Exception:
                logger.exception("the clock could not be watched")
