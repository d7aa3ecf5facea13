from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from cronsched.core.errors import InvalidInput
from jobs.models import JobExecution, RunAttempt, UntoldRun
from jobs.services import history
from jobs.services.history import prunable_runs, prune_executions
from jobs.services.lifecycle import delete_job
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.inapp import Notice, post
from notifications.models import Notification

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("cronsched.core.db.SQLITE_TURN_S", 0)


def aged(age, **values):
    return ExecutionFactory(scheduled_for=NOON - age, **values)


def test_only_finished_runs_beyond_the_age_are_deleted():
    kept = {
        aged(7 * DAY),
        aged(DAY),
        aged(30 * DAY, queued=True),
        aged(31 * DAY, running=True),
    }
    for status in ("success", "failed", "missed"):
        aged(7 * DAY + timedelta(seconds=1), status=status)

    assert list(prune_executions(days=7, now=NOON)) == [3]
    assert set(JobExecution.objects.all()) == kept


def test_the_oldest_go_first_in_small_batches(monkeypatch):
    monkeypatch.setattr(history, "PRUNE_BATCH", 2)
    runs = [aged((10 + number) * DAY) for number in range(5)]

    batches = prune_executions(days=7, now=NOON)

    assert next(batches) == 2
    assert set(JobExecution.objects.all()) == set(runs[:3])
    assert list(batches) == [2, 1]
    assert list(prune_executions(days=7, now=NOON)) == []


def test_what_was_told_stays_without_the_link():
    run, user = aged(9 * DAY), UserFactory()
    post([Notice(user_id=user.pk, type="info", title="t", message="m", execution_id=run.pk)], now=NOON)
    UntoldRun.objects.create(execution=run, since=NOON)

    assert sum(prune_executions(days=7, now=NOON)) == 1

    assert Notification.objects.get().related_execution_id is None
    assert not UntoldRun.objects.exists()


def test_earlier_attempts_go_with_their_run_and_no_others():
    run, kept = aged(9 * DAY), aged(DAY)
    attempts = [attempt_of(each) for each in (run, kept)]

    assert sum(prune_executions(days=7, now=NOON)) == 1
    assert list(RunAttempt.objects.all()) == [attempts[1]]

    delete_job(kept.job, by=None, now=NOON)
    assert not RunAttempt.objects.exists()


def attempt_of(run: JobExecution) -> RunAttempt:
    return RunAttempt.objects.create(
        execution=run, number=1, allowed=3, started_at=run.started_at, ended_at=run.started_at
    )


def test_a_batch_costs_the_same_however_large():
    def cost(count: int) -> int:
        job = JobFactory()
        JobExecution.objects.bulk_create(
            ExecutionFactory.build(job=job, scheduled_for=NOON - 9 * DAY - timedelta(minutes=number))
            for number in range(count)
        )
        with CaptureQueriesContext(connection) as queries:
            assert sum(prune_executions(days=7, now=NOON)) == count
        return len(queries)

    # One of them for each table that points at runs.
    assert cost(2) == cost(100) <= 9


@pytest.mark.parametrize("days", [0, -1, 36_501, 10**12])
def test_an_age_out_of_range_is_refused(days):
    with pytest.raises(InvalidInput, match="days must be from 1 to 36500"):
        prunable_runs(days=days, now=NOON)
