"""The history of each job, counted once: by month, and by day where it has many runs.

What `jobs.engine.tally` does for all jobs together, with a mark of its own that follows that one:
before `TallyMark.jobs_counted_until`, a whole day, the tallies of a job say how many runs it had.

- A month that is over has its tally; its days have theirs if the job ran more than BUSY times in it.
- The month of the mark has its days, of every job, up to the mark.

So a job has either all days of a month or none, and who finds none counts the runs, which are few.

Jobs are taken some at a time, and nothing is locked while they are counted: `TallyMark.changes` says
whether what was counted has changed meanwhile (`forget`, `reopen`), and then it is counted again.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import F

from cronsched.core.db import let_others_write, retry_conflicts
from jobs.choices import Span
from jobs.engine.lease import Term, prove
from jobs.engine.mark import Mark, locked_mark, read_mark
from jobs.engine.spans import floor, following
from jobs.engine.sums import (
    NUMBERS,
    TRAITS,
    Sums,
    by,
    count_runs,
    differing,
    first_start,
    insert,
    known,
    replace,
    sum_up,
)
from jobs.models import Job, JobExecution, JobTally, TallyMark

logger = logging.getLogger(__name__)

# A job that ran more often in a month keeps the days of that month: so many runs are quickly counted.
BUSY: Final = 200
JOBS_AT_ONCE: Final = 100
_ATTEMPTS: Final = 3
# The key of sums in this module.
JOB_KEY: Final = ("begins_at", "job_id", *TRAITS)


class _Part(NamedTuple):
    """Whole days of one month, before the mark of all jobs."""

    begin: datetime
    end: datetime

    @property
    def month(self) -> datetime:
        return floor(self.begin, Span.MONTH)

    @property
    def is_last(self) -> bool:
        """Whether the month is over with it."""
        return self.end == following(self.month, Span.MONTH)


class _Changed(Exception):
    """What was counted is not what there is any more."""


# ---- counting ---------------------------------------------------------------------------------


def count_jobs(*, term: Term) -> None:
    """Count for each job the days that all jobs' mark has passed, at most a month of some jobs at a time.

    What is changed meanwhile, again and again, is left to the next time.
    """
    with contextlib.suppress(_Changed):
        while part := _next_part(term):
            for job_ids in _some_jobs():
                _attempt(_count_some, part, job_ids, term)
                let_others_write()
            _attempt(_pass, part, term)


def _next_part(term: Term) -> _Part | None:
    mark = read_mark()
    if mark.counted_until is None:
        return None
    # Of a history that was never counted by job, there is nothing before the first run.
    begin = mark.jobs_counted_until or first_start()
    if begin is None:
        return None
    month = floor(begin, Span.MONTH)
    end = min(floor(mark.counted_until, Span.DAY), following(month, Span.MONTH))
    if end <= begin:
        return None
    if mark.jobs_counted_until is None or end == following(month, Span.MONTH):
        # A month that is over is counted as a whole: most jobs lose their days of it, and whoever
        # stops half way finds some jobs with and some without.
        begin = month
    if begin != mark.jobs_counted_until:
        _move(mark, begin, term)
    return _Part(begin, end)


def _count_some(part: _Part, job_ids: list[UUID], term: Term) -> int:
    mark = read_mark()
    if not _is_next(part, mark):
        raise _Changed
    _store(part, job_ids, _days(part, job_ids), mark=mark, term=term)
    return len(job_ids)


def _pass(part: _Part, term: Term) -> int:
    mark = read_mark()
    if not _is_next(part, mark):
        raise _Changed
    _move(mark, part.end, term)
    return 1


@retry_conflicts
def _move(mark: Mark, to: datetime, term: Term) -> None:
    with transaction.atomic():
        prove(term)
        if locked_mark() != mark:
            raise _Changed
        TallyMark.objects.update(jobs_counted_until=to)


def _is_next(part: _Part, mark: Mark) -> bool:
    is_closed = mark.counted_until is not None and mark.counted_until >= part.end
    return is_closed and mark.jobs_counted_until == part.begin


def _attempt(work: Callable[..., int], *args: Any) -> int:
    """Do it again where something has changed under it; raises _Changed when that does not end."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return work(*args)
        except _Changed:
            let_others_write()
    return work(*args)


def _some_jobs() -> Iterator[list[UUID]]:
    jobs = Job.objects.order_by("pk").values_list("pk", flat=True)
    some = list(jobs[:JOBS_AT_ONCE])
    while some:
        yield some
        some = list(jobs.filter(pk__gt=some[-1])[:JOBS_AT_ONCE])


