"""Creating, editing, pausing and deleting jobs: the writes, and what follows from them.

Every edit works on the locked row and stores only what it changes, so that of two edits at once each
keeps its fields, and the last one wins where both touch the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.models import User
from accounts.roles import is_admin
from cronsched.core.db import is_duplicate, locked, retry_conflicts
from cronsched.core.errors import NotFound
from jobs.choices import PausedReason
from jobs.engine.tell import tell_changed
from jobs.models import Job, JobExecution
from jobs.services.edits import Edit, edit_job, make_job
from jobs.services.history import delete_runs
from jobs.services.overtaken import record_overtaken
from jobs.services.validation import clean_job, duplicate_name, refuse_other_team


@retry_conflicts
def create_job(*, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "api") -> Job:
    """A new job of `by`; an admin (or a command, with `by` None) may give it another owner."""
    clean = clean_job(without_owner(data, by), instance=None, now=now)
    refuse_other_team(clean, by)
    job = make_job(clean, owner_id=by.pk if by is not None else None, now=now)
    with transaction.atomic():
        _store(job, None)
        tell_changed(job, "created", by=by, now=now, via=via)
    return job


@retry_conflicts
def update_job(
    job: Job,
    *,
    data: Mapping[str, Any],
    by: User | None,
    now: datetime,
    via: str = "api",
    kept_as: str = "",
    note: str = "",
) -> Job:
    """Change what `data` changes. The job as it is stored then; NotFound where it was deleted meanwhile.

    `kept_as` and `note` are for the history of changes: see `tell_changed`.
    """
    with transaction.atomic():
        current = lock_job(job.pk)
        clean = clean_job(without_owner(data, by), instance=current, now=now)
        refuse_other_team(clean, by)
        if clean:
            edit = edit_job(current, clean, now=now)
            _keep(edit, by=by, now=now, via=via, kept_as=kept_as, note=note)
    return current


@retry_conflicts
def delete_job(job: Job, *, by: User | None, now: datetime, via: str = "api") -> None:
    """Remove the job and its history. What was told of it stays, without the link."""
    with transaction.atomic():
        current = lock_job(job.pk)
        tell_changed(current, "deleted", by=by, now=now, via=via)
        delete_runs(JobExecution.objects.filter(job_id=current.pk))
        current.delete()


@retry_conflicts
def pause_job(
    job: Job,
    *,
    by: User | None,
    now: datetime,
    reason: PausedReason = PausedReason.BY_HAND,
    note: str = "",
    via: str = "api",
) -> Job:
    """Stop firing. A job that is paused already is left as it is, its reason too."""
    with transaction.atomic():
        current = lock_job(job.pk)
        if current.is_active:
            edit = edit_job(current, {"is_active": False}, now=now, reason=reason, note=note)
            _keep(edit, by=by, now=now, via=via)
    return current


def resume_job(job: Job, *, by: User | None, now: datetime, via: str = "api") -> Job:
    """Fire again, from the next slot after `now` on. An expired job is refused."""
    return update_job(job, data={"is_active": True}, by=by, now=now, via=via)


def lock_job(job_id: UUID) -> Job:
    """The job's row as it is now, held until the transaction ends."""
    current: Job | None = locked(Job.objects.filter(pk=job_id)).first()
    if current is None:
        raise NotFound(f"No job found with ID: {job_id}", error="Job not found")
    return current


def without_owner(data: Mapping[str, Any], by: User | None) -> Mapping[str, Any]:
    """Only an admin gives jobs away; a command acts for the installation."""
    if by is None or is_admin(by):
        return data
    return {key: value for key, value in data.items() if key != "created_by"}


def _keep(edit: Edit, *, by: User | None, now: datetime, via: str, kept_as: str = "", note: str = "") -> None:
    """Store an edit of the locked row, with all that follows, and tell of it."""
    if edit.overtaken is not None:
        record_overtaken([edit.overtaken], now=now)
    _store(edit.job, edit.columns)
    tell_changed(
        edit.job,
        edit.action,
        by=by,
        now=now,
        via=via,
        changes=edit.changes,
        kept_as=kept_as,
        note=note,
    )


def _store(job: Job, columns: Collection[str] | None) -> None:
    """Insert (`columns` None), or write these columns alone."""
    try:
        with transaction.atomic():
            if columns is None:
                job.save(force_insert=True)
            else:
                job.save(update_fields=columns)
    except IntegrityError as error:
        if is_duplicate(error):
            # Somebody else took the name since it was looked up.
            raise duplicate_name(job.name) from None
        raise
