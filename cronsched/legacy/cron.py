"""When the earlier system would have fired: APScheduler's own trigger, beside our evaluator.

`CronTrigger.from_crontab` reads weekday 0 as Monday (ours, as cron does: Sunday), and fires on days that
match both day fields where both are restricted (ours: either). It also loses and doubles runs when clocks
change. What an expression says is kept; whose runs would differ is told, with the spelling that
keeps the earlier days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from jobs import schedule

# The next run alone says too little: 1-5 and MON-FRI agree from Tuesday to Friday.
COMPARED: Final = 10
_NAMES: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The first runs in which the two systems part; None where one of them has no more."""

    there: datetime | None
    here: datetime | None


@lru_cache(maxsize=4096)
def difference(there: str, here: str, *, zone: str, now: datetime) -> Difference | None:
    """Where the next runs of the expression here part from what the one there would have done there."""
    ours_next = schedule.next_runs(here, zone=ZoneInfo(zone), after=now, count=COMPARED)
    theirs_next = _runs_there(there, zone, now)
    for number in range(COMPARED):
        ours = ours_next[number] if number < len(ours_next) else None
        theirs = theirs_next[number] if number < len(theirs_next) else None
        if ours != theirs:
            return Difference(there=theirs, here=ours)
    return None


def _runs_there(expression: str, zone: str, now: datetime) -> list[datetime]:
    """The next runs of the earlier system; none of an expression that it could not read."""
    try:
        trigger: Any = CronTrigger.from_crontab(expression, timezone=zone)
    except ValueError:
        return []
    runs: list[datetime] = []
    after = now + timedelta(microseconds=1)
    while len(runs) < COMPARED and (run := trigger.get_next_fire_time(runs[-1] if runs else None, after)):
        runs.append(run)
        after = run.astimezone(UTC) + timedelta(microseconds=1)
    return runs


def as_fired(expression: str) -> str:
    """The expression with its weekdays by name, as the earlier system read their numbers.

    Others come back unchanged: names, `*`, what it could not read. Where both day fields are restricted
    no expression says what it did.
    """
    fields = expression.split()
    if len(fields) != 5 or fields[4] == "*" or not any(char.isdigit() for char in fields[4]):
        return expression
    try:
        trigger: Any = CronTrigger(day_of_week=fields[4], hour=0, minute=0, timezone="UTC")
    except ValueError:
        return expression
    days = [day for day in range(7) if trigger.get_next_fire_time(None, _monday(day)) == _monday(day)]
    return " ".join([*fields[:4], _spelled(days)])


def _monday(plus: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=plus)


def _spelled(days: list[int]) -> str:
    """MON-FRI, TUE,THU or *. SUN first: a range of names begins with it, and never wraps."""
    if len(days) == 7:
        return "*"
    order = sorted(days, key=lambda day: (day + 1) % 7)
    is_range = len(order) > 2 and (order[-1] + 1) % 7 - (order[0] + 1) % 7 == len(order) - 1
    if is_range:
        return f"{_NAMES[order[0]]}-{_NAMES[order[-1]]}"
    return ",".join(_NAMES[day] for day in order)
