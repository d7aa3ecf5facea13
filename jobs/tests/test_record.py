from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.engine import record as record_module
from jobs.engine import tell
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.engine.record import record
from jobs.engine.tell import sweep_untold
from jobs.models import Job, JobExecution, UntoldRun
from jobs.signals import runs_finished
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def running(**values: object) -> JobExecution:
    return ExecutionFactory(running=True, claim_token=uuid.uuid4(), **values)


@pytest.fixture
def listener():
    """Connects a handler of runs_finished for the length of a test."""
    connected = []

    def connect(handler):
        runs_finished.connect(handler, weak=False)
        connected.append(handler)

    yield connect
    for handler in connected:
        runs_finished.disconnect(handler)


def test_a_success_ends_the_run_and_shows_on_its_job(result_of):
    row = running(overrides="secret", job=JobFactory(consecutive_failures=2))

    done = record([result_of(row, now=NOON, output="done")], now=NOON)

    row.refresh_from_db()
    assert done.success == 1
    assert (row.status, row.response_status, row.output, row.error_message) == ("success", 200, "done", "")
    assert (row.started_at, row.completed_at, row.duration_seconds) == (
        NOON,
        NOON + timedelta(seconds=1),
        1.0,
    )
    assert (row.overrides, row.deadline_at) == ("", None)
    row.job.refresh_from_db()
    assert (row.job.last_status, row.job.last_execution_at, row.job.consecutive_failures) == (
        "success",
        NOON,
        0,
    )


def test_a_failure_keeps_reason_status_and_words(result_of):
    row = running()
    result = result_of(
        row,
        now=NOON,
        outcome=Outcome.FAILED,
        reason=Reason.HTTP_STATUS,
        response_status=500,
        error_message="500",
    )

    record([result], now=NOON)

    row.refresh_from_db()
    assert (row.status, row.reason, row.response_status, row.error_message) == (
        "failed",
        "http_status",
        500,
        "500",
    )
    row.job.refresh_from_db()
    assert (row.job.last_status, row.job.consecutive_failures) == ("failed", 1)


def test_failures_that_another_recorder_counted_meanwhile_are_counted(result_of, monkeypatch):
    row = running()
    give_jobs = record_module._give_jobs

    def meet_another(runs):
        Job.objects.update(consecutive_failures=4)
        give_jobs(runs)

    # From here on the job is locked.
    monkeypatch.setattr(record_module, "_give_jobs", meet_another)

    record([result_of(row, now=NOON, outcome=Outcome.FAILED, reason=Reason.TIMEOUT)], now=NOON)

    assert Job.objects.get().consecutive_failures == 5


def test_a_failure_that_comes_after_a_later_runs_is_counted_too(result_of):
    job = JobFactory(last_execution_at=NOON, last_status="failed", consecutive_failures=1)
    slow = running(job=job)
    earlier = NOON - timedelta(minutes=1)

    record([result_of(slow, now=earlier, outcome=Outcome.FAILED, reason=Reason.TIMEOUT)], now=NOON)

    job.refresh_from_db()
    assert (job.consecutive_failures, job.last_execution_at, job.last_status) == (2, NOON, "failed")


def test_each_run_of_a_batch_is_told_with_its_own_count_of_failures(result_of, listener):
    job = JobFactory(consecutive_failures=1)
    ends = [("failed", 3), ("success", 4), ("failed", 5), ("failed", 6)]
    results = [
        result_of(
            running(job=job),
            now=NOON + timedelta(seconds=second),
            outcome=Outcome(outcome),
            reason=Reason.TIMEOUT if outcome == "failed" else Reason.NONE,
        )
        for outcome, second in ends
    ]

    told = []

    listener(lambda sender, runs, **kwargs: told.extend(sorted(runs, key=lambda run: run.completed_at)))
    record(results, now=NOON + timedelta(minutes=1))

    assert [(run.status, run.job.consecutive_failures) for run in told] == [
        ("failed", 2),
        ("success", 0),
        ("failed", 1),
        ("failed", 2),
    ]
    job.refresh_from_db()
    assert (job.consecutive_failures, job.last_status) == (2, "failed")


@pytest.mark.django_db(transaction=True)
def test_two_recorders_at_once_count_every_failure(result_of):
    def record_one(result: DeliveryResult) -> int:
        try:
            return record([result], now=NOON).failed
        finally:
            connection.close()

    job = JobFactory()
    results = [
        result_of(running(job=job), now=NOON, outcome=Outcome.FAILED, reason=Reason.TIMEOUT)
        for _ in range(20)
    ]

    with ThreadPoolExecutor(4) as pool:
        failed = sum(pool.map(record_one, results))

    job.refresh_from_db()
    assert (failed, job.consecutive_failures) == (20, 20)


