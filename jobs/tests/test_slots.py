"""Where a schedule ends: the last moment of a day of the scheduler's timezone."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from jobs.engine.slots import clip

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "end_date", "expected"),
    [
        ("Asia/Tokyo", None, NOON),
        ("Asia/Tokyo", date(2026, 3, 10), NOON),
        ("Asia/Tokyo", date(2026, 3, 9), datetime(2026, 3, 9, 14, 59, 59, 999_999, tzinfo=UTC)),
        ("Asia/Tokyo", date(9999, 12, 31), NOON),
        # West of Greenwich the year 9999 ends after the last moment that UTC can tell.
        ("America/New_York", date(9999, 12, 31), NOON),
        # Paraguay's clocks went back at midnight to 23:00.
        ("America/Asuncion", date(2024, 3, 23), datetime(2024, 3, 24, 3, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_moment_is_clipped_to_the_end_of_the_last_day(settings, zone, end_date, expected):
    settings.SCHEDULER_TIMEZONE = zone

    assert clip(NOON, end_date) == expected
