"""Where a job's next slot is: the cron expression, bounded by the end date.

Used by PLAN, by the lifecycle services and by reconciliation, so that all three agree. A job runs
through the whole of its `end_date` in the scheduler's timezone, never its own; a slot after it is
no slot. Times are aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from cronsched.core.clock import scheduler_date, scheduler_zone
from jobs import schedule


def schedule_key(expression: str, zone_name: str) -> str:
    """What `Job.planned_schedule` holds: the inputs that next_run_at was computed from."""
    return f"{expression}|{zone_name}"


def next_slot(*, expression: str, zone_name: str, end_date: date | None, after: datetime) -> datetime | None:
    """The first slot after `after`; None where it would fall after `end_date`.

    Raises CronError or ZoneError for a row that was broken behind the services' back.
    """
    slot = schedule.next_run(schedule.parse(expression), zone=schedule.load_zone(zone_name), after=after)
    return slot if slot is not None and is_within(slot, end_date) else None


def is_within(slot: datetime, end_date: date | None) -> bool:
    """Whether the slot falls on or before `end_date`, a day of the scheduler's timezone."""
    return end_date is None or scheduler_date(slot.astimezone(UTC)) <= end_date


def clip(moment: datetime, end_date: date | None) -> datetime:
    """`moment`, or the last moment of `end_date` where that is earlier. Aware UTC."""
    if end_date is None:
        return moment
    # fold=1: where clocks go back at midnight, the day ends with the second of its two last hours. The
    # comparison comes first: the end of the year 9999 has no UTC time in zones west of Greenwich.
    last = datetime.combine(end_date, time.max.replace(fold=1), scheduler_zone())
    return min(moment, last).astimezone(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Slots that nobody fired: first and last (both included), and how many."""

    first: datetime
    last: datetime
    count: int


def gap_between(
    expression: schedule.CronExpression, *, zone: ZoneInfo, first: datetime, until: datetime
) -> Gap | None:
    """The slots from `first` to `until`, both included; None where `first` is later.

    `first` was planned and counts, even where it is no slot by today's rules of the zone.
    """
    if first > until:
        return None
    following = first + schedule.TICK
    last = schedule.last_slot(expression, zone=zone, first=following, until=until)
    count = schedule.count_slots(expression, zone=zone, first=following, until=until)
    return Gap(first=first, last=last or first, count=1 + count)
