"""The weekly word on jobs that end soon, and on jobs that nobody owns any more.

A job is told of once a week, whether a chore asks or a command, or both: see `outbox.first_time`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from cronsched.core.clock import scheduler_date
from cronsched.core.db import is_duplicate, retry_conflicts
from jobs.models import Job
from notifications.audience import Audience
from notifications.inapp import Notice, post
from notifications.models import Channel, Event, NotificationType
from notifications.outbox import first_time, make_message

AHEAD = timedelta(days=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reminded:
    """`jobs`: how many were told of; `ownerless`: how many nobody owns."""

    jobs: int
    ownerless: int


@retry_conflicts
def send_end_date_reminders(*, now: datetime) -> Reminded:
    """Tell of what ends within 30 days: owners in-app, Slack in one message by team.

    Admins hear how many jobs nobody owns.
    """
    try:
        return _remind(now)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        # Another process was faster by a moment: what it told is known now.
        return _remind(now)


@transaction.atomic
def _remind(now: datetime) -> Reminded:
    jobs = _unreminded(now)
    ownerless = Job.objects.ownerless().count()
    audience = Audience.of(jobs)
    post(_notices(jobs, audience), now=now)
    if jobs and audience.is_slack_on:
        make_message(Channel.SLACK, "", Event.END_DATE_REMINDER, _payload(jobs, audience), now=now).save(
            force_insert=True
        )
    if ownerless and first_time([f"ownerless:{_week(now)}"], now=now):
        post(_ownerless_notices(ownerless, audience), now=now)
    return Reminded(jobs=len(jobs), ownerless=ownerless)


def _unreminded(now: datetime) -> list[Job]:
    """Those that end soon and were not told of this week, noted as told; by team and end date."""
    today = scheduler_date(now)
    ending = Job.objects.active().filter(end_date__range=(today, today + AHEAD)).select_related("pic_team")
    by_key = {f"end_date:{_week(now)}:{job.pk}": job for job in ending.order_by("end_date", "name_key")}
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
            message="After that day it is paused. Give it a later end date if it is to go on.",
            job_id=job.pk,
        )
        for job in jobs
        if (owner := audience.owner(job))
    ]


def _ownerless_notices(count: int, audience: Audience) -> list[Notice]:
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
    teams: dict[str, dict[str, Any]] = {}
    for job in jobs:
        name = job.pic_team.name if job.pic_team else "No team"
        handle = job.pic_team.slack_handle if job.pic_team else ""
        owner = audience.owner(job)
        entry = {
            "job_id": str(job.pk),
            "job": job.name,
            "end_date": str(job.end_date),
            "owner": owner.username if owner else "",
        }
        teams.setdefault(name, {"team": name, "handle": handle, "jobs": []})["jobs"].append(entry)
    for team in teams.values():
        team["jobs"].sort(key=lambda entry: (entry["owner"], entry["end_date"]))
    many = "1 job ends" if len(jobs) == 1 else f"{len(jobs):,} jobs end"
    in_order = [teams[name] for name in sorted(teams)]
    return {"title": f"{many} within {AHEAD.days} days", "teams": in_order}
