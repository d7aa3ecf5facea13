"""Catching up: what runs late, what is one row, and that a backlog stands in nobody's way."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.choices import Status
from jobs.engine import decide
from jobs.engine.claim import claim
from jobs.engine.plan import plan_batch, plan_due
from jobs.engine.rescue import miss_stale_queue
from jobs.models import Job, JobExecution
from jobs.services.lifecycle import pause_job
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
MINUTE = timedelta(minutes=1)
# With ten minutes gone by: 12:00 to 12:09 are a gap, 12:10 is due just now.
TEN_LATER = NOON + 10 * MINUTE + timedelta(seconds=5)


def minutes(*numbers: int) -> list[datetime]:
    return [NOON + number * MINUTE for number in numbers]


def of_status(job: Job, status: Status) -> list[datetime]:
    return list(
        job.executions.filter(status=status).order_by("scheduled_for").values_list("scheduled_for", flat=True)
    )


@pytest.fixture
def plan_at(term, engine_config):
    def run(now: datetime) -> None:
        list(plan_due(now=now, term=term, config=engine_config))

    return run


@pytest.mark.parametrize(
    ("catch_up", "cron", "now", "fires", "gap"),
    [
        ("skip", "* * * * *", TEN_LATER, [10], (0, 9, 10)),
        ("latest", "* * * * *", TEN_LATER, [10], (0, 9, 10)),
        ("skip", "0,5 12 * * *", TEN_LATER, [], (0, 5, 2)),
        ("latest", "0,5 12 * * *", TEN_LATER, [5], (0, 0, 1)),
        ("latest", "0 12 * * *", TEN_LATER, [0], None),
        ("all", "0,5 12 * * *", TEN_LATER, [0, 5], None),
        ("all", "0,5,10 12 * * *", TEN_LATER, [0, 5, 10], None),
        ("all", "0 12 * * *", NOON, [0], None),
    ],
)
def test_what_is_run_and_what_is_one_missed_row(plan_at, catch_up, cron, now, fires, gap):
    job = JobFactory(timezone="UTC", catch_up=catch_up, cron_expression=cron)

    plan_at(now)

    assert of_status(job, Status.QUEUED) == minutes(*fires)
    rows = job.executions.filter(status=Status.MISSED).values_list(
        "scheduled_for", "missed_last_at", "missed_count"
    )
    expected = [(*minutes(gap[0], gap[1]), gap[2])] if gap else []
    assert list(rows) == expected
    job.refresh_from_db()
    assert job.next_run_at > now


def test_all_runs_no_more_at_a_time_than_may_overlap_and_forgets_none(plan_at, term, engine_config):
    job = JobFactory(catch_up="all")
    seen = []

    for second in range(10):
        plan_at(TEN_LATER + timedelta(seconds=second))
        waiting = of_status(job, Status.QUEUED)
        assert len(waiting) <= 3
        seen += waiting
        job.executions.filter(status=Status.QUEUED).update(status=Status.SUCCESS)

    assert seen == minutes(*range(11))
    assert not job.executions.filter(status=Status.MISSED).exists()
    job.refresh_from_db()
    assert job.next_run_at == NOON + 11 * MINUTE


def test_all_waits_for_room_instead_of_missing(plan_at):
    job = JobFactory(catch_up="all")
    ExecutionFactory.create_batch(3, job=job, running=True)

    plan_at(TEN_LATER)

    job.refresh_from_db()
    assert job.next_run_at == NOON
    assert not job.executions.filter(scheduled_for__gte=NOON).exists()


def test_all_is_capped_and_what_is_older_is_one_row(plan_at):
    job = JobFactory(catch_up="all")

    plan_at(NOON + timedelta(days=30))

    gap = job.executions.get(status=Status.MISSED)
    total = 30 * 24 * 60 + 1
    assert gap.missed_count == total - decide.CATCH_UP_MOST
    assert (gap.scheduled_for, gap.missed_last_at) == tuple(minutes(0, total - decide.CATCH_UP_MOST - 1))
    first = total - decide.CATCH_UP_MOST
    assert of_status(job, Status.QUEUED) == minutes(first, first + 1, first + 2)


def test_slots_after_the_end_date_are_not_caught_up(plan_at):
    """The end date's midnight in Tokyo is 15:00 UTC."""
    job = JobFactory(catch_up="all", cron_expression="0 * * * *", end_date=date(2026, 3, 10))

    plan_at(NOON + timedelta(days=3))

    assert of_status(job, Status.QUEUED) == [NOON + timedelta(hours=hour) for hour in range(3)]
    job.refresh_from_db()
    assert job.next_run_at is None


