"""What a validated edit does to a job, in memory: the API's one job and an upload's five hundred alike.

Only an edit of the schedule (cron, zone, end date, state) moves `next_run_at`, from `now` on: resuming
never back-fills. Storing and telling are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from cronsched.core.errors import InvalidInput
from jobs.choices import PausedReason
from jobs.engine.slots import next_slot, schedule_key
from jobs.models import Job
from jobs.schedule import CronError, ZoneError
from jobs.services.overtaken import Overtaken, overtaken_run
from jobs.services.signing import ROTATION_COLUMNS
from taxonomy.models import Taxon

SCHEDULE_FIELDS: Final = frozenset({"cron_expression", "timezone", "end_date", "is_active"})
# What a job derives from its text fields when it is stored.
_DERIVED: Final = frozenset({"name_key", "search_text"})
_PAUSE_ACTIONS: Final = {
    PausedReason.BY_HAND: "disabled",
    PausedReason.EXPIRED: "expired",
    PausedReason.BROKEN: "broken",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """An edit that was applied to `job`. `columns` are to be stored; `overtaken` is to be recorded first."""

    job: Job
    action: str
    changes: dict[str, tuple[Any, Any]]
    columns: frozenset[str]
    overtaken: Overtaken | None


def make_job(clean: Mapping[str, Any], *, owner_id: UUID | None, now: datetime) -> Job:
    """A new job of validated values, with its next run; not stored yet."""
    job = Job(**{"created_by_id": owner_id, **clean}, created_at=now, updated_at=now)
    if not job.is_active:
        job.paused_reason = PausedReason.BY_HAND
    _replan(job, now=now)
    return job


def edit_job(
    job: Job,
    clean: Mapping[str, Any],
    *,
    now: datetime,
    reason: PausedReason = PausedReason.BY_HAND,
    note: str = "",
) -> Edit:
    """Set validated changes on the locked row, with what follows. InvalidInput where it cannot be planned."""
    changes = _changes(job, clean)
    moves_schedule = bool(SCHEDULE_FIELDS & clean.keys())
    overtaken = overtaken_run(job, now=now) if moves_schedule else None
    for field, value in clean.items():
        setattr(job, field, value)
    columns = {*clean, *_DERIVED, "updated_at", "schedule_version"}
    job.updated_at = now
    job.schedule_version += 1
    if "is_active" in clean:
        job.paused_reason, job.paused_note = ("", "") if job.is_active else (reason, note)
        columns |= {"paused_reason", "paused_note"}
    if moves_schedule:
        _replan(job, now=now)
        columns |= {"next_run_at", "planned_schedule"}
    if overtaken is not None:
        columns.add("last_status")
    return Edit(
        job=job,
        action=_action(job, clean, reason),
        changes=changes,
        columns=frozenset(columns),
        overtaken=overtaken,
    )


def _changes(job: Job, clean: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What changes from what to what, by the fields' public names; of a secret only whether there is one."""
    changes: dict[str, tuple[Any, Any]] = {}
    for field, value in clean.items():
        if field == "signing_secret":
            changes[field] = (bool(job.signing_secret), bool(value))
        elif field not in ROTATION_COLUMNS:
            changes[_public(field)] = (_plain(getattr(job, field)), _plain(value))
    return changes


def _action(job: Job, clean: Mapping[str, Any], reason: PausedReason) -> str:
    if "is_active" not in clean:
        return "updated"
    return "enabled" if job.is_active else _PAUSE_ACTIONS[reason]


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


def _public(field: str) -> str:
    return field.removesuffix("_id")


def _plain(value: Any) -> Any:
    """Values as an answer shows them, so that a history of changes can be kept as JSON."""
    if isinstance(value, Taxon):
        return value.slug
    return str(value) if isinstance(value, UUID | date) else value
