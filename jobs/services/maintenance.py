"""Upkeep of the schedule: reconciliation, resync, and jobs that have outlived their purpose."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Case, CharField, F, Q, QuerySet, Value, When
from django.db.models.functions import Concat

from cronsched.core.clock import scheduler_date
from cronsched.core.db import locked, retry_conflicts, update_each
from jobs.choices import PausedReason, Status
from jobs.engine import retries, slots
from jobs.engine.broken import switch_off
from jobs.engine.decide import ROW_FAULTS, blamed
from jobs.engine.tell import tell_batch_changed
from jobs.engine.transports.base import MAX_RETRY_AFTER_S
from jobs.models import Job, JobExecution
from jobs.services.overtaken import overtaken_run, record_overtaken
from jobs.signals import JobChange

logger = logging.getLogger(__name__)

BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ResyncResult:
    """`scheduled`: active jobs with a next run; `paused`: expired or unreadable ones switched off;
    `removed`: next runs cleared from inactive jobs."""

    scheduled: int
    paused: int
    removed: int


def resync(*, now: datetime) -> ResyncResult:
    """Recompute the next run of every active job, from any process. A slot that is due stays."""
    paused = expire_jobs(now=now)
    removed = _clear_inactive()
    _free_queue(now)
    paused += _recompute(Job.objects.active(), now=now)
    return ResyncResult(scheduled=Job.objects.scheduled().count(), paused=paused, removed=removed)


def reconcile(*, now: datetime) -> ResyncResult:
    """As `resync`, for the jobs changed behind the services' back only: those are found in SQL."""
    paused = expire_jobs(now=now)
    removed = _clear_inactive()
    paused += _recompute(_drifted(), now=now)
    return ResyncResult(scheduled=Job.objects.scheduled().count(), paused=paused, removed=removed)


def pull_back(*, now: datetime) -> int:
    """Set right the next runs that lie later than the schedule says, which no comparison in SQL finds.

    A clock that was set back left them there, or a hand. One that lies earlier comes due, and is then
    right by itself. The count of jobs switched off as unreadable.
    """
    _free_queue(now)
    return _recompute(Job.objects.scheduled().filter(next_run_at__gt=now), now=now, only_back=True)


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
    with transaction.atomic():
        jobs = list(locked(Job.objects.expired(today).order_by("pk"))[:BATCH])
        _account_for_due(jobs, now)
        by_day: dict[date | None, list[Job]] = defaultdict(list)
        for job in jobs:
            by_day[job.end_date].append(job)
        for end_date, group in by_day.items():
            _switch_off(group, PausedReason.EXPIRED, f"Its end date, {end_date}, has gone by.", now)
        ended = [JobChange(job=job, action="expired", changes={}) for job in jobs]
        tell_batch_changed(ended, now=now, by=None, via="scheduler")
    return len(jobs)


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


def _drifted() -> QuerySet[Job]:
    """Active jobs whose expression or zone is no longer what their next run was computed from, or
    that have none: switched on behind our back, or on their last day (those are few)."""
    zone = Case(When(timezone="", then=Value(settings.SCHEDULER_TIMEZONE)), default=F("timezone"))
    key = Concat(F("cron_expression"), Value("|"), zone, output_field=CharField())
    changed = ~Q(planned_schedule=F("present_schedule")) | Q(next_run_at__isnull=True)
    drifted: QuerySet[Job] = Job.objects.active().annotate(present_schedule=key).filter(changed)
    return drifted


def _recompute(jobs: QuerySet[Job], *, now: datetime, only_back: bool = False) -> int:
    """Set the next run of these jobs from `now` on. The count of jobs switched off as unreadable.

    A job that is due is PLAN's: its slot stays, unless its schedule was changed meanwhile.
    """
    faults: dict[Job, Exception] = {}
    fields = (
        "id",
        "name",
        "cron_expression",
        "timezone",
        "end_date",
        "next_run_at",
        "planned_schedule",
        "schedule_version",
    )
    for page in _pages(jobs.only(*fields)):
        rows = []
        for job in page:
            key = slots.schedule_key(job.cron_expression, job.zone_name)
            try:
                next_run_at = _next_of(job, key, now)
            except ROW_FAULTS as error:
                faults[job] = error
                continue
            if only_back and not _is_later(job.next_run_at, next_run_at):
                continue
            if (next_run_at, key) != (job.next_run_at, job.planned_schedule):
                rows.append((next_run_at, key, job.pk, job.schedule_version))
        # A job that was edited meanwhile has another version, and its own right next run.
        update_each(Job, ("next_run_at", "planned_schedule"), ("id", "schedule_version"), rows)
    return _switch_off_blamed(faults, now=now)


def _is_later(planned: datetime | None, right: datetime | None) -> bool:
    return planned is not None and right is not None and planned > right


def _next_of(job: Job, key: str, now: datetime) -> datetime | None:
    is_due = job.next_run_at is not None and job.next_run_at <= now
    if is_due and key == job.planned_schedule:
        return job.next_run_at
    return slots.next_slot(
        expression=job.cron_expression, zone_name=job.zone_name, end_date=job.end_date, after=now
    )


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


def _pages(jobs: QuerySet[Job]) -> Iterator[list[Job]]:
    """The rows in pages by key: no long transaction, no offset that grows."""
    page = list(jobs.order_by("pk")[:BATCH])
    while page:
        yield page
        page = list(jobs.filter(pk__gt=page[-1].pk).order_by("pk")[:BATCH])
