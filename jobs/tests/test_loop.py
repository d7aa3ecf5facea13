"""The engine as a process: what a tick survives, what it does not, and that it comes to an end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from cronsched.core.http.guard import AddressPolicy
from cronsched.testing.fixtures_engine import Steady
from jobs.engine import lease, loop
from jobs.engine.claim import SEND_WITHIN_S, claim
from jobs.engine.config import EngineConfig
from jobs.engine.lease import LeaseKeeper
from jobs.engine.loop import Engine
from jobs.engine.send import Sender, SenderConfig
from jobs.models import JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def engine(engine_config: EngineConfig, steady: Steady) -> Iterator[Engine]:
    """An engine that leads, without its ticker and its lease's thread."""
    made = Engine(
        engine_config,
        SenderConfig(policy=AddressPolicy(), max_in_flight=10),
        lease_s=15,
        resync=lambda now: None,
        now=lambda: NOON,
        steady=steady,
        make_sender=partial(Sender, clock=lambda: NOON, steady=steady),
    )
    made.recorder.start()
    made.sender.start()
    made.keeper.turn()
    yield made
    made.sender.stop(5)
    if made.recorder.is_alive():
        made.recorder.stop(5)


@pytest.fixture
def healthy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """As if the threads that this test does not start were alive."""
    monkeypatch.setattr(engine.keeper, "is_alive", lambda: True)
    monkeypatch.setattr(engine.ticker, "is_alive", lambda: True)
    monkeypatch.setattr(engine.follower, "is_alive", lambda: True)
    turns = itertools.count(1)
    monkeypatch.setattr(LeaseKeeper, "turns", property(lambda self: next(turns)), raising=False)
    return engine


def fail(error: Exception):
    def raise_it(*args: object, **options: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError(0, ""), TypeError("our fault")])
def test_what_is_queued_leaves_although_planning_fails(engine, monkeypatch, error):
    JobFactory()
    run = ExecutionFactory(queued=True, manual=True, available_at=NOON)
    monkeypatch.setattr(loop, "plan_due", fail(error))

    engine.tick()

    run.refresh_from_db()
    assert run.status != "queued"


def test_a_leader_that_was_suspended_after_the_claim_sends_nothing(engine, steady, monkeypatch):
    """Nobody took the lead meanwhile, so that it still trusts itself; its run may have been given up."""
    run = ExecutionFactory(queued=True, manual=True, available_at=NOON)
    claimed = []

    def claim_and_sleep(**options):
        claimed.append(claim(**options))
        steady.now += SEND_WITHIN_S
        return claimed[-1]

    monkeypatch.setattr(loop, "claim", claim_and_sleep)

    engine.tick()
    engine.sender.stop(5)
    engine.recorder.stop(5)

    run.refresh_from_db()
    assert run.pk in {delivery.execution_id for delivery in claimed[0].deliveries}
    assert (run.status, run.claim_token) == ("queued", None)


def test_planning_does_not_wait_for_what_else_a_leader_does(engine, monkeypatch):
    """The sweep of the queue fails once: it is made good at the claim, and planning goes on."""
    job = JobFactory()
    monkeypatch.setattr(loop, "miss_stale_queue", fail(OperationalError("gone")))

    engine.tick()
    engine.tick()

    assert JobExecution.objects.filter(job=job).exists()


def test_a_resync_that_fails_is_made_at_the_next_tick(engine):
    calls = []

    def resync(now):
        calls.append(now)
        if len(calls) == 1:
            raise OperationalError("gone")

    engine._resync = resync
    engine._wants_resync.set()

    for _ in range(3):
        engine.tick()

    assert len(calls) == 2


def test_the_database_answers_again_only_when_it_does(engine, monkeypatch, caplog):
    caplog.set_level("INFO")
    with monkeypatch.context() as away:
        away.setattr(loop, "plan_due", fail(OperationalError("gone")))
        engine.tick()
        away.setattr(engine.keeper, "trusted_term", lambda: None)
        engine.tick()
    assert "answers again" not in caplog.text

    engine.tick()
    assert "answers again" in caplog.text


def looks_until_fault(engine: Engine, most: int) -> int:
    return next((n for n in range(most) if engine.fault()), most)


def test_a_tick_that_never_ends_is_a_fault_after_several_leases(healthy):
    assert looks_until_fault(healthy, 1000) == loop.STUCK_LEAST_S / loop.WATCH_S - 1
    healthy.tick()
    assert healthy.fault() == "", "it ended after all"


def test_ticks_that_fail_of_themselves_are_a_fault_and_a_database_away_is_none(healthy, monkeypatch):
    monkeypatch.setattr(loop, "plan_due", fail(OperationalError("gone")))
    for _ in range(200):
        healthy.tick()
        assert healthy.fault() == ""

    monkeypatch.setattr(loop, "plan_due", fail(TypeError("our own fault")))
    for _ in range(200):
        healthy.tick()
    assert looks_until_fault(healthy, 1000) < 1000


