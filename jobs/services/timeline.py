"""What is to run in the coming hours, minute by minute: where many jobs meet. Nothing is written here.

Asked of the expressions, not of `next_run_at`: a job that runs each hour is there each hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from jobs import schedule
from jobs.engine.slots import clip
from jobs.models import Job

SPAN: Final = timedelta(hours=24)
# Fewer jobs than this in one minute are no clash worth a line.
CLASH: Final = 2
# Expression, zone, end date; and of the jobs that have them alike what is asked for: names, or ids.
_Rhythm = tuple[str, str, date | None]
_Members = list[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Minute:
    """How many jobs are due at `at` (UTC), with the first of their names."""

    at: datetime
    jobs: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """`counts`: the jobs due at each minute that has any, in order. `busiest`: the fullest, fullest first."""

    begins_at: datetime
    ends_at: datetime
    counts: dict[datetime, int]
    busiest: list[Minute]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def coming(*, now: datetime, busiest: int = 5, names: int = 3) -> Timeline:
    """The next 24 hours from this minute on. One statement; the work grows with the distinct rhythms."""
    begins_at = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    ends_at = begins_at + SPAN
    rhythms = _rhythms(Job.objects.scheduled().filter(next_run_at__lt=ends_at), "name")
    due: dict[datetime, list[_Members]] = defaultdict(list)
    for rhythm, members in rhythms.items():
        for slot in _slots(rhythm, begins_at, ends_at - timedelta(minutes=1)):
            due[slot].append(members)
    counts = {slot: sum(map(len, due[slot])) for slot in sorted(due)}
    fullest = sorted(
        (slot for slot, count in counts.items() if count >= CLASH), key=lambda at: (-counts[at], at)
    )
    return Timeline(
        begins_at=begins_at,
        ends_at=ends_at,
        counts=counts,
        busiest=[_minute(slot, due[slot], names) for slot in fullest[:busiest]],
    )


def due_between(first: datetime, last: datetime) -> list[UUID]:
    """The active jobs that are due at one of these minutes, both included, which have not come yet."""
    rhythms = _rhythms(Job.objects.scheduled().filter(next_run_at__lte=last), "pk")
    return [job_id for rhythm, ids in rhythms.items() if any(_slots(rhythm, first, last)) for job_id in ids]


def _rhythms(jobs: Any, column: str) -> dict[_Rhythm, _Members]:
    found: dict[_Rhythm, _Members] = defaultdict(list)
    rows = jobs.order_by("name_key").values_list("cron_expression", "timezone", "end_date", column)
    for *rhythm, member in rows:
        found[tuple(rhythm)].append(member)
    return found


def _slots(rhythm: _Rhythm, first: datetime, until: datetime) -> Iterator[datetime]:
    """None of a row that was broken behind the services' back: PLAN switches it off."""
    expression, zone_name, end_date = rhythm
    try:
        cron, zone = schedule.parse(expression), schedule.load_zone(zone_name or settings.SCHEDULER_TIMEZONE)
    except (schedule.CronError, schedule.ZoneError):
        return iter(())
    return schedule.minutes_between(cron, zone=zone, first=first, until=clip(until, end_date))


def _minute(at: datetime, groups: Sequence[_Members], names: int) -> Minute:
    members = [name for group in groups for name in group]
    return Minute(at=at, jobs=len(members), names=tuple(members[:names]))
