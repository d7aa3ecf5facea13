"""The spans that tallies count, all in UTC: where each begins, and where the next one does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from jobs.choices import Span

# What is smaller than a span begins at these.
_BEGINNINGS: Final = {
    Span.HOUR: {"minute": 0, "second": 0, "microsecond": 0},
    Span.DAY: {"hour": 0, "minute": 0, "second": 0, "microsecond": 0},
    Span.MONTH: {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0},
}
_LENGTHS: Final = {Span.HOUR: timedelta(hours=1), Span.DAY: timedelta(days=1)}


def floor(moment: datetime, span: Span) -> datetime:
    """The beginning of the hour, day or month in UTC."""
    return moment.astimezone(UTC).replace(**_BEGINNINGS[span])  # type: ignore[arg-type]


def following(begin: datetime, span: Span) -> datetime:
    """Where the span that begins here ends."""
    if span == Span.MONTH:
        return floor(begin + timedelta(days=31), span)
    return begin + _LENGTHS[span]


def ceiling(moment: datetime, span: Span) -> datetime:
    """This moment where a span begins with it, else the beginning of the next one."""
    whole = floor(moment, span)
    return whole if whole == moment else following(whole, span)


def beginnings(span: Span, first: datetime, end: datetime) -> Iterator[datetime]:
    """Where each span begins, from that which holds `first`, before `end`."""
    begin = floor(first, span)
    while begin < end:
        yield begin
        begin = following(begin, span)
