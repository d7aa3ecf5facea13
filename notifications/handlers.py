"""What jobs tells becomes notices. Handlers insert rows and nothing else.

| event                                     | who                  | type    |
| run succeeded                             | the owner            | success |
| run failed                                | the owner and admins | error   |
| run missed                                | the owner and admins | warning |
| job paused at its end date, or as broken  | the owner and admins | warning |
| job created, updated, deleted, en-/disabled | all active users   | info    |
| category, team, user, Slack settings changed | admins            | info    |
| jobs uploaded (once, for all its rows)    | all active users     | info    |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from accounts.models import User
from cronsched.core import clock
from jobs.choices import Status
from jobs.models import Job, JobExecution
from notifications.inapp import Notice, post
from notifications.models import NotificationType
from taxonomy.models import Taxon

# The old and the new value of a field.
Change = tuple[Any, Any]
_RUN_KINDS = {
    Status.SUCCESS: (NotificationType.SUCCESS, "succeeded"),
    Status.FAILED: (NotificationType.ERROR, "failed"),
    Status.MISSED: (NotificationType.WARNING, "was missed"),
}
_CHANGES = {"created", "updated", "deleted", "enabled", "disabled"}
_SWITCHED_OFF = {
    "expired": "was paused: its end date has gone by",
    "broken": "was switched off: its schedule cannot be read",
}


def on_runs_finished(sender: object, *, runs: Sequence[JobExecution], now: datetime, **kwargs: Any) -> None:
    """Post a notice per run and person. Raises, so that the sender keeps what was not told."""
    troubled = [run for run in runs if run.status != Status.SUCCESS]
    admins = list(User.objects.admins().values_list("pk", flat=True)) if troubled else []
    notices = []
    for run in runs:
        people = _people(run.job.created_by_id, admins if run.status != Status.SUCCESS else ())
        notices += [_run_notice(run, user_id) for user_id in people]
    post(notices, now=now)


def on_job_changed(
    sender: object, *, job: Job, action: str, by: User | None, now: datetime, **kwargs: Any
) -> None:
    """Post the notices of a change."""
    post(_change_notices(job, action, by), now=now)


def on_taxon_changed(
    sender: type[Taxon], *, action: str, taxon: Taxon, by: User | None, now: datetime, **kwargs: Any
) -> None:
    kind = str(sender._meta.verbose_name)
    title = f"{kind[:1].upper()}{kind[1:]} {taxon.name} was {action}"
    _tell_admins(f"taxon_{action}:{taxon.pk}", title, by, now, kwargs["changes"])


def on_user_changed(
    sender: object, *, action: str, user: User, by: User | None, now: datetime, **kwargs: Any
) -> None:
    changes = kwargs["changes"]
    if action == "updated" and not changes:
        return
    title = f"User {user.username} was {action}"
    gone = user.pk if action == "deleted" else None
    _tell_admins(f"user_{action}:{user.pk}", title, by, now, changes, except_for=gone)


def on_slack_changed(
    sender: object, *, by: User | None, now: datetime, changes: Mapping[str, Change], **kwargs: Any
) -> None:
    _tell_admins("slack_changed", "Slack settings were changed", by, now, changes)


def _tell_admins(
    topic: str,
    title: str,
    by: User | None,
    now: datetime,
    changes: Mapping[str, Change],
    *,
    except_for: UUID | None = None,
) -> None:
    """One notice for each admin; `except_for` is one who is about to be deleted."""
    by_whom = f"By {by.username}." if by else "By a command."
    what = "; ".join(f"{field}: {_word(old)} → {_word(new)}" for field, (old, new) in changes.items())
    notices = [
        Notice(
            user_id=pk,
            type=NotificationType.INFO,
            topic=topic,
            title=title,
            message=f"{by_whom} {what}".rstrip(),
        )
        for pk in User.objects.admins().values_list("pk", flat=True)
        if pk != except_for
    ]
    post(notices, now=now)


def _word(value: Any) -> str:
    """A value of a change for a person: yes and no, and a dash for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value not in (None, "") else "–"


def on_jobs_uploaded(
    sender: object,
    *,
    created: int,
    updated: int,
    failed: int,
    by: User | None,
    now: datetime,
    **kwargs: Any,
) -> None:
    """Post one notice to each, however many rows the file had."""
    title = f"Jobs were uploaded: {created} created, {updated} updated"
    message = f"By {by.username}." if by else "From the command line."
    if failed:
        message += f" {failed} row{' was' if failed == 1 else 's were'} refused."
    people = User.objects.active().values_list("pk", flat=True)
    post(
        [Notice(user_id=pk, type=NotificationType.INFO, title=title, message=message) for pk in people],
        now=now,
    )


def _run_notice(run: JobExecution, user_id: UUID) -> Notice:
    kind, verb = _RUN_KINDS[Status(run.status)]
    slot = f"Slot {_local(run.job, run.scheduled_for)}." if run.scheduled_for else "Run by hand."
    answer = f" Answer: {run.response_status}." if run.response_status else ""
    reason = f" {run.error_message}" if run.error_message else ""
    return Notice(
        user_id=user_id,
        type=kind,
        topic=f"run_{run.status}:{run.job_id}",
        title=f"{run.job.name} {verb}",
        message=f"{slot}{answer}{reason}",
        job_id=run.job_id,
        execution_id=run.pk,
    )


def _change_notices(job: Job, action: str, by: User | None) -> list[Notice]:
    if action in _SWITCHED_OFF:
        admins = User.objects.admins().values_list("pk", flat=True)
        people, kind = _people(job.created_by_id, admins), NotificationType.WARNING
        title, message = f"{job.name} {_SWITCHED_OFF[action]}", job.paused_note
    elif action in _CHANGES:
        people, kind = list(User.objects.active().values_list("pk", flat=True)), NotificationType.INFO
        title, message = f"{job.name} was {action}", f"By {by.username}." if by else "By the scheduler."
    else:
        return []
    return [
        Notice(
            user_id=user_id,
            type=kind,
            topic=f"job_{action}:{job.pk}",
            title=title,
            message=message,
            job_id=None if action == "deleted" else job.pk,
        )
        for user_id in people
    ]


def _people(owner_id: UUID | None, admins: Iterable[UUID]) -> list[UUID]:
    """The owner first, then the admins, nobody twice."""
    return list(dict.fromkeys([*([owner_id] if owner_id else []), *admins]))


def _local(job: Job, moment: datetime) -> str:
    """The slot as the schedule's zone shows it."""
    try:
        zone = ZoneInfo(job.zone_name)
    except (ZoneInfoNotFoundError, ValueError):
        zone = clock.scheduler_zone()
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})"
