"""What jobs, accounts and taxonomy tell becomes rows: notices, and messages that leave later.

Nothing leaves from here. Statements are per batch: owners, wishes and teams are read once for all.

| event                                        | in-app               | type    | mail, Slack           |
| run succeeded                                | owner                | success | mail, where asked for |
| run failed                                   | owner and admins     | error   | both: see `alerts`    |
| run missed                                   | owner and admins     | warning | both: see `alerts`    |
| job recovered                                | owner                | success | those told before     |
| job paused at its end date, or as broken     | owner and admins     | warning | both                  |
| job created, updated, deleted, en-/disabled  | all active users     | info    | owner, when disabled  |
| category, team, user, Slack settings changed | admins               | info    |                       |
| jobs uploaded (once, for all its rows)       | all active users     | info    |                       |
| many jobs edited at once (once, for all)     | all active users     | info    | owner, when disabled  |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import translation

from accounts.models import User
from jobs.choices import Status
from jobs.models import Job, JobExecution
from jobs.signals import JobChange
from notifications.alerts import RunNews, choose, lock_alerts, readers_of
from notifications.audience import DISABLED, Audience, Readers, load_jobs
from notifications.engine.claim import wake
from notifications.facts import Fact, job_fact, local_text, run_fact
from notifications.inapp import Notice, post
from notifications.models import Channel, Event, NotificationType
from notifications.outbox import Telling, put
from notifications.untold import kept_if_untold
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
    "expired": (Event.JOB_EXPIRED, "was paused: its end date has gone by"),
    "broken": (Event.JOB_BROKEN, "was switched off: its schedule cannot be read"),
}


def on_runs_finished(sender: object, *, runs: Sequence[JobExecution], now: datetime, **kwargs: Any) -> None:
    """Notices for owners and admins, messages for mail and Slack.

    Raises, so that the sender keeps what was not told.
    """
    load_jobs(runs)
    alerts = lock_alerts(runs)
    audience = Audience.of((run.job for run in runs), told=readers_of(alerts))
    news = choose(runs, alerts=alerts, audience=audience, now=now)
    post([*_run_notices(runs, audience), *_recoveries(news, audience)], now=now)
    put([telling for item in news for telling in _run_tellings(item, audience)], now=now)


def on_job_changed(
    sender: object, *, job: Job, action: str, by: User | None, now: datetime, **kwargs: Any
) -> None:
    """Notices of a change to everybody; messages where the job fires no more."""
    with kept_if_untold([(job, action)], by, now):
        tell_changed_jobs([(job, action)], by, now)


def on_job_batch_changed(
    sender: object, *, changes: Sequence[JobChange], by: User | None, now: datetime, **kwargs: Any
) -> None:
    """Jobs that an upload or the scheduler stopped. Of the rest of an upload, one notice tells."""
    changed = [(change.job, change.action) for change in changes]
    with kept_if_untold(changed, by, now):
        _tell_stopped(changed, by, now)


def tell_changed_jobs(changed: Sequence[tuple[Job, str]], by: User | None, now: datetime) -> None:
    everybody = User.objects.active().values_list("pk", flat=True)
    by_whom = f"By {by.username}." if by else "By the scheduler."
    notices = [
        notice
        for job, action in changed
        if action in _CHANGES
        for notice in _job_notices(
            job, action, everybody, NotificationType.INFO, f"{job.name} was {action}", by_whom
        )
    ]
    post(notices, now=now)
    _tell_stopped(changed, by, now)


def _tell_stopped(changed: Sequence[tuple[Job, str]], by: User | None, now: datetime) -> None:
    """Those among the changed jobs that fire no more, by the scheduler or by another than their owner."""
    switched_off = [(job, action) for job, action in changed if action in _SWITCHED_OFF]
    disabled = [job for job, action in changed if action == "disabled" and _is_anothers(job, by)]
    if not (switched_off or disabled):
        return
    audience = Audience.of([*(job for job, _ in switched_off), *disabled])
    notices, tellings = [], []
    for job, action in switched_off:
        event, words = _SWITCHED_OFF[action]
        people, title = audience.owner_and_admins(job), f"{job.name} {words}"
        notices += _job_notices(job, action, people, NotificationType.WARNING, title, job.paused_note)
        fact = job_fact(job, event, audience)
        tellings += _slack_tellings(fact, audience) + _mail_tellings(
            fact, audience.owner_alone(job, DISABLED)
        )
    for job in disabled:
        fact = job_fact(job, Event.JOB_DISABLED, audience, by=by.username if by else "")
        tellings += _mail_tellings(fact, audience.owner_alone(job, DISABLED))
    post(notices, now=now)
    put(tellings, now=now)


def _is_anothers(job: Job, by: User | None) -> bool:
    return by is None or by.pk != job.created_by_id


def _slack_tellings(fact: Fact, audience: Audience) -> list[Telling]:
    return [Telling(channel=Channel.SLACK, fact=fact)] if audience.is_slack_on else []


def _mail_tellings(fact: Fact, readers: Readers) -> list[Telling]:
    return [
        Telling(channel=Channel.EMAIL, recipient=address, reader=user_id, fact=fact)
        for address, user_id in readers.items()
    ]


def _run_tellings(news: RunNews, audience: Audience) -> list[Telling]:
    fact = run_fact(news.run, news.event, audience)
    slack = [Telling(channel=Channel.SLACK, fact=fact)] if news.slack else []
    return [*slack, *_mail_tellings(fact, news.readers)]


def _run_notices(runs: Sequence[JobExecution], audience: Audience) -> list[Notice]:
    notices = []
    for run in runs:
        owner = audience.owner(run.job)
        if run.status != Status.SUCCESS:
            people = audience.owner_and_admins(run.job)
        else:
            people = [owner.pk] if owner else []
        notices += [_run_notice(run, user_id) for user_id in people]
    return notices


def _recoveries(news: Sequence[RunNews], audience: Audience) -> list[Notice]:
    """What owners hear when a job runs again after a failure that was told."""
    return [
        Notice(
            user_id=owner.pk,
            type=NotificationType.SUCCESS,
            topic=f"job_recovered:{item.run.job_id}",
            title=f"{item.run.job.name} recovered",
            message="It succeeded again after a failure.",
            job_id=item.run.job_id,
            execution_id=item.run.pk,
        )
        for item in news
        if item.event is Event.JOB_RECOVERED and (owner := audience.owner(item.run.job))
    ]


def on_taxon_changed(
    sender: type[Taxon], *, action: str, taxon: Taxon, by: User | None, now: datetime, **kwargs: Any
) -> None:
    with translation.override("en"):  # what is stored speaks English; it is translated when shown
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
    if gone or changes.get("is_active") == (True, False):
        count = Job.objects.filter(created_by=user).count()
        title += f", owner of {count} job{'' if count == 1 else 's'}" if count else ""
    _tell_admins(f"user_{action}:{user.pk}", title, by, now, changes, except_for=gone)


def on_slack_changed(
    sender: object, *, by: User | None, now: datetime, changes: Mapping[str, Change], **kwargs: Any
) -> None:
    """A notice for admins; and what Slack held back is tried with what it was set to."""
    _tell_admins("slack_changed", "Slack settings were changed", by, now, changes)
    wake(Channel.SLACK, now=now)


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


def on_jobs_edited(
    sender: object, *, count: int, action: str, by: User | None, now: datetime, **kwargs: Any
) -> None:
    """Post one notice to each, however many jobs were changed at once."""
    title = f"Many jobs were {action} at once: {count}"
    message = f"By {by.username}." if by else "By a command."
    people = User.objects.active().values_list("pk", flat=True)
    post(
        [Notice(user_id=pk, type=NotificationType.INFO, title=title, message=message) for pk in people],
        now=now,
    )


def _run_notice(run: JobExecution, user_id: UUID) -> Notice:
    kind, verb = _RUN_KINDS[Status(run.status)]
    slot = f"Slot {local_text(run.scheduled_for, run.job)}." if run.scheduled_for else "Run by hand."
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


def _job_notices(
    job: Job, action: str, people: Iterable[UUID], kind: str, title: str, message: str
) -> list[Notice]:
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
