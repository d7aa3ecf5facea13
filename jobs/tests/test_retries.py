"""Attempts after the first: which are made, when, and what a run between two attempts is."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cronsched.core.db import DatabaseNow
from jobs.engine import retries
from jobs.engine.claim import claim
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.engine.record import record
from jobs.engine.rescue import rescue_stuck
from jobs.models import Job, JobExecution, RunAttempt
from jobs.signals import runs_finished
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

RETRYABLE = {"outcome": Outcome.FAILED, "reason": Reason.HTTP_STATUS, "is_retryable": True}


def of_attempt(attempt: int, **values: object) -> DeliveryResult:
    made = DeliveryResult(
        execution_id=uuid.uuid4(),
        claim_token=uuid.uuid4(),
        outcome=Outcome.FAILED,
        started_at=NOON,
        completed_at=NOON,
        duration_s=0.0,
        attempt=attempt,
    )
    return replace(made, **values)


@pytest.mark.parametrize(
    ("attempt", "max_retries", "kind", "values", "repeated"),
    [
        (1, 3, "webhook", RETRYABLE, True),
        (3, 3, "webhook", RETRYABLE, True),
        (4, 3, "webhook", RETRYABLE, False),
        (1, 0, "webhook", RETRYABLE, False),
        (1, 3, "webhook", {**RETRYABLE, "is_retryable": False}, False),
        (1, 3, "webhook", {"outcome": Outcome.SUCCESS, "is_retryable": True}, False),
        (1, 3, "webhook", {"reason": Reason.INTERRUPTED}, True),
        (4, 3, "webhook", {"reason": Reason.INTERRUPTED}, False),
        # GitHub knows no id for a dispatch: one that may have arrived is not made again.
        (1, 3, "github_actions", {"reason": Reason.INTERRUPTED}, False),
        (1, 3, "github_actions", RETRYABLE, True),
    ],
)
def test_which_attempts_are_followed_by_another(attempt, max_retries, kind, values, repeated):
    result = of_attempt(attempt, **values)

    assert retries.may_repeat(result, max_retries=max_retries, kind=kind) is repeated


@pytest.mark.parametrize(
    ("attempt", "bound"), [(1, 5), (2, 10), (3, 20), (8, 640), (10, 2560), (11, 3600), (10_000, 3600)]
)
def test_the_wait_doubles_up_to_an_hour_and_is_drawn_from_zero(attempt, bound):
    drawn = []

    def uniform(low, high):
        drawn.append((low, high))
        return high

    assert retries.wait_s(of_attempt(attempt), uniform=uniform) == bound
    assert drawn == [(0.0, bound)]


def test_retry_after_is_the_least_that_is_waited():
    asked = of_attempt(1, retry_after_s=120.0)

    assert retries.wait_s(asked, uniform=lambda low, high: low) == 120.0
    assert retries.wait_s(asked, uniform=lambda low, high: high) == 125.0


def running(max_retries: int = 2, **values: object) -> JobExecution:
    job = JobFactory(max_retries=max_retries)
    return ExecutionFactory(job=job, running=True, claim_token=uuid.uuid4(), **values)


@pytest.fixture
def told():
    """The runs that handlers were told of, with their status."""
    seen: list[tuple[uuid.UUID, str]] = []

    def listen(sender, runs, **kwargs):
        seen.extend((run.pk, run.status) for run in runs)

    runs_finished.connect(listen)
    yield seen
    runs_finished.disconnect(listen)


@pytest.mark.django_db
@pytest.mark.databases
class TestARunWithRetriesLeft:
    def test_goes_back_to_the_queue_under_its_id_and_nobody_is_told(self, result_of, told):
        row = running(overrides="kept", scheduled_for=NOON)
        result = result_of(
            row, now=NOON, response_status=503, error_message="503", output="busy", **RETRYABLE
        )

        done = record([result], now=NOON)

        row.refresh_from_db()
        assert (done.retried, done.failed) == (1, 0)
        assert (row.status, row.attempt, row.claim_token, row.deadline_at) == ("queued", 2, None, None)
        assert (row.response_status, row.output, row.overrides) == (503, "busy", "kept")
        assert NOON <= row.available_at <= NOON + timedelta(seconds=retries.FIRST_BOUND_S)
        assert row.error_message.startswith("Attempt 1 of 3 failed; the next follows at 12:00:0")
        assert told == []
        row.job.refresh_from_db()
        assert (row.job.last_status, row.job.consecutive_failures) == ("", 0)

    def test_keeps_what_the_attempt_came_to(self, result_of):
        row = running(max_retries=3, scheduled_for=NOON)
        for attempt, status in ((1, 503), (2, 429)):
            JobExecution.objects.update(status="running", attempt=attempt, claim_token=row.claim_token)
            begun = NOON + timedelta(minutes=attempt)
            failed = {"attempt": attempt, "response_status": status, "error_message": f"It was {status}\x00."}
            result = result_of(row, now=begun, **failed, **RETRYABLE)
            record([result], now=begun)
            Job.objects.update(max_retries=5)

        kept = RunAttempt.objects.values_list(
            "execution_id", "number", "allowed", "response_status", "reason", "error_message"
        )
        assert list(kept) == [
            (row.pk, 1, 4, 503, "http_status", "It was 503."),
            (row.pk, 2, 6, 429, "http_status", "It was 429."),
        ]
        assert [one.ended_at >= one.started_at for one in RunAttempt.objects.all()] == [True, True]

    def test_nothing_is_kept_and_asked_of_a_run_that_is_not_repeated(self, result_of):
        row = running(max_retries=0)
        with CaptureQueriesContext(connection) as queries:
            record([result_of(row, now=NOON, **RETRYABLE)], now=NOON)

        assert not [query for query in queries if "runattempt" in query["sql"]]

    def test_waits_as_long_as_the_receiver_asked(self, result_of):
        row = running()

        record([result_of(row, now=NOON, retry_after_s=600.0, **RETRYABLE)], now=NOON)

        row.refresh_from_db()
        assert row.available_at >= NOON + timedelta(seconds=600)

    def test_is_claimed_as_the_next_attempt_with_the_same_id(self, result_of, term, engine_config):
        row = running(scheduled_for=NOON)
        record([result_of(row, now=NOON, **RETRYABLE)], now=NOON)

        assert claim(now=NOON - timedelta(seconds=1), term=term, limit=9, config=engine_config).count == 0
        later = NOON + timedelta(seconds=60)
        delivery = claim(now=later, term=term, limit=9, config=engine_config).deliveries[0]

        assert (delivery.execution_id, delivery.attempt) == (row.pk, 2)
        assert delivery.claim_token != row.claim_token

    def test_fails_with_its_last_attempt_and_says_how_many_there_were(self, result_of, told):
        row = running(attempt=3)

        done = record([result_of(row, now=NOON, attempt=3, error_message="503", **RETRYABLE)], now=NOON)

        row.refresh_from_db()
        assert (done.retried, done.failed) == (0, 1)
        assert (row.status, row.attempt, row.error_message) == ("failed", 3, "After 3 attempts: 503")
        assert told == [(row.pk, "failed")]

    def test_ends_at_once_where_another_attempt_would_not_help(self, result_of):
        row = running()
        gone = {"outcome": Outcome.FAILED, "reason": Reason.HTTP_STATUS, "response_status": 404}

        assert record([result_of(row, now=NOON, **gone)], now=NOON).failed == 1

    @pytest.mark.parametrize(
        "change", [{"is_active": False, "next_run_at": None}, {"end_date": "2026-03-09"}]
    )
    def test_is_not_sent_again_once_its_job_is_stopped(self, result_of, term, engine_config, change):
        row = running(scheduled_for=NOON)
        failed = result_of(row, now=NOON, response_status=503, error_message="It was 503.", **RETRYABLE)
        record([failed], now=NOON)
        Job.objects.update(**change)

        claimed = claim(now=NOON + timedelta(minutes=1), term=term, limit=9, config=engine_config)
        record(claimed.refused, now=NOON)

        row.refresh_from_db()
        assert claimed.deliveries == []
        assert (row.status, row.attempt, row.response_status) == ("failed", 1, 503)
        assert row.error_message.startswith("Not tried again")
        assert row.error_message.endswith("It was 503.")

    def test_statements_do_not_grow_with_the_batch(self, result_of):
        def statements(count: int) -> int:
            results = [result_of(running(), now=NOON, **RETRYABLE) for _ in range(count)]
            with CaptureQueriesContext(connection) as queries:
                assert record(results, now=NOON).retried == count
            return len(queries)

        assert statements(1) == statements(50)


@pytest.mark.django_db
@pytest.mark.databases
class TestARunOfADeadSender:
    @pytest.fixture
    def rescued(self, term):
        row = running(scheduled_for=NOON)
        JobExecution.objects.filter(pk=row.pk).update(deadline_at=DatabaseNow(-1))
        assert rescue_stuck(now=NOON, term=term) == 1
        return row

    def test_counts_as_one_attempt(self, rescued, told):
        token = rescued.claim_token
        rescued.refresh_from_db()

        assert (rescued.status, rescued.reason, rescued.attempt) == ("queued", "interrupted", 2)
        assert rescued.claim_token == token
        assert told == []

    def test_a_late_success_ends_it_and_spares_the_next_attempt(self, rescued, result_of):
        assert record([result_of(rescued, now=NOON)], now=NOON).success == 1

        rescued.refresh_from_db()
        assert (rescued.status, rescued.attempt, rescued.reason) == ("success", 1, "")

    def test_a_late_failure_leaves_the_next_attempt_waiting(self, rescued, result_of):
        assert record([result_of(rescued, now=NOON, **RETRYABLE)], now=NOON).stale == 1

        rescued.refresh_from_db()
        assert (rescued.status, rescued.attempt) == ("queued", 2)

    def test_once_claimed_anew_the_late_result_comes_too_late(self, rescued, result_of, term, engine_config):
        late = result_of(rescued, now=NOON)
        claim(now=NOON + timedelta(minutes=1), term=term, limit=9, config=engine_config)

        assert record([late], now=NOON).stale == 1

        rescued.refresh_from_db()
        assert rescued.status == "running"

    def test_at_github_it_ends_because_the_workflow_may_have_been_started(self, term):
        job = JobFactory(github=True, max_retries=5)
        row = ExecutionFactory(
            job=job, running=True, claim_token=uuid.uuid4(), execution_type="github_actions"
        )
        JobExecution.objects.filter(pk=row.pk).update(deadline_at=DatabaseNow(-1))

        rescue_stuck(now=NOON, term=term)

        row.refresh_from_db()
        assert (row.status, row.reason) == ("failed", "interrupted")


@pytest.mark.django_db
def test_a_failure_told_as_interrupted_stays_ended_whatever_comes_late(result_of):
    """Retries were given to the job only after its run had ended."""
    row = running(max_retries=0)
    record([result_of(row, now=NOON, outcome=Outcome.FAILED, reason=Reason.INTERRUPTED)], now=NOON)
    Job.objects.update(max_retries=3)

    record([result_of(row, now=NOON, **RETRYABLE)], now=NOON)

    row.refresh_from_db()
    assert (row.status, row.reason) == ("failed", "http_status")