def test_a_backlog_stands_in_no_other_jobs_way(term, engine_config):
    """Jobs that wait for room come first by their slot, tick after tick."""
    behind = [JobFactory(catch_up="all", next_run_at=NOON - timedelta(days=1)) for _ in range(5)]
    for job in behind:
        ExecutionFactory.create_batch(3, job=job, running=True)
    other = JobFactory()

    list(plan_due(now=NOON, term=term, config=engine_config, batch=2))

    assert of_status(other, Status.QUEUED) == [NOON]


def test_pausing_in_the_middle_of_a_backlog_accounts_for_the_rest(plan_at):
    job = JobFactory(catch_up="all")
    plan_at(TEN_LATER)

    pause_job(job, by=None, now=TEN_LATER)

    rest = job.executions.get(status=Status.MISSED)
    assert (rest.scheduled_for, rest.missed_last_at, rest.missed_count) == (*minutes(3, 10), 8)


@pytest.mark.parametrize(
    ("catch_up", "status"), [("skip", "missed"), ("latest", "queued"), ("all", "queued")]
)
def test_a_new_leader_sends_what_was_queued_before_it_for_jobs_that_catch_up(term, catch_up, status):
    row = ExecutionFactory(queued=True, job=JobFactory(catch_up=catch_up), scheduled_for=NOON)

    miss_stale_queue(now=NOON + timedelta(hours=8), term=term, grace_s=30)

    row.refresh_from_db()
    assert row.status == status


def test_a_retry_is_not_taken_for_a_run_that_nobody_sent(term):
    row = ExecutionFactory(queued=True, attempt=2, scheduled_for=NOON)

    assert miss_stale_queue(now=NOON + timedelta(hours=8), term=term, grace_s=30) == 0

    row.refresh_from_db()
    assert row.status == "queued"


def test_a_run_between_two_attempts_holds_its_place_in_the_overlap_limit(plan_at):
    job = JobFactory()
    ExecutionFactory.create_batch(3, job=job, queued=True, attempt=2, claim_token=uuid.uuid4())

    plan_at(NOON)

    assert job.executions.get(scheduled_for=NOON).reason == "overlap"


def test_what_is_caught_up_is_sent(plan_at, term, engine_config):
    JobFactory(catch_up="latest", cron_expression="0 12 * * *", timezone="UTC")
    plan_at(TEN_LATER)

    assert len(claim(now=TEN_LATER, term=term, limit=9, config=engine_config).deliveries) == 1


def test_statements_do_not_grow_with_the_jobs_behind(term, engine_config):
    def statements(count: int) -> int:
        JobExecution.objects.all().delete()
        Job.objects.update(next_run_at=NOON + timedelta(days=99))
        for _ in range(count):
            JobFactory(catch_up="all")
        with CaptureQueriesContext(connection) as queries:
            assert plan_batch(now=TEN_LATER, term=term, config=engine_config).queued == 3 * count
        return len(queries)

    assert statements(1) == statements(10)


# ---- the clock ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeated_s", [0.1, 1.0, 59.0])
def test_a_repeated_second_repeats_no_slot(plan_at, repeated_s):
    """A leap second, or a clock that is set back a little."""
    job = JobFactory()

    plan_at(NOON)
    plan_at(NOON - timedelta(seconds=repeated_s))
    plan_at(NOON)

    assert list(job.executions.values_list("scheduled_for", flat=True)) == [NOON]


@pytest.mark.parametrize(("catch_up", "fires"), [("skip", 1), ("latest", 1), ("all", 3)])
def test_a_clock_set_forward_an_hour_leaves_a_gap_and_no_hole(plan_at, catch_up, fires):
    job = JobFactory(catch_up=catch_up)

    plan_at(NOON + timedelta(hours=1))
    for _ in range(30):
        job.executions.filter(status=Status.QUEUED).update(status=Status.SUCCESS)
        plan_at(NOON + timedelta(hours=1))

    rows = job.executions.values_list("status", "missed_count")
    assert sum(count or 1 for _, count in rows) == 61
    assert job.executions.filter(status=Status.SUCCESS).count() == {1: 1, 3: 61}[fires]
