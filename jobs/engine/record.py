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
from copy import copy
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
from jobs.models.job import TARGET_FIELDS, TOLD

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
# What judging, noting and telling need. Each column that is left out is not converted, row by row.
_RUN_FIELDS: Final = (
    "job_id", "claim_token", "status", "reason", "execution_type", "target", "scheduled_for", "started_at",
    "attempt", "missed_count",
)  # fmt: skip
_JOB_FIELDS: Final = (
    *TOLD, *TARGET_FIELDS, "max_retries", "follow_run", "follow_timeout_minutes", "github_correlation_input",
    "last_execution_at", "last_status",
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
        unsent = [result for _, result in mine if result.outcome is Outcome.NOT_SENT]
        _release(unsent)
        ended = [(run, result) for run, result in mine if result.outcome is not Outcome.NOT_SENT]
        _give_jobs([run for run, _ in ended])
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


_Ended = list[tuple[JobExecution, DeliveryResult]]


def _still_mine(results: Sequence[DeliveryResult]) -> _Ended:
    """The results whose claim still holds, with their rows, which are locked until the transaction ends."""
    by_id = {result.execution_id: result for result in results}
    rows = locked(JobExecution.objects.only(*_RUN_FIELDS).filter(pk__in=list(by_id)).order_by("pk"))
    mine = []
    for run in rows:
        result = by_id[run.pk]
        if run.claim_token == result.claim_token and _accepts(run.status, run.reason, result):
            mine.append((run, _as_ended(result) if run.status == Status.FAILED else result))
    return mine


def _give_jobs(runs: Sequence[JobExecution]) -> None:
    """Each run its job as it is now, locked as well: another recorder may be counting its failures."""
    if not runs:
        return
    jobs = Job.objects.only(*_JOB_FIELDS).filter(pk__in={run.job_id for run in runs}).order_by("pk")
    by_id = {job.pk: job for job in locked(jobs, keeps_key=True)}
    given: set[UUID] = set()
    for run in runs:
        job = by_id[run.job_id]
        # Of several runs of a job each is told of with the job as it was after that run.
        run.job = copy(job) if job.pk in given else job
        given.add(job.pk)


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


def _split(ended: _Ended) -> tuple[_Ended, _Ended, _Ended]:
    """Those with another attempt before them, those that GitHub goes on with, and those that have ended."""
    again: _Ended = []
    taken: _Ended = []
    last: _Ended = []
    for run, result in ended:
        # A run that was given up as failed has been told of: it stays ended, whatever comes late.
        is_repeated = run.status == Status.RUNNING and retries.may_repeat(
            result, max_retries=run.job.max_retries, kind=run.execution_type
        )
        kind = again if is_repeated else taken if begin.is_followed(run, result) else last
        kind.append((run, result))
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
    noted: dict[UUID, Job] = {}
    for run in sorted(runs, key=lambda run: run.completed_at or run.started_at):
        job, before = run.job, noted.get(run.job_id, run.job)
        job.consecutive_failures = 0 if run.status == Status.SUCCESS else before.consecutive_failures + 1
        job.last_execution_at, job.last_status = before.last_execution_at, before.last_status
        if job.last_execution_at is None or run.started_at >= job.last_execution_at:
            job.last_execution_at, job.last_status = run.started_at, run.status
        noted[run.job_id] = job
    rows = [
        (job.last_execution_at, job.last_status, job.consecutive_failures, pk) for pk, job in noted.items()
    ]
    update_each(Job, ("last_execution_at", "last_status", "consecutive_failures"), ("id",), rows)
