from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cronsched.core.api.ranges import read_range
from cronsched.core.errors import InvalidInput


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-15", utc(2025, 1, 15)),
        ("2025-01-15T10:30:00Z", utc(2025, 1, 15, 10, 30)),
        ("2025-01-15T10:30", utc(2025, 1, 15, 10, 30)),
        ("2025-01-15 10:30:00", utc(2025, 1, 15, 10, 30)),
        ("2025-01-15T10:30:00.250Z", utc(2025, 1, 15, 10, 30, 0, 250_000)),
        ("2025-01-15T10:30:00+09:00", utc(2025, 1, 15, 1, 30)),
        ("2025-01-15T10:30:00-0500", utc(2025, 1, 15, 15, 30)),
        # "+09:00" typed into a URL without %2B.
        ("2025-01-15T10:30:00 09:00", utc(2025, 1, 15, 1, 30)),
        ("2025-01-15T10:30 09:00", utc(2025, 1, 15, 1, 30)),
        ("2025-01-15T10:30:00.123456 09:00", utc(2025, 1, 15, 1, 30, 0, 123_456)),
        (" 2025-01-15 ", utc(2025, 1, 15)),
        ("2024-02-29", utc(2024, 2, 29)),
    ],
)
def test_from_is_read_as_utc(text: str, expected: datetime) -> None:
    assert read_range({"from": text}).start == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-15", utc(2025, 1, 16)),
        ("2025-12-31", utc(2026, 1, 1)),
        ("2025-01-15T00:00:00Z", utc(2025, 1, 15)),
        ("9999-12-31", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_bare_date_as_to_includes_its_day(text: str, expected: datetime) -> None:
    assert read_range({"to": text}).end == expected


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-02-30",
        "2025-13-01",
        "2025-1-5",
        "20250115",
        "2025-W03-1",
        "2025-01-15T25:00:00Z",
        "2025-01-15T10",
        "15/01/2025",
        "1736937000",
        "2025-01-15T10:30:00+99:00",
        "２０２５-01-15",
        "0001-01-01T00:00:00+09:00",
        "2025-01-15\x00",
    ],
)
def test_what_is_no_date_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_range({name: text})

    assert (refusal.value.error, refusal.value.message) == ("Invalid date", "Invalid date")
    assert refusal.value.details == {name: ["Invalid date"]}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-01-15T10:00:00Z", "2025-01-15T10:00:00Z"),
        ("2025-01-16", "2025-01-15"),
        ("2025-01-15T10:00:00Z", "2025-01-15T10:00:00+09:00"),
        ("2025-01-16", "2025-01-15T23:59:59Z"),
    ],
)
def test_from_must_be_before_to(start: str, end: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_range({"from": start, "to": end})

    assert refusal.value.error == "Invalid date range"
    assert refusal.value.message == '"from" must be earlier than "to".'


def test_one_day_is_a_range() -> None:
    day = read_range({"from": "2025-01-15", "to": "2025-01-15"})

    assert (day.start, day.end) == (utc(2025, 1, 15), utc(2025, 1, 16))


def test_lookups_name_only_the_bounds_there_are() -> None:
    assert read_range({}).lookups("created_at") == {}
    assert read_range({"from": "2025-01-15", "to": "2025-01-15"}).lookups("created_at") == {
        "created_at__gte": utc(2025, 1, 15),
        "created_at__lt": utc(2025, 1, 16),
    }


def test_echo_shows_utc_with_z_and_echo_naive_without() -> None:
    range_ = read_range({"from": "2025-12-01", "to": "2025-12-02T12:00:00.5+09:00"})

    assert range_.echo() == {"from": "2025-12-01T00:00:00Z", "to": "2025-12-02T03:00:00.500000Z"}
    assert range_.echo_naive() == {"from": "2025-12-01T00:00:00", "to": "2025-12-02T03:00:00.500000"}
    assert read_range({}).echo_naive() == {"from": None, "to": None}
