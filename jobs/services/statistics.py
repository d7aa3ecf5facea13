"""Figures and pages of the history, exact and quick however long it is. Nothing is written here.

What was counted (jobs.engine.tally) is read from the tallies, days before hours; the rest, at both ends
of a period and after the mark, from the runs themselves. The runs of one job are counted directly: the
index by job holds all that is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Q, Sum

from jobs.choices import IN_FLIGHT, Span, Status
from jobs.engine.tally import floor
from jobs.models import JobExecution, RunTally, TallyMark
from jobs.querysets import RunFilter, between

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
_LENGTHS: Final = {Span.HOUR: timedelta(hours=1), Span.DAY: timedelta(days=1)}


# Status, runs, of these those with a duration, its sum in seconds.
StatusRow = tuple[str, int, int, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """`running`: not finished. `rate`: percent of success among success and failed, one decimal.

    `average`: seconds of those whose time was taken, None where none was.
    """

    total: int
    success: int
    failed: int
    running: int
    missed: int
    rate: float
    average: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """`ids` of one page, newest first, and how many runs match in all."""

    total: int
    ids: list[UUID]


def figures(wanted: RunFilter) -> Figures:
    """The figures of the runs that match; the statements do not grow with them."""
    rows: list[StatusRow] = []
    cover = _cover(wanted)
    if cover.tallied:
        tallies = RunTally.objects.filter(cover.tallied, **wanted.traits).order_by().values_list("status")
        rows += tallies.annotate(Sum("runs"), Sum("timed"), Sum("seconds"))
    for edge in cover.edges(wanted):
        runs = JobExecution.objects.matching(edge).order_by().values_list("status")
        rows += runs.annotate(Count("pk"), Count("duration_seconds"), Sum("duration_seconds"))
    return to_figures(rows)


def to_figures(rows: Iterable[StatusRow]) -> Figures:
    """Added up by status."""
    counts = dict.fromkeys(Status.values, 0)
    timed, seconds = 0, 0.0
    for status, runs, timed_runs, duration in rows:
        counts[status] += runs
        timed += timed_runs
        seconds += duration or 0.0
    finished = counts[Status.SUCCESS] + counts[Status.FAILED]
    return Figures(
        total=sum(counts.values()),
        success=counts[Status.SUCCESS],
        failed=counts[Status.FAILED],
        running=sum(counts[status] for status in IN_FLIGHT),
        missed=counts[Status.MISSED],
        rate=round(100 * counts[Status.SUCCESS] / finished, 1) if finished else 0.0,
        average=round(seconds / timed, 3) if timed else None,
    )


def list_runs(wanted: RunFilter, *, offset: int, size: int) -> Listing:
    """One page of the runs that match. A page far back costs what the first one does."""
    if wanted.job_id is not None:
        runs = JobExecution.objects.matching(wanted)
        return Listing(total=runs.count(), ids=_ids(runs, offset, size))
    buckets = _buckets(wanted)
    total = sum(bucket.runs for bucket in buckets)
    if offset >= total:
        return Listing(total=total, ids=[])
    reach, before = _refined(wanted, *_reach(buckets, offset=offset, size=size), offset=offset, size=size)
    near = replace(wanted, start=reach[-1].begins_at, end=reach[0].ends_at)
    return Listing(total=total, ids=_ids(JobExecution.objects.matching(near), offset - before, size))


def _ids(runs: Any, offset: int, size: int) -> list[UUID]:
    """Ids alone stand in the indexes: what is passed over is not read."""
    return list(runs.values_list("pk", flat=True)[offset : offset + size])


# ---- which part of a period is read from where ------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cover:
    """A period in parts: `tallied` selects tallies (empty: none) that stand for [begin, end)."""

    tallied: Q
    begin: datetime | None = None
    end: datetime | None = None

    def edges(self, wanted: RunFilter) -> Iterator[RunFilter]:
        """What the tallies leave to be counted, newest first."""
        if not self.tallied:
            yield wanted
            return
        if wanted.end is None or self.end != wanted.end:
            # With an end: SQLite takes a range that is open for a quarter of the table.
            yield replace(wanted, start=self.end, end=wanted.end or FOREVER)
        if wanted.start is not None and self.begin != wanted.start:
            yield replace(wanted, end=self.begin)


def _cover(wanted: RunFilter) -> _Cover:
    """The whole hours of the period before the mark; whole days of them by the day."""
    mark = None if wanted.job_id else TallyMark.objects.values_list("counted_until", flat=True).first()
    if mark is None or (wanted.start is not None and wanted.start >= mark):
        return _Cover(tallied=Q())
    begin = _ceiling(wanted.start, Span.HOUR)
    end = min(mark, floor(wanted.end or mark, Span.HOUR))
    if begin is not None and begin >= end:
        return _Cover(tallied=Q())
    first_day, last_day = _ceiling(begin, Span.DAY), floor(end, Span.DAY)
    if first_day is not None and first_day >= last_day:
        tallied = _tallies(Span.HOUR, begin, end)
    else:
        tallied = _tallies(Span.DAY, first_day, last_day) | _tallies(Span.HOUR, last_day, end)
        if first_day is not None:
            tallied |= _tallies(Span.HOUR, begin, first_day)
    return _Cover(tallied=tallied, begin=begin, end=end)


def _tallies(span: Span, begin: datetime | None, end: datetime) -> Q:
    return Q(span=span) & between("begins_at", begin, end)


def _ceiling(moment: datetime | None, span: Span) -> datetime | None:
    if moment is None:
        return None
    whole = floor(moment, span)
    return whole if whole == moment else whole + _LENGTHS[span]


# ---- pages ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bucket:
    """How many matching runs started in [begins_at, ends_at); None is open. `span` None: no tally."""

    begins_at: datetime | None
    ends_at: datetime | None
    runs: int
    span: str | None = None


def _buckets(wanted: RunFilter) -> list[_Bucket]:
    """All that match, newest first, in buckets none of which is empty."""
    cover = _cover(wanted)
    buckets = [
        _Bucket(begins_at=edge.start, ends_at=edge.end, runs=JobExecution.objects.matching(edge).count())
        for edge in cover.edges(wanted)
    ]
    if cover.tallied:
        # After the mark, tallies, before the period's first whole hour: as `edges` gives its two.
        is_first_newer = bool(buckets) and buckets[0].begins_at == cover.end
        buckets[is_first_newer:is_first_newer] = _tally_buckets(wanted, cover.tallied)
    return [bucket for bucket in buckets if bucket.runs]


def _tally_buckets(wanted: RunFilter, tallied: Q) -> list[_Bucket]:
    rows = (
        RunTally.objects.filter(tallied, **wanted.traits)
        .values_list("begins_at", "span")
        .annotate(Sum("runs"))
        .order_by("-begins_at")
    )
    return [
        _Bucket(begins_at=begins_at, ends_at=begins_at + _LENGTHS[span], runs=runs, span=span)
        for begins_at, span, runs in rows
        if runs
    ]


def _reach(buckets: Sequence[_Bucket], *, offset: int, size: int) -> tuple[list[_Bucket], int]:
    """The buckets that hold this page, and how many runs are in those before."""
    before, end, reach = 0, 0, []
    for bucket in buckets:
        end += bucket.runs
        if end <= offset:
            before = end
            continue
        reach.append(bucket)
        if end >= offset + size:
            break
    return reach, before


def _refined(
    wanted: RunFilter, reach: list[_Bucket], before: int, *, offset: int, size: int
) -> tuple[list[_Bucket], int]:
    """The same by the hour where it begins or ends with a day: a day may have a hundred thousand runs."""
    days = {bucket.begins_at: bucket for bucket in (reach[0], reach[-1]) if bucket.span == Span.DAY}
    if not days:
        return reach, before
    hours = Q()
    for day in days.values():
        assert day.begins_at is not None and day.ends_at is not None  # noqa: S101, PT018 - a day has both
        hours |= _tallies(Span.HOUR, day.begins_at, day.ends_at)
    finer = [bucket for bucket in reach if bucket.begins_at not in days] + _tally_buckets(wanted, hours)
    finer.sort(key=lambda bucket: bucket.ends_at or FOREVER, reverse=True)
    closer, more = _reach(finer, offset=offset - before, size=size)
    # Nothing where runs of that day were deleted between the two readings.
    return (closer, before + more) if closer else (reach, before)
