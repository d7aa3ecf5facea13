"""The daily digest and the weekly report: each user's jobs in figures, for those who chose it.

At 08:00 in the scheduler's zone, for the day or the week up to then; none where there is nothing to
say, and never twice. All users' figures come from one query.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Max

from accounts.models import User
from cronsched.core.clock import last_at, scheduler_date, scheduler_zone
from jobs import schedule
from jobs.choices import Status
from jobs.engine.slots import is_within
from jobs.models import Job, JobExecution
from notifications.facts import offset_text, zoned_text
from notifications.models import Channel, Event, Message
from notifications.outbox import first_time, make_message, told_once

HOUR = 8
LISTED_MAX = 10
ENDING_AHEAD = timedelta(days=30)
# Runs have an index by their start: how far before the time one may have begun. Only a run that nobody
# could end, because no scheduler ran, takes days.
LONGEST_RUN = timedelta(days=7)
_JOB_COLUMNS = ("name", "created_by", "is_active", "end_date", "cron_expression", "timezone")
# The night ahead: from eight in the evening until the next digest.
NIGHT = (timedelta(hours=12), timedelta(hours=24))


@dataclass(frozen=True, kw_only=True, slots=True)
class Edition:
    """A kind of digest and the time it speaks of."""

    event: Event
    start: datetime
    end: datetime

    @property
    def preference(self) -> str:
        """The events are named as the preferences that ask for them."""
        return self.event.value

    def key(self, user: User) -> str:
        return f"{self.event.value}:{user.pk}:{scheduler_date(self.end)}"


@dataclass(kw_only=True, slots=True)
class Figures:
    """One job's runs within the time."""

    by_status: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0

    def of(self, *statuses: Status) -> int:
        return sum(self.by_status.get(status.value, 0) for status in statuses)


def daily_edition(now: datetime) -> Edition:
    end = last_at(now, HOUR)
    return Edition(event=Event.DAILY_DIGEST, start=end - timedelta(days=1), end=end)


def weekly_edition(now: datetime) -> Edition:
    """Up to the last Monday."""
    end = last_at(now, HOUR)
    monday = end - timedelta(days=end.weekday())
    return Edition(event=Event.WEEKLY_REPORT, start=monday - timedelta(days=7), end=monday)


def send_digests(edition: Edition, *, now: datetime) -> int:
    """Put this edition into the outbox for all who chose it and have not had it. The count."""
    return _send(edition, now) if settings.MAIL_ENABLED else 0


@told_once
def _send(edition: Edition, now: datetime) -> int:
    chosen = {f"notification_preferences__{edition.preference}": True}
    users = {edition.key(user): user for user in User.objects.active().filter(**chosen)}
    new = first_time(list(users), now=now)
    readers = [user for key, user in users.items() if key in new]
    jobs = _jobs_of(readers)
    figures = _figures(readers, edition)
    messages = []
    for user in readers:
        payload = _payload(edition, jobs[user.pk], figures)
        if payload is not None:
            payload["reader"] = str(user.pk)
            messages.append(make_message(Channel.EMAIL, user.email, edition.event, payload, now=now))
    Message.objects.bulk_create(messages)
    return len(messages)


def _jobs_of(users: Sequence[User]) -> Mapping[UUID, list[Job]]:
    jobs: dict[UUID, list[Job]] = defaultdict(list)
    for job in Job.objects.filter(created_by__in=users).only(*_JOB_COLUMNS).order_by("name_key"):
        jobs[job.created_by_id].append(job)
    return jobs


def _figures(users: Sequence[User], edition: Edition) -> Mapping[UUID, Figures]:
    """Of the runs that ended within the time. Each so is in one edition, whenever it began."""
    runs = JobExecution.objects.filter(
        job__created_by__in=users,
        started_at__range=(edition.start - LONGEST_RUN, edition.end),
        completed_at__gte=edition.start,
        completed_at__lt=edition.end,
    )
    grouped = (
        runs.order_by()
        .values("job_id", "status")
        .annotate(count=Count("pk"), slowest=Max("duration_seconds"))
    )
    figures: dict[UUID, Figures] = defaultdict(Figures)
    for row in grouped:
        of_job = figures[row["job_id"]]
        of_job.by_status[row["status"]] = row["count"]
        of_job.slowest_s = max(of_job.slowest_s, row["slowest"] or 0.0)
    return figures


