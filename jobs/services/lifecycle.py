"""Creating, editing, pausing and deleting jobs: the writes, and what follows from them.

Every edit works on the locked row and stores only what it changes, so that of two edits at once each
keeps its fields, and the last one wins where both touch the same. Only an edit of the schedule (cron,
zone, end date, state) moves `next_run_at`, from `now` on: resuming never back-fills.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import CASCADE, SET_NULL

from accounts.models import User
from accounts.roles import is_admin
from cronsched.core.db import is_duplicate, locked, retry_conflicts
from cronsched.core.errors import InvalidInput, NotFound
from jobs.choices import PausedReason
from jobs.engine.slots import next_slot, schedule_key
from jobs.engine.tell import tell_changed
from jobs.models import Job, JobExecution
from jobs.schedule import CronError, ZoneError
from jobs.services.overtaken import overtaken_run, record_overtaken
from jobs.services.validation import clean_job, duplicate_name
from taxonomy.models import Taxon

SCHEDULE_FIELDS: Final = frozenset({"cron_expression", "timezone", "end_date", "is_active"})
# What save() derives from the text fields.
_DERIVED: Final = ("name_key", "search_text")
_PAUSE_ACTIONS: Final = {
    PausedReason.BY_HAND: "disabled",
    PausedReason.EXPIRED: "expired",
    PausedReason.BROKEN: "broken",
}


@retry_conflicts
def create_job(*, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "api") -> Job:
    """A new job of `by`; an admin (or a command, with `by` None) may give it another owner."""
    clean = clean_job(_without_owner(data, by), instance=None, now=now)
    owner_id = clean.pop("created_by_id", by.pk if by is not None else None)
    job = Job(**clean, created_by_id=owner_id, created_at=now, updated_at=now)
    if not job.is_active:
        job.paused_reason = PausedReason.BY_HAND
    _replan(job, now=now)
    with transaction.atomic():
        _store(job, None)
        tell_changed(job, "created", by=by, now=now, via=via)
    return job


@retry_conflicts
def update_job(job: Job, *, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "api") -> Job:
    """Change what `data` changes. The job as it is stored then; NotFound where it was deleted meanwhile."""
    with transaction.atomic():
        current = lock_job(job.pk)
        clean = clean_job(_without_owner(data, by), instance=current, now=now)
        if clean:
            _edit(current, clean, by=by, now=now, via=via)
    return current


@retry_conflicts
def delete_job(job: Job, *, by: User | None, now: datetime, via: str = "api") -> None:
    """Remove the job and its history. What was told of it stays, without the link."""
    with transaction.atomic():
        current = lock_job(job.pk)
        tell_changed(current, "deleted", by=by, now=now, via=via)
        _delete_runs(current)
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
            _edit(current, {"is_active": False}, by=by, now=now, via=via, reason=reason, note=note)
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


def _without_owner(data: Mapping[str, Any], by: User | None) -> Mapping[str, Any]:
    """Only an admin gives jobs away; a command acts for the installation."""
    if by is None or is_admin(by):
        return data
    return {key: value for key, value in data.items() if key != "created_by"}


def _edit(
    job: Job,
    clean: Mapping[str, Any],
    *,
    by: User | None,
    now: datetime,
    via: str,
    reason: PausedReason = PausedReason.BY_HAND,
    note: str = "",
) -> None:
    """Store validated changes on the locked row, with all that follows, and tell of them."""
    changes = {_public(field): (_plain(getattr(job, field)), _plain(value)) for field, value in clean.items()}
    moves_schedule = bool(SCHEDULE_FIELDS & clean.keys())
    overtaken = overtaken_run(job, now=now) if moves_schedule else None
    for field, value in clean.items():
        setattr(job, field, value)
    touched = {*clean, "updated_at", "schedule_version"}
    job.updated_at = now
    job.schedule_version += 1
    if "is_active" in clean:
        job.paused_reason, job.paused_note = ("", "") if job.is_active else (reason, note)
        touched |= {"paused_reason", "paused_note"}
    if moves_schedule:
        _replan(job, now=now)
        touched |= {"next_run_at", "planned_schedule"}
    if overtaken is not None:
        record_overtaken(overtaken, now=now)
        touched.add("last_status")
    _store(job, touched)
    action = "updated"
    if "is_active" in clean:
        action = "enabled" if job.is_active else _PAUSE_ACTIONS[reason]
    tell_changed(job, action, by=by, now=now, via=via, changes=changes)


def _replan(job: Job, *, now: datetime) -> None:
    """Set the next slot after `now`. A paused job has none, and nothing that one was computed from."""
    job.next_run_at, job.planned_schedule = None, ""
    if not job.is_active:
        return
    try:
        job.next_run_at = next_slot(
            expression=job.cron_expression, zone_name=job.zone_name, end_date=job.end_date, after=now
        )
    except (CronError, ZoneError) as error:
        # Only a row that was changed behind the services' back: whoever wakes it must mend it too.
        field = "cron_expression" if isinstance(error, CronError) else "timezone"
        raise InvalidInput(str(error), field=field) from None
    job.planned_schedule = schedule_key(job.cron_expression, job.zone_name)


def _store(job: Job, touched: set[str] | None) -> None:
    """Insert (`touched` None), or write the touched columns alone."""
    try:
        with transaction.atomic():
            if touched is None:
                job.save(force_insert=True)
            else:
                job.save(update_fields=[*touched, *_DERIVED])
    except IntegrityError as error:
        if is_duplicate(error):
            # Somebody else took the name since it was looked up.
            raise duplicate_name(job.name) from None
        raise


def _delete_runs(job: Job) -> None:
    """Delete a job's history in the database alone: there may be a million rows, and none is loaded.

    What points at a run is asked of the models, so that apps above this one need no import here.
    """
    runs = JobExecution.objects.filter(job_id=job.pk)
    for relation in _pointing_at_runs():
        rows: Any = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": runs})
        if relation.on_delete is SET_NULL:
            rows.update(**{relation.field.name: None})
        elif relation.on_delete is CASCADE:
            rows._raw_delete(rows.db)
        else:
            raise NotImplementedError(f"{relation.name}: what becomes of it when a run is deleted?")
    runs._raw_delete(runs.db)


def _pointing_at_runs() -> list[Any]:
    """The foreign keys to an execution, those without a name for the way back too."""
    every = JobExecution._meta.get_fields(include_hidden=True)
    return [
        relation
        for relation in every
        if relation.one_to_many or (relation.one_to_one and relation.auto_created)
    ]


def _public(field: str) -> str:
    return field.removesuffix("_id")


def _plain(value: Any) -> Any:
    """Values as an answer shows them, so that a history of changes can be kept as JSON."""
    if isinstance(value, Taxon):
        return value.slug
    return str(value) if isinstance(value, UUID | date) else value
