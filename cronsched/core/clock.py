"""The clock. Only entry points (a view, an admin action, a command, a tick, a chore) read it.

Everything below takes `now` as an argument, so that a test is a table and never travels in time.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
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


def uptime() -> float:
    """Seconds on a clock that no one sets and that runs on while the machine sleeps.

    CLOCK_BOOTTIME where there is one (Linux): a leader that was suspended must see that time went
    by, which CLOCK_MONOTONIC does not tell there. Elsewhere the monotonic clock.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
