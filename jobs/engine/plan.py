"""PLAN: jobs that are due become execution rows, and `next_run_at` moves on.

One transaction per batch, fenced by the lease; what is to happen to each job is said by `decide`. What
cannot happen, and why:

- A slot fires twice: the row's key is (job, slot), and no row means no fire.
- A slot vanishes: the row and the moved `next_run_at` are one transaction; a crash undoes both.
- An edit is overwritten: a job moves on only while it still has the slot and the version that were
  read; otherwise it is left to the next tick.
- One job harms another: a batch that fails is done again job by job. A job that is itself to blame is
  switched off, with the reason on it; any other is passed over, and is still due at the next tick.

A slot that has its row already (the clock was set back) has fired: it is dropped. Slots older than
the grace become one `missed` row with their count. Statements are per batch, never per job.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, transaction

from cronsched.core.db import (
    is_answering,
    is_conflict,
    is_cut_short,
    locked,
    locked_skipping,
    retry_conflicts,
)
from jobs.choices import Status
from jobs.engine import metrics, slots
from jobs.engine.backoff import Backoff
from jobs.engine.broken import switch_off
from jobs.engine.config import EngineConfig
from jobs.engine.decide import ROW_FAULTS, Decision, blamed, decide, decide_all
from jobs.engine.lease import LeaseLost, Term, prove
from jobs.engine.messages import Reason
from jobs.engine.rows import gap_text, insert_rows, missed_row, new_row, note_missed, slots_with_rows, without
from jobs.engine.slots import Gap
from jobs.models import Job, JobExecution

logger = logging.getLogger(__name__)

BATCH = 500
# The first batch of a tick is small: where many are due, the first request leaves the sooner.
FIRST_BATCH = 50
# What a batch is divided by when the server has ended its transaction.
SHORTER = 8
PLAN_FIELDS = (
    "id", "name", "cron_expression", "timezone", "end_date", "is_active", "next_run_at", "planned_schedule",
    "schedule_version", "target_url", "github_owner", "github_repo", "github_workflow_name", "catch_up",
)  # fmt: skip


class PlanConflict(Exception):
    """A job no longer is as it was read: the batch is undone, and done again job by job."""


class RowFault(Exception):
    """A job that was taken alone cannot be read or computed with; `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause


@dataclass(kw_only=True, slots=True)
class Planned:
    """What one batch came to, in counts: `due` jobs, whose `slots` came due since they were planned."""

    due: int = 0
    slots: int = 0
    queued: int = 0
    missed: int = 0
    broken: int = 0

    def __iadd__(self, other: Planned) -> Planned:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def plan_due(
    *,
    now: datetime,
    term: Term,
    config: EngineConfig,
    batch: int = BATCH,
    backoff: Backoff | None = None,
) -> Iterator[Planned]:
    """Plan every job that is due at `now`, a batch at a time, so that sending may begin in between.

    `backoff` is kept from tick to tick: what is passed over is left alone for a while.
    """
    backoff = Backoff() if backoff is None else backoff
    waiting = backoff.held(now)
    # So it is in most seconds: one look, and no transaction, which would keep SQLite's other writers out.
    if not Job.objects.due(now).exclude(pk__in=waiting).exists():
        return
    size = min(FIRST_BATCH, batch)
    while True:
        try:
            with metrics.DATABASE.labels("plan").time():
                planned = plan_batch(now=now, term=term, config=config, size=size, waiting=waiting)
        except LeaseLost:
            raise
        except Exception as error:
            if is_cut_short(error) and size > 1:
                size = batch = max(1, size // SHORTER)
                logger.warning("plan: a batch was too long for the server, shorter ones follow size=%d", size)
                continue
            if _says_nothing_of_jobs(error):
                raise
            # One row may be the cause: each job alone, so that it stops no other.
            logger.warning("plan: a batch failed, its jobs are planned one by one error=%r", error)
            planned = plan_one_by_one(
                now=now, term=term, config=config, limit=size, waiting=waiting, backoff=backoff
            )
        if planned.due:
            yield planned
        if planned.due < size:
            return
        size = batch


def plan_one_by_one(
    *,
    now: datetime,
    term: Term,
    config: EngineConfig,
    limit: int,
    waiting: set[UUID],
    backoff: Backoff | None = None,
) -> Planned:
    """Plan up to `limit` due jobs, a transaction each. Those that fail are added to `waiting`."""
    total = Planned()
    at_fault: dict[UUID, Exception] = {}
    passed_over: list[tuple[UUID, Exception]] = []
    due = Job.objects.due(now).exclude(pk__in=waiting)
    for job_id in list(due.values_list("id", flat=True)[:limit]):
        try:
            total += plan_batch(now=now, term=term, config=config, size=1, waiting=waiting, job_id=job_id)
            continue
        except LeaseLost:
            raise
        except PlanConflict:
            _store_anew(job_id, term=term)
        except RowFault as error:
            at_fault[job_id] = error.cause
        except Exception as error:
            if _says_nothing_of_jobs(error):
                raise
            passed_over.append((job_id, error))
        waiting.add(job_id)
        total.due += 1
    notes = blamed(at_fault)
    total.broken += _switch_off_each(notes, at_fault, now=now, term=term)
    passed_over += [(job_id, error) for job_id, error in at_fault.items() if job_id not in notes]
    _say_passed_over(passed_over)
    if backoff is not None:
        backoff.refuse((job_id for job_id, _ in passed_over), now=now)
    return total


def _switch_off_each(
    notes: dict[UUID, str], faults: dict[UUID, Exception], *, now: datetime, term: Term
) -> int:
    for job_id, note in notes.items():
        logger.error("plan: job switched off job=%s", job_id, exc_info=faults[job_id])
        with transaction.atomic():
            prove(term)
            # No column more than is needed: one of the others may be what cannot be read.
            job = Job.objects.only("name", "schedule_version").filter(pk=job_id).first()
            if job is not None:
                switch_off(job, note=note, now=now)
    return len(notes)


def _say_passed_over(faults: list[tuple[UUID, Exception]]) -> None:
    if faults:
        job_id, error = faults[0]
        logger.error("plan: jobs passed over count=%d first=%s", len(faults), job_id, exc_info=error)


def _says_nothing_of_jobs(error: Exception) -> bool:
    """The database is away or busy: the jobs of the batch have no part in it."""
    return isinstance(error, DatabaseError) and (is_conflict(error) or not is_answering())


def _store_anew(job_id: UUID, *, term: Term) -> None:
    """Write a next run as it was read: one written by hand, in another spelling, compares with nothing."""
    logger.warning("plan: job passed over, its next run is stored anew job=%s", job_id)
    with transaction.atomic():
        prove(term)
        job = locked(Job.objects.only("next_run_at").filter(pk=job_id)).first()
        if job is not None:
            Job.objects.filter(pk=job_id).update(next_run_at=job.next_run_at)


@retry_conflicts
def plan_batch(
    *,
    now: datetime,
    term: Term,
    config: EngineConfig,
    size: int = BATCH,
    waiting: set[UUID] | None = None,
    job_id: UUID | None = None,
) -> Planned:
    """Plan one batch in one transaction. Raises LeaseLost, and PlanConflict when a job was edited.

    The jobs of `waiting` are passed over; those that stay due are added to it.
    """
    waiting = set() if waiting is None else waiting
    with transaction.atomic():
        prove(term)
        jobs, decisions = _decide_due(now=now, config=config, size=size, waiting=waiting, job_id=job_id)
        if not jobs:
            return Planned()
        inserted = insert_rows(_rows_for(decisions, now=now, max_instances=config.max_instances))
        _move_on(decisions, now=now)
        missed = [row for row in inserted if row.status == Status.MISSED]
        note_missed(missed, now=now)
    waiting |= {one.job.pk for one in decisions if one.stays_due(now)}
    _say_passed_over([(one.job.pk, one.fault) for one in decisions if one.fault and not one.broken])
    return Planned(
        due=len(jobs),
        slots=sum(row.missed_count or 1 for row in inserted),
        queued=len(inserted) - len(missed),
        missed=len(missed),
        broken=sum(bool(decision.broken) for decision in decisions),
    )


def _decide_due(
    *, now: datetime, config: EngineConfig, size: int, waiting: set[UUID], job_id: UUID | None
) -> tuple[list[Job], list[Decision]]:
    """The due jobs, locked, and what is to happen to them. A job asked for alone may raise RowFault."""
    due = Job.objects.due(now).only(*PLAN_FIELDS)
    if waiting:
        due = due.exclude(pk__in=waiting)
    if job_id is None:
        jobs = list(locked_skipping(due)[:size])
        return jobs, decide_all(jobs, now=now, config=config)
    try:
        jobs = list(locked_skipping(due.filter(pk=job_id)))
        return jobs, [decide(job, now=now, config=config) for job in jobs]
    except ROW_FAULTS as error:
        raise RowFault(error) from error


def _rows_for(decisions: list[Decision], *, now: datetime, max_instances: int) -> list[JobExecution]:
    firing = [decision for decision in decisions if decision.fires or decision.gap]
    if not firing:
        return []
    taken = slots_with_rows({one.job.pk: (one.job.next_run_at, now) for one in firing if one.job.next_run_at})
    in_flight = _in_flight([decision.job.pk for decision in firing if decision.fires])
    rows: list[JobExecution] = []
    for decision in firing:
        had = taken.get(decision.job.pk, set())
        rows.extend(_gap_row(decision, had, now))
        running = in_flight.get(decision.job.pk, [])
        for slot in decision.fires:
            if slot in had:
                logger.info("plan: slot has its row already job=%s slot=%s", decision.job.pk, slot)
                continue
            if decision.waits_for_room and len(running) >= max_instances:
                decision.next_run_at = slot
                break
            row = _fire_row(decision.job, slot, now, running, max_instances)
            rows.append(row)
            if row.status == Status.QUEUED:
                running.append(row.pk)
    return rows


def _gap_row(decision: Decision, had: set[datetime], now: datetime) -> list[JobExecution]:
    job = decision.job
    gap = decision.gap and without(decision.gap, had, expression=job.cron_expression, zone_name=job.zone_name)
    if gap is None:
        return []
    return [missed_row(job, gap, reason=Reason.MISFIRE, text=gap_text(job, gap), now=now)]


def _in_flight(job_ids: list[UUID]) -> dict[UUID, list[UUID]]:
    running: dict[UUID, list[UUID]] = defaultdict(list)
    for job_id, execution_id in JobExecution.objects.in_flight_of(job_ids).values_list("job_id", "id"):
        running[job_id].append(execution_id)
    return running


def _fire_row(
    job: Job, slot: datetime, now: datetime, running: list[UUID], max_instances: int
) -> JobExecution:
    if len(running) < max_instances:
        return new_row(job, slot, now=now)
    text = (
        f"Not sent: {len(running)} runs of this job are still in flight (the limit is {max_instances}); "
        f"run {running[0]} is in the way."
    )
    one = Gap(first=slot, last=slot, count=1)
    return missed_row(job, one, reason=Reason.OVERLAP, text=text, now=now)


def _move_on(decisions: list[Decision], *, now: datetime) -> None:
    groups: dict[tuple[datetime | None, datetime | None, int], list[UUID]] = defaultdict(list)
    for decision in decisions:
        job = decision.job
        if decision.broken:
            switch_off(job, note=decision.broken, now=now)
        elif decision.fault:
            continue
        elif decision.is_rescheduled:
            _reschedule(decision)
        else:
            groups[job.next_run_at, decision.next_run_at, job.schedule_version].append(job.pk)
    for (slot, next_run_at, version), ids in groups.items():
        unchanged = Job.objects.filter(pk__in=ids, next_run_at=slot, schedule_version=version)
        if unchanged.update(next_run_at=next_run_at) != len(ids):
            raise PlanConflict(f"{len(ids)} jobs at {slot}: some were edited meanwhile")


def _reschedule(decision: Decision) -> None:
    job = decision.job
    Job.objects.filter(pk=job.pk, schedule_version=job.schedule_version).update(
        next_run_at=decision.next_run_at,
        planned_schedule=slots.schedule_key(job.cron_expression, job.zone_name),
    )
