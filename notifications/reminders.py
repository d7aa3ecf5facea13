"""The weekly word on jobs that end soon, and on jobs that nobody owns any more.

Slack hears of a job once a week, whether a chore asks or a command, or both: see `outbox.first_time`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cronsched.core.clock import scheduler_date
from jobs.models import Job
from notifications.audience import Audience
from notifications.inapp import Notice, post
from notifications.models import Channel, Event, NotificationType
from notifications.outbox import first_time, make_message, told_once

AHEAD = timedelta(days=30)
_COLUMNS = (
    "name",
    "end_date",
    "created_by",
    "notification_emails",
    "pic_team__name",
    "pic_team__slack_handle",
)


@told_once
def send_end_date_reminders(*, now: datetime) -> int:
    """Tell of what ends within 30 days: owners in-app, Slack in one message by team.

    The count of owners' notices. Admins hear how many jobs nobody owns. Repeated, unread notices
    are brought up to date, and Slack hears only of what it was not told this week.
    """
    today = scheduler_date(now)
    ending = Job.objects.active().filter(end_date__range=(today, today + AHEAD))
    ending = ending.select_related("pic_team").only(*_COLUMNS)
    jobs = list(ending.order_by("end_date", "name_key"))
    audience = Audience.of(jobs)
    notices = _notices(jobs, audience)
    post([*notices, *_ownerless_notices(Job.objects.ownerless().count(), audience)], now=now)
    if audience.is_slack_on and (new := _untold(jobs, now)):
        payload = _payload(new, audience)
        make_message(Channel.SLACK, "", Event.END_DATE_REMINDER, payload, now=now).save(force_insert=True)
    return len(notices)


def _untold(jobs: Sequence[Job], now: datetime) -> list[Job]:
    """Those that Slack was not told of this week, noted as told."""
    by_key = {f"end_date:{_week(now)}:{job.pk}": job for job in jobs}
    new = first_time(list(by_key), now=now)
    return [job for key, job in by_key.items() if key in new]


def _week(now: datetime) -> str:
    year, week, _ = scheduler_date(now).isocalendar()
    return f"{year}-W{week:02}"


def _notices(jobs: Sequence[Job], audience: Audience) -> list[Notice]:
    return [
        Notice(
            user_id=owner.pk,
            type=NotificationType.WARNING,
            topic=f"end_date_near:{job.pk}",
            title=f"{job.name} ends on {job.end_date}",
            message="It is paused after that day. To keep it running, give it a later end date.",
            job_id=job.pk,
        )
        for job in jobs
        if (owner := audience.owner(job))
    ]


def _ownerless_notices(count: int, audience: Audience) -> list[Notice]:
    if not count:
        return []
    has = "1 job has" if count == 1 else f"{count} jobs have"
    message = 'Choose "ownerless" in the list of jobs, and hand them over to somebody.'
    return [
        Notice(
            user_id=admin,
            type=NotificationType.WARNING,
            topic="ownerless",
            title=f"{has} no active owner",
            message=message,
        )
        for admin in audience.admins
    ]


def _payload(jobs: Sequence[Job], audience: Audience) -> dict[str, Any]:
    teams: dict[str, list[dict[str, str]]] = {}
    for job in jobs:
        owner = audience.owner(job)
        entry = {
            "job_id": str(job.pk),
            "job": job.name,
            "end_date": str(job.end_date),
            "owner": owner.username if owner else "",
        }
        teams.setdefault(job.pic_team.name if job.pic_team else "No team", []).append(entry)
    for entries in teams.values():
        entries.sort(key=lambda entry: (entry["owner"], entry["end_date"]))
    many = "1 job ends" if len(jobs) == 1 else f"{len(jobs):,} jobs end"
    return {
        "title": f"{many} within {AHEAD.days} days",
        "teams": [{"team": name, "jobs": teams[name]} for name in sorted(teams)],
        "handles": sorted({job.pic_team.slack_handle for job in jobs if job.pic_team} - {""}),
    }
