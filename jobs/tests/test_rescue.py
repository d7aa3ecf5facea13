from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial

import pytest

from cronsched.core.db import DatabaseNow
from jobs.engine import rescue
from jobs.engine.lease import LeaseLost
from jobs.engine.messages import Outcome
from jobs.engine.record import record
from jobs.engine.rescue import miss_stale_queue, rescue_stuck
from jobs.models import JobExecution, SchedulerLease
from jobs.tests.factories import NOON, ExecutionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def running(seconds_to_deadline: float) -> JobExecution:
    row = ExecutionFactory(running=True, claim_token=uuid.uuid4())
    JobExecution.objects.filter(pk=row.pk).update(deadline_at=DatabaseNow(seconds_to_deadline))
    return row


def test_a_run_past_its_deadline_is_told_as_interrupted(term):
    row = running(-1)

    assert rescue_stuck(now=NOON, term=term) == 1

    row.refresh_from_db()
    assert (row.status, row.reason) == ("failed", "interrupted")
    assert "unknown" in row.error_message


def test_a_run_within_its_deadline_is_left_to_its_sender(term):
    row = running(60)

    assert rescue_stuck(now=NOON, term=term) == 0

    row.refresh_from_db()
    assert row.status == "running"


def test_a_late_real_result_replaces_the_rescue(term, result_of):
    row = running(-1)
    rescue_stuck(now=NOON, term=term)

    record([result_of(row, now=NOON)], now=NOON)

    row.refresh_from_db()
    assert row.status == "success"


def test_what_never_left_is_not_called_unknown(term, result_of):
    """Rescued first, after a long silence of the database; then its sender says that it sent nothing."""
    row = running(-1)
    rescue_stuck(now=NOON, term=term)

    record([result_of(row, now=NOON, outcome=Outcome.NOT_SENT)], now=NOON)

    row.refresh_from_db()
    assert (row.status, row.reason) == ("failed", "interrupted")
    assert row.error_message.startswith("Not sent")


@pytest.mark.parametrize(("late_s", "rescued"), [(10, 0), (rescue.OWN_PATIENCE_S + 1, 1)])
def test_what_this_process_sent_itself_is_left_to_its_sender_for_longer(term, late_s, rescued):
    row = running(-late_s)
    JobExecution.objects.filter(pk=row.pk).update(claimed_by=term.holder)

    assert rescue_stuck(now=NOON, term=term) == rescued


def test_rescue_goes_through_pages(term, monkeypatch):
    monkeypatch.setattr(rescue, "BATCH", 2)
    for _ in range(5):
        running(-1)

    assert rescue_stuck(now=NOON, term=term) == 5


@pytest.mark.parametrize("work", [rescue_stuck, partial(miss_stale_queue, grace_s=30)])
def test_a_superseded_leader_rescues_nothing(term, work):
    running(-1)
    SchedulerLease.objects.update(term=99)

    with pytest.raises(LeaseLost):
        work(now=NOON, term=term)


def test_rows_queued_too_long_ago_are_missed_when_a_term_begins(term):
    late = ExecutionFactory(queued=True, scheduled_for=NOON - timedelta(seconds=31))
    fresh = ExecutionFactory(queued=True, scheduled_for=NOON - timedelta(seconds=30))
    manual = ExecutionFactory(queued=True, manual=True, available_at=NOON - timedelta(days=1))

    assert miss_stale_queue(now=NOON, term=term, grace_s=30) == 1

    for row, status in ((late, "missed"), (fresh, "queued"), (manual, "queued")):
        row.refresh_from_db()
        assert row.status == status
    assert (late.reason, late.missed_count, late.missed_last_at) == ("misfire", 1, late.scheduled_for)
    late.job.refresh_from_db()
    assert late.job.last_status == "missed"
