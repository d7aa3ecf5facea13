"""The numbers of a tally: how they are counted from runs, added up and compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Count, Min, QuerySet, Sum
from django.db.models.functions import Trunc

from jobs.choices import Span
from jobs.engine.spans import beginnings, floor
from jobs.models import JobExecution

# What is counted apart, whatever else the key holds; and the numbers themselves.
TRAITS: Final = ("status", "trigger_type", "execution_type")
NUMBERS: Final = ("runs", "timed", "seconds")

# By key: runs, how many of them have a duration, and its sum. A key begins with where its span does.
Sums = dict[tuple[Any, ...], tuple[int, int, float]]


def counted() -> tuple[Any, ...]:
    """The numbers of runs, in the order of NUMBERS: index entries alone, no row is read."""
    return Count("pk"), Count("duration_seconds"), Sum("duration_seconds")


def count_runs(runs: QuerySet[JobExecution], span: Span, key: Sequence[str]) -> Sums:
    """The runs themselves, by the spans in which they started and what else the key holds."""
    rows = runs.order_by().annotate(begins_at=Trunc("started_at", span.value, tzinfo=UTC))
    return sum_up(rows.values_list(*key).annotate(*counted()))


def first_start() -> datetime | None:
    first: datetime | None = JobExecution.objects.aggregate(first=Min("started_at"))["first"]
    return first


def known(table: Any, span: Span, until: datetime | None) -> Iterator[datetime]:
    """Where the spans of the history begin that end by `until` or hold it; None: nothing was counted.

    From the first run on, or the first tally: runs that are gone may have left some.
    """
    tallied = table.objects.aggregate(first=Min("begins_at"))["first"]
    first = min(filter(None, [first_start(), tallied]), default=None)
    if first is not None and until is not None:
        yield from beginnings(span, first, until)


def sum_up(rows: Iterable[tuple[Any, ...]]) -> Sums:
    """Sums by key, from rows of key and numbers; what adds up to nothing is left out."""
    sums: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for *key, runs, timed, seconds in rows:
        total = sums[tuple(key)]
        for number, value in enumerate((runs, timed, seconds or 0.0)):
            total[number] += value
    return {key: (int(runs), int(timed), seconds) for key, (runs, timed, seconds) in sums.items() if runs}


def by(span: Span, sums: Sums) -> Sums:
    """The same in longer spans."""
    return sum_up((floor(key[0], span), *key[1:], *numbers) for key, numbers in sums.items())


def insert(table: Any, span: Span, names: Sequence[str], sums: Sums, *, sign: int = 1) -> None:
    """Enter these sums, whose keys are the values of the columns `names`."""
    table.objects.bulk_create(
        [
            table(
                span=span,
                runs=sign * runs,
                timed=sign * timed,
                seconds=sign * seconds,
                **dict(zip(names, key, strict=True)),
            )
            for key, (runs, timed, seconds) in sums.items()
        ],
        batch_size=1000,
    )


def replace(rows: QuerySet[Any], span: Span, names: Sequence[str], sums: Sums) -> None:
    """Enter these sums in the place of these rows of a table of tallies."""
    rows.delete()
    insert(rows.model, span, names, sums)


def same(one: Sums, other: Sums) -> bool:
    """Whether both say the same, but for the last digits of sums that were added in another order."""
    return not differing(one, other)


def differing(one: Sums, other: Sums) -> set[tuple[Any, ...]]:
    """The keys of which both do not say the same."""
    return {
        key
        for key in one.keys() | other.keys()
        if key not in one or key not in other or not _agree(one[key], other[key])
    }


def _agree(one: tuple[int, int, float], other: tuple[int, int, float]) -> bool:
    return one[:2] == other[:2] and math.isclose(one[2], other[2], abs_tol=1e-3)
