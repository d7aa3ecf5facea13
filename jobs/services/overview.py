"""What pages show of many runs at a glance: figures day by day, and the last runs of each job."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import TruncHour

from jobs.choices import Span
from jobs.engine.mark import read_mark
from jobs.engine.spans import floor
from jobs.models import Job, JobExecution, RunTally
from jobs.querysets import RunFilter, between
from jobs.services.statistics import Figures, StatusRow, figures, to_figures

LAST_RUNS: Final = 20


def figures_between(bounds: Sequence[datetime]) -> list[Figures]:
    """The figures of each span between two neighbouring bounds, which ascend: days of a chart, say.

    Three statements, however many spans; where a bound is no whole hour of UTC (a zone of half an
    hour), a few for each span.
    """
    if any(floor(bound, Span.HOUR) != bound for bound in bounds):
        return [figures(RunFilter(start=start, end=end)) for start, end in pairwise(bounds)]
    spans: list[list[StatusRow]] = [[] for _ in pairwise(bounds)]
    for begins_at, *row in _by_hour(bounds[0], bounds[-1]):
        spans[bisect_right(bounds, begins_at) - 1].append(tuple(row))
    return [to_figures(rows) for rows in spans]


def _by_hour(start: datetime, end: datetime) -> Iterator[tuple[Any, ...]]:
    """Hour, status and numbers of [start, end), both whole hours."""
    middle = min(max(read_mark().counted_until or start, start), end)
    tallies = RunTally.objects.filter(between("begins_at", start, middle), span=Span.HOUR).order_by()
    yield from tallies.values_list("begins_at", "status").annotate(Sum("runs"), Sum("timed"), Sum("seconds"))
    runs = JobExecution.objects.filter(between("started_at", middle, end)).order_by()
    yield from (
        runs.annotate(begins_at=TruncHour("started_at", tzinfo=UTC))
        .values_list("begins_at", "status")
        .annotate(Count("pk"), Count("duration_seconds"), Sum("duration_seconds"))
    )


def last_runs(job_ids: Iterable[UUID], *, count: int = LAST_RUNS) -> dict[UUID, list[tuple[Any, ...]]]:
    """For each of these jobs its last runs, oldest first: (id, status, started_at, duration_seconds).

    Two statements, which read `count` index entries for each job, however long its history.
    """
    newest = JobExecution.objects.filter(job_id=OuterRef("pk")).order_by("-started_at", "-id")
    first = Subquery(newest.values("started_at")[count - 1 : count])
    since = Job.objects.filter(pk__in=list(job_ids)).annotate(first=first).values_list("pk", "first")
    wanted = Q()
    for job_id, start in since:
        wanted |= Q(job_id=job_id) & between("started_at", start, None)
    found: dict[UUID, list[tuple[Any, ...]]] = defaultdict(list)
    if wanted:
        rows = JobExecution.objects.filter(wanted).order_by("started_at", "id")
        for job_id, *run in rows.values_list("job_id", "pk", "status", "started_at", "duration_seconds"):
            found[job_id].append(tuple(run))
    # Several may have started in the moment that the oldest did.
    return {job_id: runs[-count:] for job_id, runs in found.items()}
