from __future__ import annotations

from contextlib import contextmanager
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs import schedule
from jobs.engine.slots import schedule_key
from jobs.models import Job
from jobs.services import maintenance
from jobs.services.maintenance import expire_jobs, pull_back, reconcile, resync
from jobs.signals import job_batch_changed
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
MINUTE = timedelta(minutes=1)
# NOON is 21:00 of 10 March in Tokyo.
YESTERDAY, TODAY = date(2026, 3, 9), date(2026, 3, 10)


def next_of(job: Job):
    job.refresh_from_db()
    return job.next_run_at


def test_resync_recomputes_every_active_job_and_says_how_many_are_scheduled():
    wrong = JobFactory(next_run_at=NOON + timedelta(days=3))
    JobFactory(next_run_at=NOON + MINUTE)
    JobFactory(paused=True)

    done = resync(now=NOON)

    assert (done.scheduled, done.paused, done.removed) == (2, 0, 0)
    assert next_of(wrong) == NOON + MINUTE


def test_resync_leaves_a_due_slot_to_plan():
    job = JobFactory(next_run_at=NOON - MINUTE)

    resync(now=NOON)

    assert next_of(job) == NOON - MINUTE


def test_resync_pauses_expired_jobs_and_tells():
    job = JobFactory(end_date=YESTERDAY)
    told = []

    def listen(sender, changes, by, **kwargs):
        told.extend((change.job.pk, change.action, by, change.job.is_active) for change in changes)

    job_batch_changed.connect(listen)
    try:
        done = resync(now=NOON)
    finally:
        job_batch_changed.disconnect(listen)

    job.refresh_from_db()
    assert (done.paused, done.scheduled) == (1, 0)
    assert (job.is_active, job.next_run_at, job.paused_reason) == (False, None, "expired")
    assert "2026-03-09" in job.paused_note
    assert told == [(job.pk, "expired", None, False)]


def test_a_job_runs_through_its_end_date_in_the_schedulers_zone():
    job = JobFactory(end_date=TODAY, timezone="America/New_York")

    assert expire_jobs(now=NOON + timedelta(hours=2, minutes=59)) == 0
    assert expire_jobs(now=NOON + timedelta(hours=3)) == 1
    assert next_of(job) is None


def test_what_came_due_before_the_end_date_is_missed_not_lost():
    """No scheduler ran from noon of the last day (21:00 in Tokyo) until the day after."""
    job = JobFactory(cron_expression="0 * * * *", end_date=TODAY)

    expire_jobs(now=NOON + timedelta(days=1))

    row = job.executions.get()
    assert (row.status, row.scheduled_for, row.missed_count) == ("missed", NOON, 3)
    assert row.missed_last_at == NOON + timedelta(hours=2)


def test_expiry_is_told_once():
    JobFactory(end_date=YESTERDAY)

    assert expire_jobs(now=NOON) == 1
    assert expire_jobs(now=NOON) == 0


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ({"cron_expression": "30 * * * *"}, NOON + 30 * MINUTE),
        ({"timezone": "Asia/Kolkata", "cron_expression": "0 18 * * *"}, NOON + 30 * MINUTE),
        ({"next_run_at": None}, NOON + MINUTE),
    ],
    ids=["expression", "zone", "state"],
)
def test_reconcile_finds_what_was_changed_behind_the_services_back(behind, expected):
    job = JobFactory(next_run_at=NOON + MINUTE)
    Job.objects.update(**behind)

    reconcile(now=NOON)

    assert next_of(job) == expected


def test_a_due_slot_of_a_schedule_that_is_no_more_does_not_stay():
    job = JobFactory(next_run_at=NOON)
    Job.objects.update(cron_expression="30 * * * *")

    reconcile(now=NOON)

    assert next_of(job) == NOON + 30 * MINUTE


def test_a_change_of_the_schedulers_zone_moves_jobs_without_one(settings):
    follows = JobFactory(cron_expression="0 9 * * *", next_run_at=NOON + 12 * 60 * MINUTE)
    own = JobFactory(cron_expression="0 9 * * *", timezone="Asia/Tokyo", next_run_at=NOON + 12 * 60 * MINUTE)
    settings.SCHEDULER_TIMEZONE = "UTC"

    reconcile(now=NOON)

    assert next_of(follows) == NOON + 21 * 60 * MINUTE
    assert next_of(own) == NOON + 12 * 60 * MINUTE


def test_reconcile_goes_through_all_that_differ_page_by_page(monkeypatch):
    monkeypatch.setattr(maintenance, "BATCH", 2)
    zones = ("", "Africa/Cairo", "Europe/Berlin", "UTC")
    for zone in zones:
        JobFactory.create_batch(3, timezone=zone, next_run_at=NOON + MINUTE)
        JobFactory(timezone=zone, next_run_at=NOON + MINUTE, planned_schedule="by hand")
        JobFactory(timezone="", next_run_at=NOON + MINUTE, planned_schedule=f"* * * * *|{zone}")
    Job.objects.filter(name__regex="[02468]$").update(cron_expression="30 * * * *")

    reconcile(now=NOON)

    for job in Job.objects.all():
        minutes = 30 if job.cron_expression.startswith("30") else 1
        assert job.next_run_at == NOON + minutes * MINUTE
        assert job.planned_schedule == schedule_key(job.cron_expression, job.zone_name)


