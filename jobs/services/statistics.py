"""Figures and pages of the history, exact and quick however long it is. Nothing is written here.

What was counted (jobs.engine.tally) is read from the tallies: whole months, then days, then, of all jobs,
hours; the rest, at both ends of a period and after the mark, from the runs themselves. So is a part of a
month in which a job has no days: its runs there are few, and stand together in the index by job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from django.db.models import Max, Min, Q, Sum

from jobs.choices import IN_FLIGHT, Span, Status
from jobs.engine.job_tally import BUSY
from jobs.engine.mark import read_mark
from jobs.engine.spans import ceiling, floor, following
from jobs.engine.sums import NUMBERS, counted
from jobs.models import JobExecution, JobTally, RunTally
from jobs.querysets import RunFilter, between

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
# Up to so many runs of a month or day are passed over on the way to a page, rather than asking for its parts.
# Of one job, months with fewer have no days; so many entries of a day are read sooner than its hours.
FEW: Final = {Span.MONTH: BUSY, Span.DAY: 5_000}


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
    if cover.parts:
        sums = {f"sum_{name}": Sum(name, filter=_condition(wanted)) for name in NUMBERS}
        tallies = _tallies(wanted, cover.parts).values_list("status").annotate(**sums, **cover.ends())
        short: list[datetime | None] = []
        for status, runs, timed, seconds, *ends in tallies:
            short += ends
            if runs:
                rows.append((status, runs, timed, seconds))
        cover = cover.having(short)
    for edge in cover.edges(wanted):
        counts = JobExecution.objects.matching(edge).order_by().values_list("status")
        rows += counts.annotate(*counted())
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
    buckets = _buckets(wanted)
    total = sum(bucket.runs for bucket in buckets)
    if offset >= total:
        return Listing(total=total, ids=[])
    reach, before = _reach(buckets, offset=offset, size=size)
    for longer, shorter in pairwise(span for span, _ in _scale(wanted).spans):
        if _is_ordered(wanted) and offset - before + size <= FEW[longer]:
            break
        finer = _finer(wanted, reach, longer, shorter)
        closer, more = _reach(finer, offset=offset - before, size=size)
        # Nothing where runs of that span were deleted between the two readings.
        if closer:
            reach, before = closer, before + more
    near = replace(wanted, start=reach[-1].begins_at, end=reach[0].ends_at)
    return Listing(total=total, ids=_ids(JobExecution.objects.matching(near), offset - before, size))


def _is_ordered(wanted: RunFilter) -> bool:
    """Whether an index has what matches in order, and nothing between: all, or those of one status."""
    is_one_status = wanted.job_id is None and len(wanted.statuses) == len(wanted.traits) == 1
    return is_one_status or not wanted.traits


def _ids(runs: Any, offset: int, size: int) -> list[UUID]:
    """Ids alone stand in the indexes: what is passed over is not read."""
    return list(runs.values_list("pk", flat=True)[offset : offset + size])


# ---- which part of a period is read from where ------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """Which tallies there are: spans, the longest first, each with the mark before which it counts.

    `sparse`: not every longer one has its shorter ones.
    """

    table: Any
    spans: tuple[tuple[Span, str], ...]
    sparse: bool

    @property
    def shortest(self) -> Span:
        return self.spans[-1][0]


_ALL_JOBS: Final = _Scale(
    table=RunTally,
    spans=(
        (Span.MONTH, "months_counted_until"),
        (Span.DAY, "counted_until"),
        (Span.HOUR, "counted_until"),
    ),
    sparse=False,
)
_ONE_JOB: Final = _Scale(
    table=JobTally,
    spans=((Span.MONTH, "jobs_counted_until"), (Span.DAY, "jobs_counted_until")),
    sparse=True,
)


def _scale(wanted: RunFilter) -> _Scale:
    return _ALL_JOBS if wanted.job_id is None else _ONE_JOB


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """[begin, end) in tallies of one span; `begin` None is open."""

    span: Span
    begin: datetime | None
    end: datetime

    def holds(self, moment: datetime) -> bool:
        return (self.begin is None or self.begin <= moment) and moment < self.end


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cover:
    """What of a period is tallied: parts that follow one another, newest first."""

    scale: _Scale
    parts: tuple[_Part, ...] = ()

    def ends(self) -> dict[str, Any]:
        """What `having` has to know of the tallies: where the first and the last of the shortest begin."""
        if not self.scale.sparse:
            return {}
        is_short = Q(span=self.scale.shortest)
        return {"first": Min("begins_at", filter=is_short), "last": Max("begins_at", filter=is_short)}

    def having(self, short: Sequence[datetime | None]) -> _Cover:
        """The same, when short tallies were found at these moments: a part without one is left to be counted.

        The first and the last will do, since such a part is the newest or the oldest.
        """
        if not self.scale.sparse:
            return self
        parts = [
            part
            for part in self.parts
            if part.span != self.scale.shortest or any(part.holds(moment) for moment in short if moment)
        ]
        return replace(self, parts=tuple(parts))

    def edges(self, wanted: RunFilter) -> Iterator[RunFilter]:
        """What the tallies leave to be counted, newest first."""
        if not self.parts:
            yield wanted
            return
        begin, end = self.parts[-1].begin, self.parts[0].end
        if wanted.end is None or end != wanted.end:
            # With an end: SQLite takes a range that is open for a quarter of the table.
            yield replace(wanted, start=end, end=wanted.end or FOREVER)
        if wanted.start is not None and begin != wanted.start:
            yield replace(wanted, end=begin)


def _cover(wanted: RunFilter) -> _Cover:
    """What of the period are whole spans before their mark: each in the longest there is."""
    scale, mark = _scale(wanted), read_mark()
    marks = [(span, getattr(mark, name)) for span, name in scale.spans]
    *_, (_, until) = marks
    if until is None or (wanted.start is not None and wanted.start >= until):
        return _Cover(scale=scale)
    return _Cover(scale=scale, parts=tuple(_parts(wanted.start, min(until, wanted.end or until), marks)))


def _parts(
    begin: datetime | None, end: datetime, marks: Sequence[tuple[Span, datetime | None]]
) -> Iterator[_Part]:
    """Newest first; what is shorter than the shortest span is left out at both ends."""
    if not marks:
        return
    (span, mark), *shorter = marks
    first = None if begin is None else ceiling(begin, span)
    last = None if mark is None else floor(min(end, mark), span)
    if last is None or (first is not None and first > last):
        yield from _parts(begin, end, shorter)
        return
    # Divided there even if no such span is whole: a job may have days of the one month and not of the other.
    yield from _parts(last, end, shorter)
    if first is None or first < last:
        yield _Part(span=span, begin=first, end=last)
    if first is not None:
        yield from _parts(begin, first, shorter)


def _tallies(wanted: RunFilter, parts: Iterable[_Part]) -> Any:
    """The tallies of these parts, of whatever status and kind."""
    of_job = {} if wanted.job_id is None else {"job_id": wanted.job_id}
    chosen = Q()
    for part in parts:
        chosen |= Q(**of_job, span=part.span) & between("begins_at", part.begin, part.end)
    return _scale(wanted).table.objects.filter(chosen).order_by()


def _condition(wanted: RunFilter) -> Q | None:
    """Which of them count."""
    return Q(**wanted.traits) if wanted.traits else None


# ---- pages ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bucket:
    """How many matching runs started in [begins_at, ends_at); None is open. `span` None: no tally.

    `held`: how many there are, matching or not.
    """

    begins_at: datetime | None
    ends_at: datetime | None
    runs: int
    span: Span | None = None
    held: int = 0


def _buckets(wanted: RunFilter) -> list[_Bucket]:
    """All that match, newest first, in buckets none of which is empty."""
    cover = _cover(wanted)
    tallied: list[_Bucket] = []
    if cover.parts:
        tallied = _tally_buckets(wanted, cover.parts)
        shortest = cover.scale.shortest
        cover = cover.having([bucket.begins_at for bucket in tallied if bucket.span == shortest])
    buckets = [
        _Bucket(begins_at=edge.start, ends_at=edge.end, runs=JobExecution.objects.matching(edge).count())
        for edge in cover.edges(wanted)
    ]
    if cover.parts:
        # After the mark, tallies, before the period's first whole span: as `edges` gives its two.
        is_first_newer = bool(buckets) and buckets[0].begins_at == cover.parts[0].end
        buckets[is_first_newer:is_first_newer] = tallied
    return [bucket for bucket in buckets if bucket.runs]


def _tally_buckets(wanted: RunFilter, parts: Iterable[_Part]) -> list[_Bucket]:
    """Newest first; those without a match, too."""
    rows = (
        _tallies(wanted, parts)
        .values_list("begins_at", "span")
        .annotate(matching=Sum("runs", filter=_condition(wanted)), held=Sum("runs"))
        .order_by("-begins_at")
    )
    return [
        _Bucket(
            begins_at=begins_at,
            ends_at=following(begins_at, Span(span)),
            runs=runs or 0,
            span=Span(span),
            held=held,
        )
        for begins_at, span, runs, held in rows
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


def _finer(wanted: RunFilter, reach: list[_Bucket], longer: Span, shorter: Span) -> list[_Bucket]:
    """The same in shorter spans where it begins or ends with a longer one, which may hold very many runs."""
    parts = [
        _Part(span=shorter, begin=bucket.begins_at, end=bucket.ends_at)
        for bucket in {reach[0], reach[-1]}
        if bucket.span == longer and bucket.ends_at and bucket.held > FEW[longer]
    ]
    if not parts:
        return reach
    found = _tally_buckets(wanted, parts)
    replaced = {floor(bucket.begins_at, longer) for bucket in found if bucket.begins_at}
    finer = [bucket for bucket in reach if bucket.span != longer or bucket.begins_at not in replaced]
    finer += [bucket for bucket in found if bucket.runs]
    return sorted(finer, key=lambda bucket: bucket.ends_at or FOREVER, reverse=True)