def test_a_lease_that_hangs_in_a_silent_database_is_a_fault_although_ticks_go_on(healthy, monkeypatch):
    """PostgreSQL's driver waits for ever, and without trust a tick has nothing to ask the database."""
    for _ in range(300):
        healthy.tick()
        assert healthy.fault() == ""

    monkeypatch.setattr(LeaseKeeper, "turns", property(lambda self: 300), raising=False)
    faults = [healthy.fault() for _ in range(200) if healthy.tick() is None]
    assert "turn of the lease" in faults[-1]


def test_a_recorder_that_hangs_is_a_fault_and_an_idle_or_patient_one_is_none(healthy, monkeypatch):
    recorder = healthy.recorder

    def is_at_fault(*, grows: bool) -> bool:
        for n in range(300):
            healthy.tick()
            monkeypatch.setattr(recorder, "_ended", n if grows else 0)
            if fault := healthy.fault():
                return "attempt to record" in fault
        return False

    assert not is_at_fault(grows=False), "idle"
    monkeypatch.setattr(recorder, "_is_busy", True)
    assert not is_at_fault(grows=True), "a database that is away, again and again"
    assert is_at_fault(grows=False)


@pytest.mark.parametrize("part", ["keeper", "ticker", "sender", "recorder", "follower"])
def test_a_thread_that_has_died_is_a_fault(healthy, monkeypatch, part):
    assert healthy.fault() == ""

    monkeypatch.setattr(getattr(healthy, part), "is_alive", lambda: False)

    assert "died" in healthy.fault()


def test_the_leases_thread_outlives_whatever_a_turn_meets(monkeypatch):
    """It has no successor: did it die, the process would stand idle for ever."""
    lost, again = threading.Event(), threading.Event()

    def fail_once(*args: object, **options: object) -> None:
        if lost.is_set():
            again.set()
            return
        lost.set()
        raise TypeError("our own fault")

    monkeypatch.setattr(lease, "acquire", fail_once)
    keeper = lease.LeaseKeeper(holder="a", ttl_s=0.05, on_lost=lambda: None)
    keeper.start()

    assert again.wait(10)
    keeper.stop()
    keeper._thread.join(10)
    assert not keeper.is_alive()


def test_a_stop_waits_for_no_hanging_tick(engine, monkeypatch):
    began, release = threading.Event(), threading.Event()

    def hang(**options):
        began.set()
        release.wait(30)
        return iter(())

    monkeypatch.setattr(loop, "plan_due", hang)
    monkeypatch.setattr(loop, "TICK_STOP_S", 0.01)
    engine.keeper.start()
    engine.ticker.start()
    assert began.wait(10)

    engine.stop(1)

    assert not release.is_set()
    release.set()
    engine.ticker._ticking.acquire(timeout=10)


@pytest.mark.databases
def test_a_tick_that_finds_nothing_reads_twice_and_locks_nothing(engine):
    """Each second of most of the day: no transaction, which would keep SQLite's other writers out."""
    JobFactory(next_run_at=NOON + timedelta(minutes=1))
    ExecutionFactory(queued=True, manual=True, available_at=NOON + timedelta(minutes=1))
    engine.tick()

    with CaptureQueriesContext(connection) as queries:
        engine.tick()

    statements = [query["sql"] for query in queries]
    assert len(statements) == 2, statements
    assert all(sql.startswith("SELECT") and "FOR UPDATE" not in sql for sql in statements)


def test_a_sender_that_stands_still_is_a_fault_and_one_that_begins_calls_is_not(healthy, monkeypatch):
    def last_fault(begun: Iterator[int | None]) -> str:
        monkeypatch.setattr(type(healthy.sender), "begun", property(lambda self: next(begun)))
        for _ in range(int(healthy._stuck_s / loop.WATCH_S) + 2):
            healthy.tick()
            fault: str = healthy.fault()
        return fault

    assert last_fault(itertools.count(1)) == ""
    assert last_fault(itertools.repeat(None)) == ""
    assert "no beginning of a call has come to its end" in last_fault(itertools.repeat(5))


def test_while_answers_wait_to_be_recorded_no_more_is_claimed(engine, monkeypatch):
    JobFactory()
    run = ExecutionFactory(queued=True, manual=True, available_at=NOON)
    monkeypatch.setattr(loop, "TICK_BUDGET_S", 0.0)

    monkeypatch.setattr(type(engine.recorder), "waiting", property(lambda self: loop.UNRECORDED_MOST + 1))
    engine.tick()
    run.refresh_from_db()
    assert run.status == "queued"

    monkeypatch.setattr(type(engine.recorder), "waiting", property(lambda self: loop.UNRECORDED_MOST))
    engine.tick()
    run.refresh_from_db()
    assert run.status != "queued"
