"""What the history of changes keeps of jobs: see accounts.audit. One statement for a whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from accounts import audit
from accounts.choices import AuditAction, AuditKind
from accounts.models import User
from jobs.models import Job
from jobs.signals import JobChange

# What a new job begins with and a deleted one had, by the API's names; the owner is `created_by`.
KEPT_FIELDS: Final = (
    "name",
    "cron_expression",
    "timezone",
    "catch_up",
    "end_date",
    "target_url",
    "github_owner",
    "github_repo",
    "github_workflow_name",
    "metadata",
    "timeout_seconds",
    "max_retries",
    "follow_run",
    "follow_timeout_minutes",
    "github_correlation_input",
    "enable_email_notifications",
    "notification_emails",
    "notify_on_success",
    "alert_after",
    "signing_secret",
)
_SWITCHED_OFF: Final = {AuditAction.EXPIRED.value, AuditAction.BROKEN.value}


def record_jobs(
    changes: Sequence[JobChange], *, by: User | None, now: datetime, via: str, named: str = "", note: str = ""
) -> None:
    """Write one line for each, inside the caller's transaction. `named` is what an update is called here."""
    kept = [(change, _changes(change)) for change in changes]
    names = _usernames((pairs for _change, pairs in kept), by)
    audit.record_all(
        [
            audit.Change(
                kind=AuditKind.JOB,
                object_id=change.job.pk,
                name=change.job.name,
                action=named or _action(change),
                changes=_with_usernames(pairs, names),
                note=note or (change.job.paused_note if change.action in _SWITCHED_OFF else ""),
            )
            for change, pairs in kept
        ],
        by=by,
        now=now,
        via=via,
    )


def metadata_at(job: Job, moment: datetime) -> tuple[dict[str, Any], bool]:
    """The job's metadata as they were then, and whether that is how they are now.

    Of earlier ones the secrets are marks. One statement; edits since then are few.
    """
    later = audit.changes_of(AuditKind.JOB, job.pk).filter(at__gt=moment).values_list("changes", flat=True)
    earlier = [changes["metadata"][0] for changes in later if "metadata" in changes]
    return (earlier[-1] or {}, False) if earlier else (job.metadata, True)


def _action(change: JobChange) -> str:
    is_given_away = change.action == "updated" and set(change.changes) == {"created_by"}
    return AuditAction.HANDED_OVER if is_given_away else change.action


def _changes(change: JobChange) -> audit.Changes:
    if change.action == "created":
        return audit.filled(kept_values(change.job))
    if change.action == "deleted":
        return audit.emptied(kept_values(change.job))
    # The scheduler tells of these without saying what it set.
    return change.changes or ({"is_active": (True, False)} if change.action in _SWITCHED_OFF else {})


def kept_values(job: Job) -> dict[str, Any]:
    """What the history keeps of a job that comes or goes; the owner by id, the taxonomy by slug."""
    return {
        **{field: getattr(job, field) for field in KEPT_FIELDS},
        "end_date": job.end_date and str(job.end_date),
        "category": job.category.slug,
        "pic_team": job.pic_team.slug if job.pic_team else None,
        "created_by": job.created_by_id and str(job.created_by_id),
    }


def _usernames(changes: Iterable[audit.Changes], by: User | None) -> Mapping[str, str]:
    """The names of the owners among the changes, by id; most often it is whoever does it, and no look-up."""
    names = {str(by.pk): by.username} if by is not None else {}
    ids = {owner for pairs in changes for owner in pairs.get("created_by", ()) if owner}
    unknown = [UUID(owner) for owner in ids - names.keys()]
    found = User.objects.filter(pk__in=unknown).values_list("pk", "username") if unknown else ()
    return names | {str(pk): username for pk, username in found}


def _with_usernames(changes: audit.Changes, names: Mapping[str, str]) -> audit.Changes:
    if "created_by" not in changes:
        return changes
    old, new = changes["created_by"]
    return {**changes, "created_by": (names.get(old, old), names.get(new, new))}
