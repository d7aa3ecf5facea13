from __future__ import annotations

import gc
import threading
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django_apscheduler.jobstores import DjangoJobStore
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from cronsched import chores
from cronsched.chores import Chore, ChoreFailed, ChoreScheduler, daily_at, run_chore, run_if_due, weekly_at
from jobs.engine.lease import LeaseKeeper, Term
from jobs.engine.rescue import PATIENCE_S
from jobs.models import ChoreState, JobExecution
from jobs.services import history
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

# NOON is 21:00 in Tokyo.
MORNING = datetime(2026, 3, 9, 23, 0, tzinfo=UTC)


class Work:
    """Counts its calls; fails while told to."""

    def __init__(self) -> None:
        self.calls: list[datetime] = []
        self.error: Exception | None = None

    def __call__(self, term: object, now: datetime) -> None:
        self.calls.append(now)
        if self.error:
            raise self.error


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, NOON, True),
        (MORNING - timedelta(days=1), MORNING - timedelta(seconds=1), False),
        (MORNING - timedelta(days=1), MORNING, True),
        (MORNING, MORNING + timedelta(hours=23), False),
        (MORNING - timedelta(minutes=1), MORNING + timedelta(hours=5), True),
        (MORNING - timedelta(days=9), MORNING - timedelta(hours=1), True),
    ],
    ids=["never ran", "not yet", "at the time", "done today", "late", "overdue for days"],
)
def test_daily_work_is_due_from_its_hour_in_the_schedulers_zone(last, now, due):
    assert daily_at(8)(last, now) is due


MONDAY = datetime(2026, 3, 9, 0, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, NOON, True),
        (MONDAY - WEEK, MONDAY - timedelta(seconds=1), False),
        (MONDAY - WEEK, MONDAY, True),
        (MONDAY, MONDAY + timedelta(days=6, hours=23), False),
        (MONDAY - timedelta(minutes=1), MONDAY + timedelta(days=2), True),
        (MONDAY - 5 * WEEK, MONDAY - timedelta(hours=1), True),
    ],
    ids=["never ran", "not yet", "at the time", "done this week", "down on Monday", "overdue for weeks"],
)
def test_weekly_work_is_due_from_its_hour_on(last, now, due):
    assert weekly_at(0, 9)(last, now) is due


@pytest.mark.django_db
def test_a_chore_works_when_its_last_success_says_so(work, term):
    chore = Chore(name="morning", work=work, look_every_s=60, is_due=daily_at(8))

    assert run_if_due(chore, term=term, now=MORNING)
    assert not run_if_due(chore, term=term, now=MORNING + timedelta(hours=1))
    assert run_if_due(chore, term=term, now=MORNING + timedelta(days=1))

    assert work.calls == [MORNING, MORNING + timedelta(days=1)]
    assert ChoreState.objects.get().last_success_at == MORNING + timedelta(days=1)


@pytest.mark.django_db
def test_a_chore_that_failed_is_due_again(work, term):
    chore = Chore(name="morning", work=work, look_every_s=60, is_due=daily_at(8))
    work.error = RuntimeError("no")
    with pytest.raises(RuntimeError):
        run_if_due(chore, term=term, now=MORNING)
    state = ChoreState.objects.get()
    assert (state.last_success_at, state.last_started_at, state.last_error) == (
        None,
        MORNING,
        "RuntimeError: no",
    )

    work.error = None
    run_if_due(chore, term=term, now=MORNING + timedelta(minutes=1))

    assert ChoreState.objects.get().last_error == ""
    assert len(work.calls) == 2


@pytest.mark.django_db(transaction=True)
def test_a_failure_reaches_the_store_cut_to_its_column(work, term, monkeypatch):
    work.error = RuntimeError("x" * 5000)
    monkeypatch.setattr(chores, "all_chores", lambda: (Chore(name="long", work=work, look_every_s=60),))
    monkeypatch.setattr(chores, "_keeper", FakeKeeper(term))

    with pytest.raises(ChoreFailed) as failure:
        run_chore("long")

    assert len(str(failure.value)) <= 1000


@pytest.mark.django_db(transaction=True)
def test_a_process_that_does_not_lead_does_no_chore(work, monkeypatch):
    monkeypatch.setattr(chores, "all_chores", lambda: (Chore(name="any", work=work, look_every_s=60),))
    monkeypatch.setattr(chores, "_keeper", FakeKeeper(None))

    run_chore("any")

    assert work.calls == []


@pytest.mark.django_db(transaction=True)
def test_the_chores_run_at_start_and_show_in_the_store(term, monkeypatch):
    done = threading.Event()
    chore = Chore(name="now", work=lambda term, now: done.set(), look_every_s=60)
    monkeypatch.setattr(chores, "all_chores", lambda: (chore,))
    DjangoJob.objects.create(id="retired", job_state=b"")
    scheduler = ChoreScheduler()

    scheduler.start(FakeKeeper(term))
    try:
        assert done.wait(20)
    finally:
        stop(scheduler)

    assert list(DjangoJob.objects.values_list("id", flat=True)) == ["now"]
    assert DjangoJobExecution.objects.filter(job_id="now", status="Executed").count() == 1
    assert ChoreState.objects.get(name="now").last_success_at is not None


