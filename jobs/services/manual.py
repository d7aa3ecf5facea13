"""Runs by hand: a row in the queue, which the scheduler sends at its next tick.

What is given for this run only (a target, inputs, a token) travels in the row, encrypted, and is
erased when the run ends; it never reaches the job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts.models import User
from cronsched.core.clock import scheduler_date
from cronsched.core.crypto import encrypt
from cronsched.core.db import database_now, retry_conflicts
from cronsched.core.errors import InvalidInput
from jobs.choices import PausedReason, Status, TriggerType
from jobs.models import Job, JobExecution
from jobs.services.lifecycle import lock_job, pause_job
from jobs.services.validation import clean_run, refuse_inputs, target_of


def run_job_now(
    job: Job,
    *,
    by: User | None,
    now: datetime,
    overrides: Mapping[str, Any] | None = None,
    via: str = "api",
) -> JobExecution:
    """Queue one run of `job`, paused or not. Returns at once; the row tells the outcome later.

    An expired job is paused by this call, and refused with InvalidInput: the pause stands.
    """
    run = _queue(job, by=by, now=now, overrides=overrides or {})
    if run is not None:
        return run
    # After the transaction, or the refusal would undo the pause.
    pause_job(job, by=by, now=now, reason=PausedReason.EXPIRED, note=ended_note(job), via=via)
    raise ended(job)


def has_ended(job: Job, *, now: datetime) -> bool:
    return job.end_date is not None and job.end_date < scheduler_date(now)


def ended_note(job: Job) -> str:
    """Why such a job is paused."""
    return f"Its end date, {job.end_date}, has gone by."


def ended(job: Job) -> InvalidInput:
    """What a run of such a job is refused with."""
    return InvalidInput(
        f"This job ended on {job.end_date}; give it a later end_date to run it.", error="Job expired"
    )


def new_run(
    job: Job, overrides: Mapping[str, Any], *, by: User | None, now: datetime, available_at: datetime
) -> JobExecution:
    """A queued run of the locked job, not stored yet. InvalidInput where it could not be sent."""
    own = clean_run(overrides, stored=target_of(job))
    refuse_inputs(job, own)
    effective = job.with_target(own)
    return JobExecution(
        job=job,
        status=Status.QUEUED,
        trigger_type=TriggerType.MANUAL,
        execution_type=effective.execution_type,
        target=effective.target,
        triggered_by=by,
        started_at=now,
        available_at=available_at,
        overrides=encrypt(json.dumps(own)) if own else "",
    )


@retry_conflicts
def _queue(job: Job, *, by: User | None, now: datetime, overrides: Mapping[str, Any]) -> JobExecution | None:
    """The queued row; None where the job has ended. The lock keeps an edit or a delete outside."""
    with transaction.atomic():
        current = lock_job(job.pk)
        if has_ended(current, now=now):
            job.end_date = current.end_date
            return None
        # This host's clock may be ahead of the scheduler's, which would wait for it.
        run = new_run(current, overrides, by=by, now=now, available_at=min(now, database_now()))
        run.save(force_insert=True)
    return run
