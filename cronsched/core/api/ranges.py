"""`from` and `to`: the one reader of time ranges. `from` is inclusive, `to` exclusive.

A date means its midnight in UTC, and as `to` includes that whole day; a time without an offset
is UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from cronsched.core.api.params import Params
from cronsched.core.errors import InvalidInput

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)
# "+09:00" typed into a URL arrives as " 09:00".
_LOST_PLUS = re.compile(r"([T ]\d{2}:\d{2}\S*) (\d{2}:?\d{2})$", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """Aware UTC bounds; None is open."""

    start: datetime | None = None
    end: datetime | None = None

    def lookups(self, field: str) -> dict[str, Any]:
        """Keyword arguments for `filter` on `field`."""
        bounds = {f"{field}__gte": self.start, f"{field}__lt": self.end}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    def echo(self) -> dict[str, str | None]:
        """The bounds as answers show them: UTC with `Z`, or null."""
        return {"from": _with_z(self.start), "to": _with_z(self.end)}

    def echo_naive(self) -> dict[str, str | None]:
        """The bounds as the notifications show them: UTC without saying so (`2025-12-01T00:00:00`)."""
        return {"from": _naive(self.start), "to": _naive(self.end)}


def read_range(params: Params) -> TimeRange:
    start = _read_bound(params, "from")
    end = _read_bound(params, "to")
    if start is not None and end is not None and start >= end:
        raise InvalidInput('"from" must be earlier than "to".', error="Invalid date range")
    return TimeRange(start=start, end=end)


def _read_bound(params: Params, name: str) -> datetime | None:
    if name not in params:
        return None
    text = params[name].strip()
    try:
        if _DATE.fullmatch(text):
            return _midnight(date.fromisoformat(text), is_end=name == "to")
        return _moment(text)
    except (ValueError, OverflowError):
        raise InvalidInput("Invalid date", error="Invalid date", details={name: ["Invalid date"]}) from None


def _midnight(day: date, *, is_end: bool) -> datetime:
    """The bound that a bare date means; the calendar's last day has no next midnight."""
    if is_end and day == date.max:
        return datetime.max.replace(tzinfo=UTC)
    return datetime.combine(day + timedelta(days=1) if is_end else day, time.min, UTC)


def _moment(text: str) -> datetime:
    text = _LOST_PLUS.sub(r"\1+\2", text)
    if not _DATETIME.fullmatch(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text.replace(",", "."))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _with_z(moment: datetime | None) -> str | None:
    return None if moment is None else _naive_text(moment) + "Z"


def _naive(moment: datetime | None) -> str | None:
    return None if moment is None else _naive_text(moment)


def _naive_text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()
