"""Upkeep of the schedule: reconciliation, resync, and jobs that have outlived their purpose."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Max, Q, QuerySet

from cronsched.core.clock import scheduler_date
from cronsched.core.db import locked, retry_conflicts, update_each
from jobs.choices import PausedReason, Status
from jobs.drift import ODD, Drift
from jobs.engine import retries, slots
from jobs.engine.broken import switch_off
from jobs.engine.decide import ROW_FAULTS, blamed
from jobs.engine.tell import tell_batch_changed
from jobs.engine.transports.base import MAX_RETRY_AFTER_S
from jobs.models import Job, JobExecution
from jobs.querysets import JobQuerySet
from jobs.services.overtaken import overtaken_run, record_overtaken
from jobs.signals import JobChange

logger = logging.getLogger(__name__)

BATCH = 500
# Rows that the database looks through at once, and rhythms that are remembered.
STRETCH = 10_000

# Of a job whose next run is computed anew.
_COLUMNS = (
    "id", "name", "is_active", "cron_expression", "timezone", "end_date", "next_run_at",
    "planned_schedule", "schedule_version",
)  # fmt: skip

NextRun = Callable[[str, str], datetime | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """`paused`: expired or unreadable jobs switched off; `removed`: next runs cleared from inactive jobs."""

    paused: int
    removed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ResyncResult(Reconciled):
    """`scheduled`: active jobs with a next run."""

    scheduled: int


def resync(*, now: datetime) -> ResyncResult:
    """Recompute the next run of every active job, from any process. A slot that is due stays."""
    paused = expire_jobs(now=now)
    removed = _clear_inactive()
    _free_queue(now)
    paused += _recompute(_by_key(Job.objects.active()), now=now).paused
    return ResyncResult(scheduled=Job.objects.scheduled().count(), paused=paused, removed=removed)


def reconcile(*, now: datetime) -> Reconciled:
    """As `resync`, for the jobs changed behind the services' back only: an index holds those."""
    paused = expire_jobs(now=now)
    done = _recompute(_drifted(), now=now)
    return Reconciled(paused=paused + done.paused, removed=done.removed)


def pull_back(*, now: datetime) -> int:
    """Set right the next runs that lie later than the schedule says, which no index finds.

    A clock that was set back left them there, or a hand. One that lies earlier comes due, and is then
    right by itself. The count of jobs switched off as unreadable.
    """
    _free_queue(now)
    next_run = _next_run_after(now)
    return sum(
        _recompute(_by_key(jobs.scheduled().filter(next_run_at__gt=now)), now=now, only_back=True).paused
        for jobs in _stretches()
        if _may_lie_late(jobs, now, next_run)
    )


def _stretches() -> Iterator[JobQuerySet]:
    """All jobs by key, STRETCH at a time: no statement is long, whatever their number."""
    jobs: JobQuerySet = Job.objects.all()
    while True:
        last = jobs.order_by("pk").values_list("pk", flat=True)[STRETCH - 1 : STRETCH].first()
        if last is None:
            yield jobs
            return
        yield jobs.filter(pk__lte=last)
        jobs = Job.objects.filter(pk__gt=last)


def _may_lie_late(jobs: JobQuerySet, now: datetime, next_run: NextRun) -> bool:
    """Whether one of these jobs runs later than its rhythm says, or has one that cannot be read.

    The database compares: there are far fewer rhythms than jobs.
    """
    rhythms = jobs.order_by().values_list("cron_expression", "timezone").annotate(Max("next_run_at"))
    try:
        return any(
            _is_later(last, next_run(expression, zone or settings.SCHEDULER_TIMEZONE))
            for expression, zone, last in rhythms
            if last is not None and last > now
        )
    except ROW_FAULTS:
        return True


def _next_run_after(now: datetime) -> NextRun:
    """The next run of a rhythm, whatever the end date: each is computed once."""

    @lru_cache(maxsize=STRETCH)
    def next_run(expression: str, zone_name: str) -> datetime | None:
        return slots.next_slot(expression=expression, zone_name=zone_name, end_date=None, after=now)

    return next_run


def _free_queue(now: datetime) -> None:
    """Let queued runs go that a clock set back would keep waiting, and their overlap slots with them."""
    waiting = JobExecution.objects.filter(status=Status.QUEUED)
    is_first = Q(attempt=1, available_at__gt=now)
    longest_wait = now + timedelta(seconds=MAX_RETRY_AFTER_S + retries.FIRST_BOUND_S)
    waiting.filter(is_first | Q(available_at__gt=longest_wait)).update(available_at=now)


def expire_jobs(*, now: datetime) -> int:
    """Pause active jobs whose end date has gone by in the scheduler's timezone. The count."""
    today = scheduler_date(now)
    total = 0
    while moved := _expire_batch(today=today, now=now):
        total += moved
    if total:
        logger.info("jobs paused at their end date count=%d", total)
    return total


@retry_conflicts
def _expire_batch(*, today: date, now: datetime) -> int:
    expired = Job.objects.expired(today)
    # One look, and no transaction where there are none: that would keep SQLite's other writers out.
    ids = list(expired.order_by().values_list("pk", flat=True)[:BATCH])
    if not ids:
        return 0
    with transaction.atomic():
        jobs = list(locked(expired.filter(pk__in=ids).order_by("pk")))
        _account_for_due(jobs, now)
        by_day: dict[date | None, list[Job]] = defaultdict(list)
        for job in jobs:
            by_day[job.end_date].append(job)
        for end_date, group in by_day.items():
            _switch_off(group, PausedReason.EXPIRED, f"Its end date, {end_date}, has gone by.", now)
        ended = [JobChange(job=job, action="expired", changes={}) for job in jobs]
        tell_batch_changed(ended, now=now, by=None, via="scheduler")
    return len(ids)


