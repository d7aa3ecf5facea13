"""TALLY: the history is counted once, hour by hour, so that no statistic has to scan it.

The mark (`TallyMark.counted_until`) divides the history. Before it, every run has ended and the
tallies say how many there were; from it on, readers count the rows themselves. A reader so depends
on nothing but the mark, and whoever changes the past keeps one of two rules, in the transaction of
the change:

- `forget` before runs are deleted: their numbers are entered with a minus.
- `reopen` where a run before the mark is changed: the mark goes back, and the hours are counted anew.

`jobs.engine.job_tally` does the same for each job, by day and month; it is called from here alone.

Few do. What starts, starts now; a run that has not ended keeps the mark behind it; SETTLE is room for
hosts whose clocks differ. Left are deletions, a late answer that replaces "interrupted", and a clock
set back. What nobody foresaw (rows written behind our back) `recount` finds within a day, and mends.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Min, QuerySet
from django.db.models.functions import TruncHour

from cronsched.core.db import let_others_write, locked, retry_conflicts
from jobs.choices import IN_FLIGHT, Span
from jobs.engine import job_tally
from jobs.engine.lease import Term, prove
from jobs.engine.spans import floor
from jobs.engine.sums import NUMBERS, TRAITS, Sums, counted, first_known, first_start, insert, same, sum_up
from jobs.models import JobExecution, RunTally, TallyMark
from jobs.models.tally import MARK_ID

logger = logging.getLogger(__name__)

# An hour is counted when it has been over for so long: more than clocks of hosts differ by.
SETTLE: Final = timedelta(minutes=30)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
# The key of sums in this module.
_KEY: Final = ("begins_at", *TRAITS)


def count_closed_hours(*, now: datetime, term: Term) -> int:
    """Count the hours that have closed since the last time, at most a day in a transaction. How many.

    Then what that closes for each job.
    """
    total = 0
    while hours := _count_next(now=now, term=term):
        total += hours
        let_others_write()
    job_tally.count_jobs(term=term)
    return total


@retry_conflicts
def _count_next(*, now: datetime, term: Term) -> int:
    with transaction.atomic():
        prove(term)
        TallyMark.objects.get_or_create(pk=MARK_ID)
        begin = _locked_mark() or first_start()
        if begin is None:
            return 0
        begin = floor(begin, Span.HOUR)
        end = min(_closed_until(now), floor(begin, Span.DAY) + _DAY)
        if end <= begin:
            return 0
        _store(begin, end)
        TallyMark.objects.update(counted_until=end)
    return (end - begin) // _HOUR


def _locked_mark() -> datetime | None:
    mark: datetime | None = locked(TallyMark.objects.all()).values_list("counted_until", flat=True).first()
    return mark


def _closed_until(now: datetime) -> datetime:
    """Hours that have settled, and in which nothing is under way any more."""
    under_way = JobExecution.objects.filter(status__in=IN_FLIGHT).aggregate(first=Min("started_at"))
    return floor(min(now - SETTLE, under_way["first"] or now), Span.HOUR)


# ---- changes of the past: within the transaction of the change --------------------------------


def forget(runs: QuerySet[JobExecution]) -> None:
    """Take runs that are about to be deleted out of the tallies."""
    mark = _locked_mark()
    if mark is None:
        return
    of_jobs = _count_rows(runs.filter(started_at__lt=mark), "job_id", *_KEY)
    hours = sum_up((*key[1:], *numbers) for key, numbers in of_jobs.items())
    insert(RunTally, Span.HOUR, _KEY, hours, sign=-1)
    # A day that the mark has not passed is counted anew when it does, this with it.
    insert(RunTally, Span.DAY, _KEY, _by_day(hours), sign=-1)
    job_tally.forget(of_jobs)


def reopen(since: datetime) -> None:
    """A run that started at `since` has come or changed: from its hour on all is counted anew."""
    hour = floor(since, Span.HOUR)
    # Whatever it says now: who is counting these hours has not committed yet.
    _locked_mark()
    TallyMark.objects.filter(counted_until__gt=hour).update(counted_until=hour)
    job_tally.reopen(since)


# ---- counting ---------------------------------------------------------------------------------


def _store(begin: datetime, end: datetime) -> None:
    """Count the rows of these hours of one day, and, where the day ends with them, the day."""
    RunTally.objects.filter(span=Span.HOUR, begins_at__gte=begin, begins_at__lt=end).delete()
    insert(RunTally, Span.HOUR, _KEY, _count_rows(_started(begin, end)))
    day = floor(begin, Span.DAY)
    if end == day + _DAY:
        RunTally.objects.filter(span=Span.DAY, begins_at=day).delete()
        insert(RunTally, Span.DAY, _KEY, _by_day(sum_up(_tallied(Span.HOUR, day, end))))


def _started(begin: datetime, end: datetime) -> QuerySet[JobExecution]:
    runs: QuerySet[JobExecution] = JobExecution.objects.filter(started_at__gte=begin, started_at__lt=end)
    return runs


def _count_rows(runs: QuerySet[JobExecution], *key: str) -> Sums:
    """The runs themselves, by hour."""
    rows = runs.order_by().annotate(begins_at=TruncHour("started_at", tzinfo=UTC))
    return sum_up(rows.values_list(*(key or _KEY)).annotate(*counted()))


def _tallied(span: Span, begin: datetime, end: datetime) -> list[tuple[Any, ...]]:
    rows = RunTally.objects.filter(span=span, begins_at__gte=begin, begins_at__lt=end)
    return list(rows.values_list(*_KEY, *NUMBERS))


def _by_day(hours: Sums) -> Sums:
    return sum_up((floor(key[0], Span.DAY), *key[1:], *sums) for key, sums in hours.items())


# ---- looking again ----------------------------------------------------------------------------


def recount(*, now: datetime, term: Term) -> int:
    """Compare the tallies of every day with its runs, mend what differs, join what was entered twice.

    How many days differed, and for how many jobs and months; all is logged, since nothing that
    cronsched does should make one.
    """
    return _recount_days(term=term) + job_tally.recount_jobs(term=term)


def _recount_days(*, term: Term) -> int:
    mark = TallyMark.objects.values_list("counted_until", flat=True).first()
    first = first_known(RunTally)
    if mark is None or first is None:
        return 0
    wrong, day = 0, floor(first, Span.DAY)
    while day < mark:
        wrong += _recount_day(day, term=term)
        day += _DAY
        let_others_write()
    return wrong


@retry_conflicts
def _recount_day(day: datetime, *, term: Term) -> bool:
    with transaction.atomic():
        prove(term)
        mark = _locked_mark()
        end = min(mark, day + _DAY) if mark is not None else day
        if end <= day:
            return False
        stored, counted = _tallied(Span.HOUR, day, end), _count_rows(_started(day, end))
        stored_day = _tallied(Span.DAY, day, end) if end == day + _DAY else []
        counted_day = _by_day(counted) if end == day + _DAY else {}
        is_wrong = not (same(sum_up(stored), counted) and same(sum_up(stored_day), counted_day))
        if is_wrong:
            logger.warning("tally: a day was counted anew, its runs had changed behind it day=%s", day.date())
        if is_wrong or (len(stored), len(stored_day)) != (len(counted), len(counted_day)):
            _store(day, end)
    return is_wrong
