"""The clock. Only entry points (a view, an admin action, a command, a tick, a chore) read it.

Everything below takes `now` as an argument, so that a test is a table and never travels in time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def scheduler_zone() -> ZoneInfo:
    """The zone of end dates, digests and every job without a zone of its own."""
    return ZoneInfo(settings.SCHEDULER_TIMEZONE)


def scheduler_date(moment: datetime) -> date:
    """The calendar day of `moment` in the scheduler's timezone."""
    return moment.astimezone(scheduler_zone()).date()


def last_at(now: datetime, hour: int, minute: int = 0, *, weekday: int | None = None) -> datetime:
    """The last `hour`:`minute` up to `now`, on `weekday` (Monday is 0) if given; scheduler's timezone."""
    local = now.astimezone(scheduler_zone())
    back = 0 if weekday is None else (local.weekday() - weekday) % 7
    latest = (local - timedelta(days=back)).replace(hour=hour, minute=minute, second=0, microsecond=0)
    return latest if latest <= local else latest - timedelta(days=1 if weekday is None else 7)
