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
    note = f"Its end date, {job.end_date}, has gone by."
    pause_job(job, by=by, now=now, reason=PausedReason.EXPIRED, note=note, via=via)
    raise InvalidInput(
        f"This job ended on {job.end_date}; give it a later end_date to run it.", error="Job expired"
    )


@retry_conflicts
def _queue(job: Job, *, by: User | None, now: datetime, overrides: Mapping[str, Any]) -> JobExecution | None:
    """The queued row; None where the job has ended. The lock keeps an edit or a delete outside."""
    with transaction.atomic():
        current = lock_job(job.pk)
        if current.end_date is not None and current.end_date < scheduler_date(now):
            job.end_date = current.end_date
            return None
        own = clean_run(overrides, stored=target_of(current))
        refuse_inputs(current, own)
        effective = current.with_target(own)
        run = JobExecution(
            job=current,
            status=Status.QUEUED,
            trigger_type=TriggerType.MANUAL,
            execution_type=effective.execution_type,
            target=effective.target,
            triggered_by=by,
            started_at=now,
            # This host's clock may be ahead of the scheduler's, which would wait for it.
            available_at=min(now, database_now()),
            overrides=encrypt(json.dumps(own)) if own else "",
        )
        run.save(force_insert=True)
    return run