def _account_for_due(jobs: list[Job], now: datetime) -> None:
    """What came due on the last days while no scheduler ran is missed: no slot vanishes with its job."""
    overtaken = record_overtaken([run for job in jobs if (run := overtaken_run(job, now=now))], now=now)
    if overtaken:
        Job.objects.filter(pk__in=[job.pk for job in overtaken]).update(last_status=Status.MISSED)


def _switch_off(jobs: list[Job], reason: PausedReason, note: str, now: datetime) -> None:
    """Pause these jobs in one statement, in the database and in memory."""
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(
        is_active=False,
        next_run_at=None,
        paused_reason=reason,
        paused_note=note,
        schedule_version=F("schedule_version") + 1,
        updated_at=now,
    )
    for job in jobs:
        job.is_active, job.next_run_at = False, None
        job.paused_reason, job.paused_note = reason, note


def _clear_inactive() -> int:
    """Clear next runs left on inactive jobs by a hand in the database. The count.

    The jobs table forbids that state; a database whose constraints were dropped may have it.
    """
    return Job.objects.filter(is_active=False, next_run_at__isnull=False).update(next_run_at=None)


def _recompute(pages: Iterator[list[Job]], *, now: datetime, only_back: bool = False) -> Reconciled:
    """Set the next run of these jobs from `now` on: none of a paused one.

    A job that is due is PLAN's: its slot stays, unless its schedule was changed meanwhile.
    """
    faults: dict[Job, Exception] = {}
    removed = 0
    next_run = _next_run_after(now)
    for page in pages:
        rows = []
        for job in page:
            key = slots.schedule_key(job.cron_expression, job.zone_name)
            try:
                next_run_at = _next_of(job, key, now, next_run)
            except ROW_FAULTS as error:
                faults[job] = error
                continue
            if only_back and not _is_later(job.next_run_at, next_run_at):
                continue
            if (next_run_at, key) != (job.next_run_at, job.planned_schedule):
                rows.append((next_run_at, key, job.pk, job.schedule_version))
                removed += not job.is_active
        # A job that was edited meanwhile has another version, and its own right next run.
        update_each(Job, ("next_run_at", "planned_schedule"), ("id", "schedule_version"), rows)
    return Reconciled(paused=_switch_off_blamed(faults, now=now), removed=removed)


def _is_later(planned: datetime | None, right: datetime | None) -> bool:
    return planned is not None and right is not None and planned > right


def _next_of(job: Job, key: str, now: datetime, next_run: NextRun) -> datetime | None:
    if not job.is_active:
        return None
    is_due = job.next_run_at is not None and job.next_run_at <= now
    if is_due and key == job.planned_schedule:
        return job.next_run_at
    slot = next_run(job.cron_expression, job.zone_name)
    return slot if slot is not None and slots.is_within(slot, job.end_date) else None


def _switch_off_blamed(faults: dict[Job, Exception], *, now: datetime) -> int:
    """Switch off the jobs that are themselves to blame for their fault. The count."""
    notes = blamed(faults)
    for job, note in notes.items():
        _switch_off_broken(job, note, now)
    if len(faults) > len(notes):
        error = next(error for job, error in faults.items() if job not in notes)
        logger.error(
            "jobs passed over, several fail alike count=%d", len(faults) - len(notes), exc_info=error
        )
    return len(notes)


@retry_conflicts
def _switch_off_broken(job: Job, note: str, now: datetime) -> None:
    with transaction.atomic():
        switch_off(job, note=note, now=now)


def _by_key(jobs: QuerySet[Job]) -> Iterator[list[Job]]:
    """The rows in pages by key: no long transaction, no offset that grows."""
    return _pages(jobs.order_by("pk"), lambda job: Q(pk__gt=job.pk))


def _drifted() -> Iterator[list[Job]]:
    """What was changed behind the services' back, and the few jobs on their last day, along the indexes.

    By key, a database would look for them among all jobs; so would it for what differs from a value,
    and for a value that its statistics take for that of every row.
    """
    jobs = Job.objects.annotate(drift=Drift())
    zone = settings.SCHEDULER_TIMEZONE
    yield from _along(jobs.filter(drift__lt=zone), "drift")
    yield from _along(jobs.filter(drift__gt=zone), "drift")
    if connection.features.supports_partial_indexes:
        yield from _along(Job.objects.filter(ODD), "cron_expression")


def _along(jobs: QuerySet[Job], column: str) -> Iterator[list[Job]]:
    """In pages by an index of this column and the key."""

    def beyond(job: Job) -> Q:
        value = getattr(job, column)
        return Q((f"{column}__gt", value)) | Q((column, value), pk__gt=job.pk)

    return _pages(jobs.order_by(column, "pk"), beyond)


def _pages(jobs: QuerySet[Job], beyond: Callable[[Any], Q]) -> Iterator[list[Job]]:
    jobs = jobs.only(*_COLUMNS)
    page = list(jobs[:BATCH])
    while page:
        yield page
        page = list(jobs.filter(beyond(page[-1]))[:BATCH])