def stop(scheduler: ChoreScheduler) -> None:
    scheduler.stop(wait_s=20)
    # The store's listeners leave connections to APScheduler's threads, which end with them.
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write", ["add_job", "update_job"])
def test_chores_whose_store_fails_once_go_on(term, monkeypatch, write):
    """At start and later: a locked file, a server that fails over."""
    failed, again = threading.Event(), threading.Event()
    real = getattr(DjangoJobStore, write)

    def fail_once(store, job):
        if not failed.is_set():
            failed.set()
            raise OperationalError(1290, "read-only")
        return real(store, job)

    def work(term, now):
        if failed.is_set():
            again.set()

    monkeypatch.setattr(chores, "all_chores", lambda: (Chore(name="often", work=work, look_every_s=1),))
    monkeypatch.setattr(DjangoJobStore, write, fail_once)
    scheduler = ChoreScheduler(rebuild_s=0.05)

    scheduler.start(FakeKeeper(term))
    try:
        assert failed.wait(20)
        again.clear()
        assert again.wait(20), "no chore ran after the failure"
    finally:
        stop(scheduler)


@pytest.mark.django_db(transaction=True)
def test_chores_are_ended_while_their_store_is_silent(term, monkeypatch):
    """`stop` is called by the lease's thread, which must not wait for a database."""
    reached, release = threading.Event(), threading.Event()

    def silent(store, job):
        reached.set()
        release.wait(20)

    monkeypatch.setattr(DjangoJobStore, "add_job", silent)
    scheduler = ChoreScheduler()
    scheduler.start(FakeKeeper(term))
    assert reached.wait(20)

    scheduler.stop()
    assert not release.is_set()

    release.set()
    stop(scheduler)
    assert not scheduler._thread.is_alive()


@pytest.mark.django_db
def test_a_success_in_the_future_does_not_put_a_chore_off(work, term):
    """The clock was years ahead, and has been set right."""
    ChoreState.objects.create(name="morning", last_success_at=NOON + timedelta(days=1500))
    chore = Chore(name="morning", work=work, look_every_s=60, is_due=daily_at(8))

    assert run_if_due(chore, term=term, now=NOON)


@pytest.mark.django_db
def test_each_lead_begins_with_a_look_at_what_lies_too_far_ahead(term, monkeypatch):
    """Started anew after the clock was set back: nobody saw the jump, and the job would sleep for years."""
    job = JobFactory(next_run_at=NOON + timedelta(days=1500))
    early = JobFactory(next_run_at=NOON + timedelta(seconds=5))
    chore = next(chore for chore in chores.all_chores() if chore.name == "pull_back")
    ChoreState.objects.create(name="pull_back", last_success_at=NOON - timedelta(minutes=1))
    monkeypatch.setattr(chores, "_led_since", None)
    assert not run_if_due(chore, term=term, now=NOON)

    monkeypatch.setattr(chores, "_led_since", NOON)
    assert run_if_due(chore, term=term, now=NOON)

    job.refresh_from_db()
    early.refresh_from_db()
    assert job.next_run_at == NOON + timedelta(minutes=1)
    assert early.next_run_at == NOON + timedelta(seconds=5), "it comes due, and is then right by itself"


@pytest.fixture
def pruning(settings, monkeypatch):
    """Two batches of old runs, and the chore that prunes them."""
    settings.EXECUTION_RETENTION_DAYS = 10
    monkeypatch.setattr("cronsched.core.db.SQLITE_TURN_S", 0)
    monkeypatch.setattr(history, "PRUNE_BATCH", 2)
    for days in (11, 12, 13):
        ExecutionFactory(scheduled_for=NOON - timedelta(days=days))
    ExecutionFactory(scheduled_for=NOON - timedelta(days=9))
    return next(chore for chore in chores.all_chores() if chore.name == "prune")


@pytest.mark.django_db
def test_old_history_is_pruned_once_a_day(pruning, term):
    assert run_if_due(pruning, term=term, now=NOON)
    assert not run_if_due(pruning, term=term, now=NOON + timedelta(hours=1))

    assert JobExecution.objects.count() == 1


@pytest.mark.django_db
def test_pruning_stops_when_the_lead_is_lost(pruning, term, monkeypatch):
    monkeypatch.setattr(chores, "_keeper", FakeKeeper(None))

    with pytest.raises(ChoreFailed):
        run_if_due(pruning, term=term, now=NOON)

    assert JobExecution.objects.count() == 2
    assert ChoreState.objects.get().last_success_at is None, "the rest is the successor's"


def test_every_chore_has_a_name_of_its_own():
    names = [chore.name for chore in chores.all_chores()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(("steady_s", "rescues"), [(0, 0), (PATIENCE_S - 1, 0), (PATIENCE_S, 1)])
def test_rescue_leaves_the_senders_time_to_record_first(monkeypatch, steady_s, rescues):
    """After a silence of the database their results are on the way, and better than a guess."""
    calls = []
    monkeypatch.setattr(chores, "rescue_stuck", lambda **options: calls.append(options))
    monkeypatch.setattr(chores, "_keeper", FakeKeeper(None, steady_s=steady_s))

    chores._rescue(Term(holder="x", number=1), NOON)

    assert len(calls) == rescues


class FakeKeeper(LeaseKeeper):
    """Knows its term without a database."""

    def __init__(self, term: object, *, steady_s: float = 0) -> None:
        self._fixed = term
        self._fixed_steady_s = steady_s

    def trusted_term(self):
        return self._fixed

    def steady_s(self):
        return self._fixed_steady_s
