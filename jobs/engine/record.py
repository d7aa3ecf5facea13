"""RECORD: results become `success`, `failed`, or queued again, in batches; whoever listens is told.

A result is written only where its claim token is still the row's: a row that was rescued and
claimed anew belongs to the newer claim. One exception: a late real result replaces "interrupted",
because it knows what RESCUE could only suppose. A row that was deleted meanwhile is passed over.

What was not sent (the lease went away before the request) goes back to the queue as it was. A failed
attempt of a job with retries left goes back too, as the next attempt and for later; nobody is told
before the last one. One that was only supposed to be interrupted keeps its token until it is claimed
anew, so that a late success still ends the run and spares the repetition.

What GitHub has taken, or may have taken, is handed to the follower (jobs.engine.follow) and stays
`running`; its end comes here as a result like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from cronsched.core.db import insert_each, locked, retry_conflicts, update_each
from cronsched.core.text import strip_unstorable
from jobs.choices import IN_FLIGHT, ExecutionType, Status
from jobs.engine import retries
from jobs.engine.follow import begin
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.engine.metrics import note_released, note_retried
from jobs.engine.tally import reopen
from jobs.engine.tell import tell_finished
from jobs.models import Job, JobExecution, RunAttempt
from jobs.models.job import NOT_TOLD

logger = logging.getLogger(__name__)

BATCH = 500
NEVER_SENT_TEXT = (
    "Not sent: the scheduler lost its lead or its database before the request left. The receiver has not "
    "heard of this run; run the job by hand if needed."
)
_STATUS = {Outcome.SUCCESS: Status.SUCCESS, Outcome.FAILED: Status.FAILED}
_COLUMNS = (
    "status", "reason", "started_at", "completed_at", "duration_seconds", "response_status",
    "error_message", "output", "attempt", "overrides", "deadline_at",
)  # fmt: skip
_RETRY_COLUMNS: Final = (
    "status", "reason", "response_status", "error_message", "output", "attempt", "available_at",
    "claim_token", "claimed_by", "deadline_at", "offered_at",
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Recorded:
    """What one batch came to, in counts; `stale` results had no row of theirs left."""

    success: int = 0
    failed: int = 0
    retried: int = 0
    followed: int = 0
    released: int = 0
    stale: int = 0


@retry_conflicts
def record(results: Sequence[DeliveryResult], *, now: datetime) -> Recorded:
    """Write a batch of results in one transaction; statements do not grow with the batch."""
    with transaction.atomic():
        mine = _still_mine(results)
        unsent = [result for result in mine if result.outcome is Outcome.NOT_SENT]
        ended = [result for result in mine if result.outcome is not Outcome.NOT_SENT]
        _release(unsent)
        again, taken, last = _split(ended)
        dispatched = [run.pk for run, _ in again if run.execution_type == ExecutionType.GITHUB_ACTIONS]
        begin.let_go([*dispatched, *(result.execution_id for result in unsent)])
        _queue_again(again, now=now)
        begin.follow(taken, now=now)
        runs = _finish(last)
        _note_on_jobs(runs)
        tell_finished(runs, now=now)
    succeeded = sum(run.status == Status.SUCCESS for run in runs)
    return Recorded(
        success=succeeded,
        failed=len(runs) - succeeded,
        retried=len(again),
        followed=len(taken),
        released=len(unsent),
        stale=len(results) - len(mine),
    )


def _still_mine(results: Sequence[DeliveryResult]) -> list[DeliveryResult]:
    """The results whose claim still holds; their rows are locked until the transaction ends."""
    by_id = {result.execution_id: result for result in results}
    rows = locked(JobExecution.objects.filter(pk__in=list(by_id)).order_by("pk"))
    mine = []
    for pk, token, status, reason in rows.values_list("pk", "claim_token", "status", "reason"):
        result = by_id[pk]
        if token == result.claim_token and _accepts(status, reason, result):
            mine.append(_as_ended(result) if status == Status.FAILED else result)
    return mine


def _accepts(status: str, reason: str, result: DeliveryResult) -> bool:
    if status == Status.RUNNING:
        return True
    if result.is_later:
        return status in _STATUS.values()
    if reason != Reason.INTERRUPTED or result.reason is Reason.INTERRUPTED:
        return False
    if status == Status.QUEUED:
        # The next attempt waits already; only an end makes it needless.
        return result.outcome is Outcome.SUCCESS
    return status == Status.FAILED


def _as_ended(result: DeliveryResult) -> DeliveryResult:
    """A run that RESCUE has ended stays so, but what never left is no longer said to be unknown."""
    if result.outcome is not Outcome.NOT_SENT:
        return result
    return replace(result, outcome=Outcome.FAILED, reason=Reason.INTERRUPTED, error_message=NEVER_SENT_TEXT)


def _release(results: Sequence[DeliveryResult]) -> None:
    """Nothing left this process for these: whoever leads next sends them."""
    if results:
        released = JobExecution.objects.filter(pk__in=[result.execution_id for result in results])
        note_released(released.values_list("pk", "job_id"))
        released.update(
            status=Status.QUEUED, claim_token=None, claimed_by="", deadline_at=None, offered_at=None
        )


_Ended = list[tuple[JobExecution, DeliveryResult]]


def _split(results: Sequence[DeliveryResult]) -> tuple[_Ended, _Ended, _Ended]:
    """Those with another attempt before them, those that GitHub goes on with, and those that have ended.

    Each with its row and its job.
    """
    if not results:
        return [], [], []
    by_id = {result.execution_id: result for result in results}
    unread = ("overrides", "output", *(f"job__{name}" for name in NOT_TOLD))
    rows = JobExecution.objects.filter(pk__in=list(by_id)).select_related("job").defer(*unread)
    again: _Ended = []
    taken: _Ended = []
    last: _Ended = []
    for row in rows:
        result = by_id[row.pk]
        # A run that was given up as failed has been told of: it stays ended, whatever comes late.
        is_repeated = row.status == Status.RUNNING and retries.may_repeat(
            result, max_retries=row.job.max_retries, kind=row.execution_type
        )
        kind = again if is_repeated else taken if begin.is_followed(row, result) else last
        kind.append((row, result))
    return again, taken, last


def _queue_again(again: _Ended, *, now: datetime) -> None:
    insert_each([_as_attempt(run, result) for run, result in again])
    rows = []
    for run, result in again:
        at = now + timedelta(seconds=retries.wait_s(result))
        is_supposed = result.reason is Reason.INTERRUPTED
        rows.append(
            (
                Status.QUEUED,
                result.reason.value,
                result.response_status,
                retries.note(
                    strip_unstorable(result.error_message),
                    attempt=result.attempt,
                    max_retries=run.job.max_retries,
                    next_at=at,
                ),
                strip_unstorable(result.output),
                result.attempt + 1,
                at,
                result.claim_token if is_supposed else None,
                "",
                None,
                None,
                run.pk,
            )
        )
    update_each(JobExecution, _RETRY_COLUMNS, ("id",), rows)
    note_retried(again)


def _as_attempt(run: JobExecution, result: DeliveryResult) -> RunAttempt:
    """What is kept of an attempt that is not the run's last."""
    return RunAttempt(
        execution=run,
        number=result.attempt,
        allowed=1 + run.job.max_retries,
        started_at=result.started_at,
        ended_at=result.completed_at,
        response_status=result.response_status,
        reason=result.reason.value,
        error_message=strip_unstorable(result.error_message),
    )


