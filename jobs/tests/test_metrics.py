from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import metrics
from jobs.engine.claim import claim
from jobs.engine.messages import Outcome, Reason
from jobs.engine.plan import plan_due
from jobs.engine.record import record
from jobs.models import JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = pytest.mark.django_db


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"cronsched_{name}", labels) or 0.0


@pytest.fixture
def grown():
    """By how much a figure has grown since the test began."""
    before: dict[Any, float] = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
    }

    def tell(name: str, **labels: str) -> float:
        return value(name, **labels) - before.get((f"cronsched_{name}", tuple(labels.items())), 0.0)

    return tell


def test_runs_are_counted_by_how_they_ended(grown, result_of, django_capture_on_commit_callbacks):
    rows = [ExecutionFactory(running=True, claim_token=uuid.uuid4()) for _ in range(3)]
    results = [result_of(row, now=NOON) for row in rows[:2]]
    results.append(result_of(rows[2], now=NOON, outcome=Outcome.FAILED, reason=Reason.TIMEOUT))

    with django_capture_on_commit_callbacks(execute=True):
        record(results, now=NOON)

    assert (grown("runs_total", status="success"), grown("runs_total", status="failed")) == (2, 1)
    assert (grown("run_duration_seconds_count"), grown("run_duration_seconds_sum")) == (3, 3.0)


def test_a_transaction_that_is_undone_counts_nothing(grown, result_of, django_capture_on_commit_callbacks):
    row = ExecutionFactory(running=True, claim_token=uuid.uuid4())

    with django_capture_on_commit_callbacks():
        record([result_of(row, now=NOON)], now=NOON)

    assert grown("runs_total", status="success") == 0


def test_missed_slots_are_counted_too(grown, term, engine_config, django_capture_on_commit_callbacks):
    JobFactory(next_run_at=NOON - timedelta(hours=1))

    with django_capture_on_commit_callbacks(execute=True):
        list(plan_due(now=NOON, term=term, config=engine_config))

    assert grown("runs_total", status="missed") == 1


def test_the_lag_is_from_the_slot_until_the_claim(grown, term, engine_config):
    late = NOON + timedelta(seconds=1.5)
    ExecutionFactory(queued=True, scheduled_for=NOON, available_at=NOON)
    ExecutionFactory(queued=True, manual=True, available_at=NOON)
    ExecutionFactory(queued=True, scheduled_for=NOON - timedelta(minutes=5), available_at=NOON, attempt=2)

    claim(now=late, term=term, limit=10, config=engine_config)

    assert (grown("run_lag_seconds_count"), grown("run_lag_seconds_sum")) == (1, 1.5)


def test_each_end_is_one_line_with_its_ids(caplog, result_of, django_capture_on_commit_callbacks):
    good, bad = (ExecutionFactory(running=True, claim_token=uuid.uuid4()) for _ in range(2))
    failed = result_of(bad, now=NOON, outcome=Outcome.FAILED, reason=Reason.HTTP_STATUS, response_status=503)

    with caplog.at_level(logging.INFO, "jobs.runs"), django_capture_on_commit_callbacks(execute=True):
        record([result_of(good, now=NOON), failed], now=NOON)

    lines = {entry.getMessage() for entry in caplog.records if entry.name == "jobs.runs"}
    assert lines == {
        (
            f"run ended execution={good.pk} job={good.job_id} status=success reason=- response=200 "
            f"attempt=1 slot={good.scheduled_for.isoformat()}"
        ),
        (
            f"run ended execution={bad.pk} job={bad.job_id} status=failed reason=http_status response=503 "
            f"attempt=1 slot={bad.scheduled_for.isoformat()}"
        ),
    }


def test_what_is_tried_again_or_was_not_sent_is_a_line_with_its_ids(
    caplog, result_of, django_capture_on_commit_callbacks
):
    again, unsent = (
        ExecutionFactory(running=True, claim_token=uuid.uuid4(), job=JobFactory(max_retries=1))
        for _ in range(2)
    )
    failed = result_of(again, now=NOON, outcome=Outcome.FAILED, reason=Reason.TIMEOUT, is_retryable=True)

    with caplog.at_level(logging.INFO, "jobs.runs"), django_capture_on_commit_callbacks(execute=True):
        record([failed, result_of(unsent, now=NOON, outcome=Outcome.NOT_SENT)], now=NOON)

    assert {entry.getMessage() for entry in caplog.records if entry.name == "jobs.runs"} == {
        f"run is tried again execution={again.pk} job={again.job_id} attempt=1 reason=timeout",
        f"run was not sent, it is queued again execution={unsent.pk} job={unsent.job_id}",
    }


def test_every_slot_that_came_due_is_counted(grown, term, engine_config):
    JobFactory(catch_up="all", next_run_at=NOON - timedelta(minutes=2))
    JobFactory(next_run_at=NOON - timedelta(hours=1))

    planned = [one.slots for one in plan_due(now=NOON, term=term, config=engine_config)]

    assert (
        sum(planned)
        == JobExecution.objects.count() - 1 + JobExecution.objects.get(status="missed").missed_count
    )