def _payload(edition: Edition, jobs: Sequence[Job], figures: Mapping[UUID, Figures]) -> dict[str, Any] | None:
    """None where there is nothing to say."""
    ran = [(job, figures[job.pk]) for job in jobs if job.pk in figures]
    totals = {
        "succeeded": sum(each.of(Status.SUCCESS) for _, each in ran),
        "failed": sum(each.of(Status.FAILED) for _, each in ran),
        "missed": sum(each.of(Status.MISSED) for _, each in ran),
    }
    night = _night(jobs, edition) if edition.event is Event.DAILY_DIGEST else []
    ending = _ending(jobs, edition)
    zone = scheduler_zone()
    if not (any(totals.values()) or night or ending):
        return None
    return {
        "title": _title(edition, totals),
        "period": f"{offset_text(edition.start, zone)} – {zoned_text(edition.end, zone)}",
        **totals,
        "troubled": _troubled(ran),
        "slowest": _slowest(ran),
        "ending": ending,
        "night": night[:LISTED_MAX],
        "night_more": max(len(night) - LISTED_MAX, 0),
    }


def _title(edition: Edition, totals: Mapping[str, int]) -> str:
    name = "Daily digest" if edition.event is Event.DAILY_DIGEST else "Weekly report"
    runs = sum(totals.values())
    parts = [f"{runs:,} run{'' if runs == 1 else 's'}"]
    parts += [f"{totals[word]:,} {word}" for word in ("failed", "missed") if totals[word]]
    return f"{name}: {', '.join(parts)}"


def _troubled(ran: Iterable[tuple[Job, Figures]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {**_named(job), "failed": each.of(Status.FAILED), "missed": each.of(Status.MISSED)}
        for job, each in ran
        if each.of(Status.FAILED, Status.MISSED)
    ]
    return sorted(rows, key=lambda row: -(row["failed"] + row["missed"]))[:LISTED_MAX]


def _slowest(ran: Iterable[tuple[Job, Figures]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {**_named(job), "seconds": round(each.slowest_s, 1)} for job, each in ran if each.slowest_s >= 1
    ]
    return sorted(rows, key=lambda row: -row["seconds"])[:5]


def _ending(jobs: Iterable[Job], edition: Edition) -> list[dict[str, Any]]:
    today = scheduler_date(edition.end)
    soon = [
        job
        for job in jobs
        if job.is_active and job.end_date is not None and today <= job.end_date <= today + ENDING_AHEAD
    ]
    rows = [{**_named(job), "end_date": str(job.end_date)} for job in soon]
    return sorted(rows, key=lambda row: row["end_date"])[:LISTED_MAX]


def _night(jobs: Iterable[Job], edition: Edition) -> list[dict[str, Any]]:
    """What fires in the night ahead, by its first time; each expression is worked out once."""
    begin, end = (edition.end + offset for offset in NIGHT)

    @cache
    def slots(expression: str, zone_name: str) -> tuple[datetime, int] | None:
        zone = schedule.load_zone(zone_name)
        first = schedule.next_run(expression, zone=zone, after=begin - timedelta.resolution)
        if first is None or first >= end:
            return None
        return first, schedule.count_slots(
            expression, zone=zone, first=first, until=end - timedelta.resolution
        )

    rows = []
    for job in jobs:
        found = _readable(slots, job) if job.is_active else None
        if found is not None and is_within(found[0], job.end_date):
            rows.append(
                {**_named(job), "at": f"{found[0].astimezone(scheduler_zone()):%H:%M}", "count": found[1]}
            )
    # Evening comes before midnight.
    return sorted(rows, key=lambda row: (row["at"] < "12:00", row["at"]))


def _readable(slots: Any, job: Job) -> tuple[datetime, int] | None:
    try:
        found: tuple[datetime, int] | None = slots(job.cron_expression, job.zone_name)
    except (schedule.CronError, schedule.ZoneError):
        return None
    return found


def _named(job: Job) -> dict[str, str]:
    return {"job_id": str(job.pk), "job": job.name}