def _finish(ended: _Ended) -> list[JobExecution]:
    """Write the results; the runs as they are now, with their jobs."""
    _reopen_changed(ended)
    rows = []
    for run, result in ended:
        values = _values(result)
        for name, value in zip(_COLUMNS, values, strict=True):
            setattr(run, name, value)
        rows.append((*values, run.pk))
    update_each(JobExecution, _COLUMNS, ("id",), rows)
    return [run for run, _ in ended]


def _reopen_changed(ended: _Ended) -> None:
    """Only a run that was under way until now is in no tally: a late answer changes what was counted."""
    changed = [
        min(run.started_at, result.started_at)
        for run, result in ended
        if run.status not in IN_FLIGHT or result.started_at < run.started_at
    ]
    if changed:
        reopen(min(changed))


def _values(result: DeliveryResult) -> tuple[object, ...]:
    return (
        _STATUS[result.outcome],
        result.reason.value,
        result.started_at,
        result.completed_at,
        result.duration_s,
        result.response_status,
        strip_unstorable(_final_text(result)),
        strip_unstorable(result.output),
        result.attempt,
        "",
        None,
    )


def _final_text(result: DeliveryResult) -> str:
    if result.outcome is Outcome.FAILED and result.attempt > 1:
        return f"After {result.attempt} attempts: {result.error_message}"
    return result.error_message


def _note_on_jobs(runs: Sequence[JobExecution]) -> None:
    """Keep each job's last run, so that lists need not look into the history, and its failures in a row.

    A failure counts when it is recorded, however long the run took: a later run may have ended before.
    """
    known = _lock_jobs({run.job_id for run in runs})
    for run in sorted(runs, key=lambda run: run.completed_at or run.started_at):
        # Of a job that was deleted since, nothing is kept.
        noted = known.get(run.job_id, run.job)
        noted.consecutive_failures = 0 if run.status == Status.SUCCESS else noted.consecutive_failures + 1
        run.job.consecutive_failures = noted.consecutive_failures
        if noted.last_execution_at is None or run.started_at >= noted.last_execution_at:
            noted.last_execution_at, noted.last_status = run.started_at, run.status
    columns = ("last_execution_at", "last_status", "consecutive_failures")
    rows = [(*(getattr(job, name) for name in columns), job.pk) for job in known.values()]
    update_each(Job, columns, ("id",), rows)


def _lock_jobs(ids: set[UUID]) -> dict[UUID, Job]:
    """These jobs as they are now: another recorder may have counted since their runs were read."""
    if not ids:
        return {}
    jobs = Job.objects.only("last_execution_at", "last_status", "consecutive_failures")
    return {job.pk: job for job in locked(jobs.filter(pk__in=ids).order_by("pk"), keeps_key=True)}