def test_what_was_not_sent_goes_back_to_the_queue_as_it_was(result_of):
    row = running(overrides="kept")

    done = record([result_of(row, now=NOON, outcome=Outcome.NOT_SENT)], now=NOON)

    row.refresh_from_db()
    assert done.released == 1
    assert (row.status, row.claim_token, row.claimed_by, row.overrides) == ("queued", None, "", "kept")


def test_a_result_under_another_token_is_stale(result_of):
    row = running()
    result = result_of(row, now=NOON)
    JobExecution.objects.update(claim_token=uuid.uuid4())

    assert record([result], now=NOON).stale == 1

    row.refresh_from_db()
    assert row.status == "running"


def test_a_late_real_result_replaces_interrupted(result_of):
    row = running()
    supposed = result_of(row, now=NOON, outcome=Outcome.FAILED, reason=Reason.INTERRUPTED)
    record([supposed], now=NOON)

    record([result_of(row, now=NOON)], now=NOON)

    row.refresh_from_db()
    assert (row.status, row.reason) == ("success", "")


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.FAILED])
def test_interrupted_never_goes_back_to_the_queue(result_of, outcome):
    row = running()
    supposed = result_of(row, now=NOON, outcome=Outcome.FAILED, reason=Reason.INTERRUPTED)
    record([supposed], now=NOON)

    again = result_of(row, now=NOON, outcome=outcome, reason=Reason.INTERRUPTED)

    assert record([again], now=NOON).stale == 1


def test_a_recorded_result_is_not_written_twice(result_of):
    row = running()
    result = result_of(row, now=NOON)
    record([result], now=NOON)

    assert record([result], now=NOON).stale == 1


def test_a_deleted_row_is_passed_over(result_of):
    gone, stays = running(), running()
    results = [result_of(gone, now=NOON), result_of(stays, now=NOON)]
    gone.job.delete()

    done = record(results, now=NOON)

    assert (done.success, done.stale) == (1, 1)


def test_text_that_no_database_takes_is_stripped(result_of):
    row = running()

    record([result_of(row, now=NOON, output="a\x00b\ud800c 🚀", error_message="x\x00")], now=NOON)

    row.refresh_from_db()
    assert (row.output, row.error_message) == ("abc 🚀", "x")


def test_an_older_run_that_ends_later_does_not_turn_the_clock_of_its_job_back(result_of):
    job = JobFactory()
    older, newer = running(job=job), running(job=job)
    record([result_of(newer, now=NOON)], now=NOON)

    late = result_of(older, now=NOON - timedelta(minutes=5), outcome=Outcome.FAILED, reason=Reason.TIMEOUT)
    record([late], now=NOON)

    job.refresh_from_db()
    assert (job.last_execution_at, job.last_status) == (NOON, "success")


def test_a_batch_is_told_at_once_with_jobs_loaded(result_of, listener):
    rows = [running() for _ in range(3)]
    batches = []

    def listen(sender, runs, now, **kwargs):
        with CaptureQueriesContext(connection) as queries:
            batches.append({(run.pk, run.job.name, run.status) for run in runs})
        assert len(queries) == 0

    listener(listen)
    record([result_of(row, now=NOON) for row in rows], now=NOON)

    assert batches == [{(row.pk, row.job.name, "success") for row in rows}]


def test_a_failing_handler_costs_no_record_and_is_swept_up(result_of, listener):
    row = running()
    calls = []

    def fail_once(sender, runs, **kwargs):
        calls.append([run.pk for run in runs])
        if len(calls) == 1:
            JobFactory(name="half a handler's work")
            raise RuntimeError("mail template broken")

    listener(fail_once)
    record([result_of(row, now=NOON)], now=NOON)

    row.refresh_from_db()
    assert row.status == "success"
    assert UntoldRun.objects.get().pk == row.pk
    assert not row.job.__class__.objects.filter(name__startswith="half").exists()

    assert sweep_untold(now=NOON) == 1
    assert calls == [[row.pk], [row.pk]]
    assert not UntoldRun.objects.exists()


def test_a_run_that_cannot_be_told_holds_back_no_other_and_is_given_up(result_of, listener, caplog):
    bad, good = running(), running()
    told = []

    def fail_for_bad(sender, runs, **kwargs):
        if any(run.pk == bad.pk for run in runs):
            raise RuntimeError("no")
        told.extend(run.pk for run in runs)

    listener(fail_for_bad)
    record([result_of(bad, now=NOON), result_of(good, now=NOON)], now=NOON)
    for _ in range(tell.MAX_ATTEMPTS + 1):
        sweep_untold(now=NOON)

    assert told == [good.pk]
    assert not UntoldRun.objects.exists()
    assert f"given up, nobody hears of this run execution={bad.pk}" in caplog.text


def test_statements_do_not_grow_with_the_batch(result_of):
    def statements(count: int) -> int:
        results = [result_of(running(), now=NOON) for _ in range(count)]
        with CaptureQueriesContext(connection) as queries:
            assert record(results, now=NOON).success == count
        return len(queries)

    assert statements(1) == statements(50)
