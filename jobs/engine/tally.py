"""TALLY: the history is counted once, hour by hour, so that no statistic has to scan it.

A day is the sum of its hours, entered with its last one, and a month that of its days.

The mark (`TallyMark.counted_until`) divides the history. Before it, every run has ended and the
tallies say how many there were; from it on, readers count the rows themselves. A reader so depends
on nothing but the mark, and whoever changes the past keeps one of two rules, in the transaction of
the change:

- `forget` before runs are deleted: their numbers are entered with a minus.
- `reopen` where a run before the mark is changed: the mark goes back, and the hours are counted anew.

Months follow with a mark of their own (`TallyMark.months_counted_until`), so that those of a history which
was counted without them are entered one by one. Whoever counts an hour anew takes it back to that month.

`jobs.engine.job_tally` does the same for each job, by day and month; it is called from here alone.

Few do. What starts, starts now; a run that has not ended keeps the mark behind it; SETTLE is room for
hosts whose clocks differ. Left are deletions, a late answer that replaces "interrupted", and a clock
set back. What nobody foresaw (rows written behind our back) `recount` finds within a day, and mends.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Min, QuerySet

from cronsched.core.db import let_others_write, retry_conflicts
from jobs.choices import IN_FLIGHT, Span
from jobs.engine import job_tally
from jobs.engine.job_tally import JOB_KEY
from jobs.engine.lease import Term, prove
from jobs.engine.mark import Mark, locked_mark, read_mark
from jobs.engine.spans import floor, following
from jobs.engine.sums import (
    NUMBERS,
    TRAITS,
    Sums,
    by,
    count_runs,
    first_start,
    insert,
    known,
    replace,
    same,
    sum_up,
)
from jobs.models import JobExecution, RunTally, TallyMark
from jobs.models.tally import MARK_ID

logger = logging.getLogger(__name__)

# An hour is counted when it has been over for so long: more than clocks of hosts differ by.
SETTLE: Final = timedelta(minutes=30)
_HOUR: Final = timedelta(hours=1)
# The key of sums in this module.
_KEY: Final = ("begins_at", *TRAITS)
# What the longer spans are added up from.
_PARTS: Final = {Span.DAY: Span.HOUR, Span.MONTH: Span.DAY}


def count_closed_hours(*, now: datetime, term: Term) -> int:
    """Count the hours that have closed since the last time, at most a day in a transaction. How many.

    Then the months that are over with them, and what that closes for each job.
    """
    total = 0
    while hours := _count_next(now=now, term=term):
        total += hours
        let_others_write()
    while month := _next_month(read_mark()):
        _count_month(month, term=term)
        let_others_write()
    job_tally.count_jobs(term=term)
    return total


@retry_conflicts
def _count_next(*, now: datetime, term: Term) -> int:
    with transaction.atomic():
        prove(term)
        TallyMark.objects.get_or_create(pk=MARK_ID)
        begin = locked_mark().counted_until or first_start()
        if begin is None:
            return 0
        begin = floor(begin, Span.HOUR)
        end = min(_closed_until(now), following(floor(begin, Span.DAY), Span.DAY))
        if end <= begin:
            return 0
        _store(begin, end)
        TallyMark.objects.update(counted_until=end)
        month = floor(begin, Span.MONTH)
        TallyMark.objects.filter(months_counted_until__gt=month).update(months_counted_until=month)
    return (end - begin) // _HOUR


def _next_month(mark: Mark) -> datetime | None:
    """The first month that is over and not entered yet."""
    if mark.counted_until is None:
        return None
    # Of a history that was counted without months, there is nothing before the first day.
    days = RunTally.objects.filter(span=Span.DAY)
    first = mark.months_counted_until or days.aggregate(first=Min("begins_at"))["first"]
    if first is None:
        return None
    month = floor(first, Span.MONTH)
    return month if following(month, Span.MONTH) <= mark.counted_until else None


@retry_conflicts
def _count_month(month: datetime, *, term: Term) -> None:
    """Enter it, unless the mark has moved meanwhile: then another one is the next."""
    with transaction.atomic():
        prove(term)
        if _next_month(locked_mark()) != month:
            return
        end = following(month, Span.MONTH)
        _enter(Span.MONTH, month, end, _added_up(Span.MONTH, month, end))
        TallyMark.objects.update(months_counted_until=end)


def _closed_until(now: datetime) -> datetime:
    """Hours that have settled, and in which nothing is under way any more."""
    under_way = JobExecution.objects.filter(status__in=IN_FLIGHT).aggregate(first=Min("started_at"))
    return floor(min(now - SETTLE, under_way["first"] or now), Span.HOUR)


# ---- changes of the past: within the transaction of the change --------------------------------


def forget(runs: QuerySet[JobExecution]) -> None:
    """Take runs that are about to be deleted out of the tallies."""
    mark = locked_mark().counted_until
    if mark is None:
        return
    of_jobs = count_runs(runs.filter(started_at__lt=mark), Span.HOUR, JOB_KEY)
    hours = sum_up((begins_at, *traits, *numbers) for (begins_at, _, *traits), numbers in of_jobs.items())
    for span in Span:
        # A day or month that its mark has not passed is entered anew when it does, this with it.
        insert(RunTally, span, _KEY, by(span, hours), sign=-1)
    job_tally.forget(of_jobs)


def reopen(since: datetime) -> None:
    """A run that started at `since` has come or changed: from its hour on all is counted anew."""
    hour = floor(since, Span.HOUR)
    # Whatever it says now: who is counting these hours has not committed yet.
    locked_mark()
    TallyMark.objects.filter(counted_until__gt=hour).update(counted_until=hour)
    job_tally.reopen(since)


# ---- counting ---------------------------------------------------------------------------------


def _store(begin: datetime, end: datetime) -> None:
    """Count the rows of these hours of one day, and, where the day ends with them, the day."""
    _enter(Span.HOUR, begin, end, _counted(begin, end))
    day = floor(begin, Span.DAY)
    if end == following(day, Span.DAY):
        _enter(Span.DAY, day, end, _added_up(Span.DAY, day, end))


def _enter(span: Span, begin: datetime, end: datetime, sums: Sums) -> None:
    replace(_tallies(span, begin, end), span, _KEY, sums)


def _counted(begin: datetime, end: datetime) -> Sums:
    """The runs themselves, by hour."""
    runs = JobExecution.objects.filter(started_at__gte=begin, started_at__lt=end)
    return count_runs(runs, Span.HOUR, _KEY)


def _added_up(span: Span, begin: datetime, end: datetime) -> Sums:
    """What the tallies of the next shorter span add up to."""
    return by(span, sum_up(_tallied(_PARTS[span], begin, end)))


def _tallied(span: Span, begin: datetime, end: datetime) -> list[tuple[Any, ...]]:
    return list(_tallies(span, begin, end).values_list(*_KEY, *NUMBERS))


def _tallies(span: Span, begin: datetime, end: datetime) -> QuerySet[RunTally]:
    return RunTally.objects.filter(span=span, begins_at__gte=begin, begins_at__lt=end)


# ---- looking again ----------------------------------------------------------------------------


def recount(*, now: datetime, term: Term) -> int:
    """Compare the tallies of every day with its runs, of every month with its days, mend what differs,
    join what was entered twice.

    How many days and months differed, and for how many jobs and months; all is logged, since nothing that
    cronsched does should make one.
    """
    wrong = 0
    for day in known(RunTally, Span.DAY, read_mark().counted_until):
        wrong += _recount_day(day, term=term)
        let_others_write()
    for month in known(RunTally, Span.MONTH, read_mark().months_counted_until):
        wrong += _recount_month(month, term=term)
        let_others_write()
    return wrong + job_tally.recount_jobs(term=term)


@retry_conflicts
def _recount_day(day: datetime, *, term: Term) -> bool:
    with transaction.atomic():
        prove(term)
        end = min(locked_mark().counted_until or day, following(day, Span.DAY))
        if end <= day:
            return False
        right = {Span.HOUR: _counted(day, end)}
        if end == following(day, Span.DAY):
            right[Span.DAY] = by(Span.DAY, right[Span.HOUR])
        return _mend(Span.DAY, day, end, right)


@retry_conflicts
def _recount_month(month: datetime, *, term: Term) -> bool:
    with transaction.atomic():
        prove(term)
        end = following(month, Span.MONTH)
        if end > (locked_mark().months_counted_until or month):
            return False
        return _mend(Span.MONTH, month, end, {Span.MONTH: _added_up(Span.MONTH, month, end)})


def _mend(span: Span, begin: datetime, end: datetime, right: dict[Span, Sums]) -> bool:
    """Enter what is right where the tallies say it in other rows; whether they said something else."""
    is_wrong = False
    for part, sums in right.items():
        rows = _tallied(part, begin, end)
        is_same = same(sum_up(rows), sums)
        if not is_same or len(rows) != len(sums):
            _enter(part, begin, end, sums)
        is_wrong = is_wrong or not is_same
    if is_wrong:
        logger.warning("tally: counted anew, runs had changed behind it %s=%s", span.value, begin.date())
    return is_wrong