def _days(part: _Part, job_ids: list[UUID]) -> Sums:
    """The runs themselves, by job and day: each job's part of the index by job."""
    runs = JobExecution.objects.filter(
        job_id__in=job_ids, started_at__gte=part.begin, started_at__lt=part.end
    )
    return count_runs(runs, Span.DAY, JOB_KEY)


def _tallied(span: Span, part: _Part, job_ids: list[UUID]) -> list[tuple[Any, ...]]:
    return list(_tallies(span, part, job_ids).values_list(*JOB_KEY, *NUMBERS))


def _tallies(span: Span, part: _Part, job_ids: list[UUID]) -> Any:
    return JobTally.objects.filter(
        job_id__in=job_ids, span=span, begins_at__gte=part.begin, begins_at__lt=part.end
    )


def _kept(part: _Part, days: Sums) -> dict[Span, Sums]:
    """What the table says of a part: one that ends its month begins with it, too."""
    if not part.is_last:
        return {Span.DAY: days}
    runs: Counter[UUID] = Counter()
    for (_, job_id, *_), (count, *_) in days.items():
        runs[job_id] += count
    busy = {key: numbers for key, numbers in days.items() if runs[key[1]] > BUSY}
    return {Span.DAY: busy, Span.MONTH: by(Span.MONTH, days)}


@retry_conflicts
def _store(part: _Part, job_ids: list[UUID], days: Sums, *, mark: Mark, term: Term) -> None:
    """Put these sums in the place of what the table says of the part; raises _Changed if `mark` is past."""
    with transaction.atomic():
        prove(term)
        if locked_mark() != mark:
            raise _Changed
        for span, sums in _kept(part, days).items():
            replace(_tallies(span, part, job_ids), span, JOB_KEY, sums)


# ---- changes of the past: within the transaction of the change, TallyMark locked ----------------


def forget(hours: Sums) -> None:
    """Take runs that are about to be deleted out of what was counted, given by job and hour."""
    TallyMark.objects.update(changes=F("changes") + 1)
    for span in (Span.DAY, Span.MONTH):
        sums = by(span, hours)
        # A run that was counted stands in a row that is there.
        there = _there(span, {key[0] for key in sums}, {key[1] for key in sums})
        counted_before = {key: numbers for key, numbers in sums.items() if key[:2] in there}
        insert(JobTally, span, JOB_KEY, counted_before, sign=-1)


def _there(span: Span, begins: Collection[datetime], job_ids: Collection[UUID]) -> set[tuple[Any, ...]]:
    rows = JobTally.objects.filter(job_id__in=job_ids, span=span, begins_at__in=begins).order_by()
    return set(rows.values_list("begins_at", "job_id").distinct())


def reopen(since: datetime) -> None:
    """A run that started at `since` has come or changed: its month is counted anew, and all after it."""
    counted = TallyMark.objects.filter(jobs_counted_until__gt=since)
    counted.update(jobs_counted_until=floor(since, Span.MONTH), changes=F("changes") + 1)


# ---- looking again ----------------------------------------------------------------------------


def recount_jobs(*, term: Term) -> int:
    """Compare the tallies of every month with its runs, mend what differs, join what was entered twice.

    For how many jobs and months they differed; each time is logged.
    """
    wrong = 0
    until = read_mark().jobs_counted_until
    for month in known(JobTally, Span.MONTH, until):
        part = _Part(month, min(following(month, Span.MONTH), until or month))
        for job_ids in _some_jobs():
            wrong += _recount_some(part, job_ids, term)
            let_others_write()
    return wrong


def _recount_some(part: _Part, job_ids: list[UUID], term: Term) -> int:
    try:
        return _attempt(_compare, part, job_ids, term)
    except _Changed:
        # What changes all the time is looked at the next night.
        return 0


def _compare(part: _Part, job_ids: list[UUID], term: Term) -> int:
    mark = read_mark()
    if mark.jobs_counted_until is None or mark.jobs_counted_until < part.end:
        return 0
    days = _days(part, job_ids)
    wrong: set[UUID] = set()
    is_tidy = True
    for span, sums in _kept(part, days).items():
        rows = _tallied(span, part, job_ids)
        right = sums
        if span == Span.DAY:
            # Of a job that has days here: a month may be busy no more since some of its runs were deleted.
            having = {row[1] for row in rows}
            right = {key: numbers for key, numbers in days.items() if key[1] in having}
        wrong |= {key[1] for key in differing(sum_up(rows), right)}
        is_tidy = is_tidy and len(rows) == len(sums)
    if wrong or not is_tidy:
        _store(part, job_ids, days, mark=mark, term=term)
    if wrong:
        logger.warning("tally: jobs were counted anew month=%s jobs=%d", part.month.date(), len(wrong))
    return len(wrong)