def test_reconcile_clears_the_next_run_of_a_paused_job():
    with without_constraints():
        paused, active = JobFactory(is_active=False), JobFactory(next_run_at=NOON + MINUTE)

    done = reconcile(now=NOON)

    assert (done.paused, done.removed) == (0, 1)
    assert (next_of(paused), next_of(active)) == (None, NOON + MINUTE)


@contextmanager
def without_constraints():
    """As in a database that lost them. PostgreSQL gets the constraint back when the test is rolled back."""
    off, on = {
        "sqlite": ("PRAGMA ignore_check_constraints = 1", "PRAGMA ignore_check_constraints = 0"),
        "mysql": ("SET check_constraint_checks = 0", "SET check_constraint_checks = 1"),
        "postgresql": ("ALTER TABLE jobs_job DROP CONSTRAINT job_paused_has_no_next_run", "SELECT 1"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(off)
        yield
        cursor.execute(on)


def test_where_nothing_differs_reconcile_only_reads():
    JobFactory(next_run_at=NOON + MINUTE)
    JobFactory(paused=True)

    with CaptureQueriesContext(connection) as queries:
        reconcile(now=NOON)

    assert {query["sql"][:6] for query in queries} == {"SELECT"}


def test_reconcile_switches_off_what_cannot_be_read_and_goes_on():
    broken, other = JobFactory(), JobFactory()
    Job.objects.filter(pk=broken.pk).update(cron_expression="nonsense")
    Job.objects.filter(pk=other.pk).update(cron_expression="30 * * * *")

    done = reconcile(now=NOON)

    broken.refresh_from_db()
    assert done.paused == 1
    assert (broken.is_active, broken.paused_reason) == (False, "broken")
    assert "five fields" in broken.paused_note
    assert next_of(other) == NOON + 30 * MINUTE
    slot = broken.executions.get()
    assert (slot.scheduled_for, slot.status, slot.reason) == (NOON, "missed", "configuration")


def test_a_machine_that_is_losing_its_time_zones_switches_no_job_off(monkeypatch):
    JobFactory(timezone="Europe/Berlin", next_run_at=NOON + MINUTE)
    JobFactory(timezone="Europe/Paris", next_run_at=NOON + MINUTE)
    monkeypatch.setattr(schedule, "ZoneInfo", no_zone)

    assert resync(now=NOON).paused == 0


@pytest.mark.parametrize("work", [resync, pull_back])
def test_queued_runs_do_not_wait_for_a_time_that_the_clock_was_set_back_from(work):
    hour = timedelta(hours=1)
    ahead = ExecutionFactory(queued=True, available_at=NOON + hour)
    retry = ExecutionFactory(queued=True, attempt=2, available_at=NOON + hour)
    years = ExecutionFactory(queued=True, attempt=2, available_at=NOON + 10_000 * hour)

    work(now=NOON)

    for run, at in ((ahead, NOON), (retry, NOON + hour), (years, NOON)):
        run.refresh_from_db()
        assert run.available_at == at


def no_zone(name: str) -> None:
    raise KeyError(name)


def test_reconcile_costs_the_same_however_many_jobs_are_in_order():
    def statements(count: int) -> int:
        JobFactory.create_batch(count, next_run_at=NOON + MINUTE)
        with CaptureQueriesContext(connection) as queries:
            reconcile(now=NOON)
        return len(queries)

    assert statements(1) == statements(40)


def test_pull_back_sets_right_what_lies_too_far_ahead(monkeypatch):
    monkeypatch.setattr(maintenance, "STRETCH", 2)
    late = JobFactory.create_batch(3, next_run_at=NOON + timedelta(days=3))
    far = JobFactory(next_run_at=NOON + timedelta(days=3), timezone="Europe/Berlin")
    early = JobFactory(cron_expression="30 * * * *", next_run_at=NOON + MINUTE)
    due = JobFactory(next_run_at=NOON - MINUTE)
    # Its next run by the expression alone is tomorrow, and that is no slot any more.
    last_day = JobFactory(cron_expression="0 3 * * *", end_date=TODAY, next_run_at=NOON + timedelta(days=3))

    assert pull_back(now=NOON) == 0

    assert {next_of(job) for job in (*late, far)} == {NOON + MINUTE}
    assert (next_of(early), next_of(due)) == (NOON + MINUTE, NOON - MINUTE)
    assert next_of(last_day) == NOON + timedelta(days=3)


def test_pull_back_switches_off_what_cannot_be_read():
    JobFactory.create_batch(2, next_run_at=NOON + timedelta(days=3))
    broken = JobFactory(cron_expression="nonsense", next_run_at=NOON + MINUTE)

    assert pull_back(now=NOON) == 1

    assert next_of(broken) is None
    assert Job.objects.filter(next_run_at=NOON + MINUTE).count() == 2


def test_pull_back_reads_no_job_whose_next_run_is_right():
    def statements(count: int) -> int:
        JobFactory.create_batch(count, next_run_at=NOON + MINUTE)
        with CaptureQueriesContext(connection) as queries:
            pull_back(now=NOON)
        assert not [query for query in queries if '"planned_schedule"' in query["sql"].replace("`", '"')]
        return len(queries)

    assert statements(1) == statements(40)
