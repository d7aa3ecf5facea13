"""PLAN: jobs that are due become execution rows, and `next_run_at` moves on.

One transaction per batch, fenced by the lease. What cannot happen, and why:

- A slot fires twice: the row's key is (job, slot), and no row means no fire.
- A slot vanishes: the row and the moved `next_run_at` are one transaction; a crash undoes both.
- An edit is overwritten: a job moves on only while it still has the slot and the version that were
  read; otherwise the batch is undone and left to the next tick.
- One job harms another: a schedule that cannot be read switches that job off, with the reason on it.

A slot that has its row already (the clock was set back) has fired: it is dropped. Slots older than
the grace become one `missed` row with their count. Statements are per batch, never per job.

A job may catch up with what came due while nobody could fire it. `latest` runs the last of those
slots where no younger one is due. `all` runs each of the last CATCH_UP_MOST, oldest first and no more
at a time than the overlap limit lets in flight: the rest waits in `next_run_at`, which then lies in
the past, so that such a job stays due from tick to tick.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from uuid import UUID

from django.db import DatabaseError, IntegrityError, OperationalError, transaction

from cronsched.core.db import is_answering, is_conflict, locked_skipping, retry_conflicts
from jobs import schedule
from jobs.choices import CatchUp, PausedReason, Status, TriggerType
from jobs.engine import slots
from jobs.engine.config import EngineConfig
from jobs.engine.lease import LeaseLost, Term, prove
from jobs.engine.messages import Reason
from jobs.engine.slots import Gap
from jobs.engine.tell import tell_changed, tell_finished
from jobs.models import Job, JobExecution

logger = logging.getLogger(__name__)

BATCH = 500
# Slots that a job with catch_up=all runs late; what is older is missed.
CATCH_UP_MOST = 100
PLAN_FIELDS = (
    "id", "name", "cron_expression", "timezone", "end_date", "is_active", "next_run_at", "planned_schedule",
    "schedule_version", "target_url", "github_owner", "github_repo", "github_workflow_name", "catch_up",
)  # fmt: skip
_DECIDING_FIELDS = (
    "next_run_at", "cron_expression", "timezone", "end_date", "catch_up", "planned_schedule"
)  # fmt: skip


class PlanConflict(Exception):
    """A job was edited between reading and moving on: the batch is undone, the next tick sees it anew."""


# What says nothing about the jobs of a batch.
PASSED_ON = (LeaseLost, PlanConflict)


@dataclass(kw_only=True, slots=True)
class Planned:
    """What one batch came to, in counts."""

    due: int = 0
    queued: int = 0
    missed: int = 0
    broken: int = 0


@dataclass(kw_only=True, slots=True)
class Decision:
    """What PLAN does with one due job. `next_run_at` is None where no further slot follows.

    Where it `waits_for_room`, a slot beyond the overlap limit is not missed but left for later.
    """

    job: Job
    fires: list[datetime] = field(default_factory=list)
    waits_for_room: bool = False
    gap: Gap | None = None
    next_run_at: datetime | None = None
    is_rescheduled: bool = False
    broken: str = ""


def plan_due(*, now: datetime, term: Term, config: EngineConfig, batch: int = BATCH) -> Iterator[Planned]:
    """Plan every job that is due at `now`, a batch at a time, so that sending may begin in between."""
    waiting: set[UUID] = set()
    while True:
        try:
            planned = plan_batch(now=now, term=term, config=config, size=batch, waiting=waiting)
        except PASSED_ON:
            raise
        except Exception as error:
            if batch == 1 or _says_nothing_of_jobs(error):
                raise
            # One row may be the cause: each job alone, so that it stops no other.
            logger.warning("plan: a batch failed, its jobs are planned one by one error=%r", error)
            planned = plan_one_by_one(now=now, term=term, config=config, limit=batch, waiting=waiting)
        if planned.due:
            yield planned
        if planned.due < batch:
            return


def plan_one_by_one(
    *, now: datetime, term: Term, config: EngineConfig, limit: int, waiting: set[UUID]
) -> Planned:
    """Plan up to `limit` due jobs, a transaction each; one that cannot be planned is switched off."""
    total = Planned()
    due = Job.objects.due(now).exclude(pk__in=waiting)
    for job_id in list(due.values_list("id", flat=True)[:limit]):
        try:
            planned = plan_batch(now=now, term=term, config=config, size=1, waiting=waiting, job_id=job_id)
        except PASSED_ON:
            raise
        except Exception as error:
            if _says_nothing_of_jobs(error):
                raise
            planned = _give_up_on(job_id, error, now=now, term=term)
            waiting.add(job_id)
        for name in Planned.__slots__:
            setattr(total, name, getattr(total, name) + getattr(planned, name))
    return total


def _says_nothing_of_jobs(error: Exception) -> bool:
    """The database is away or busy: the jobs of the batch have no part in it."""
    return isinstance(error, DatabaseError) and (is_conflict(error) or not is_answering())


def _give_up_on(job_id: UUID, error: Exception, *, now: datetime, term: Term) -> Planned:
    """Switch off a job that cannot be planned; only pass it over where the database may be to blame."""
    if isinstance(error, OperationalError):
        logger.warning("plan: job passed over job=%s error=%s", job_id, error)
        return Planned(due=1)
    logger.error("plan: job switched off job=%s", job_id, exc_info=error)
    switch_off(job_id, note=f"It could not be planned: {error}"[:900], now=now, term=term)
    return Planned(due=1, broken=1)


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

    The jobs of `waiting` are passed over; those that stay due for want of room are added to it.
    """
    waiting = set() if waiting is None else waiting
    with transaction.atomic():
        prove(term)
        due = Job.objects.due(now).only(*PLAN_FIELDS)
        if waiting:
            due = due.exclude(pk__in=waiting)
        if job_id is not None:
            due = due.filter(pk=job_id)
        jobs = list(locked_skipping(due)[:size])
        if not jobs:
            return Planned()
        decisions = _decide_all(jobs, now=now, config=config)
        rows = _rows_for(decisions, now=now, max_instances=config.max_instances)
        inserted = _insert(rows)
        _move_on(decisions, now=now)
        waiting |= {one.job.pk for one in decisions if one.next_run_at and one.next_run_at <= now}
        missed = [row for row in inserted if row.status == Status.MISSED]
        _note_missed(missed)
        tell_finished(missed, now=now)
    return Planned(
        due=len(jobs),
        queued=len(inserted) - len(missed),
        missed=len(missed),
        broken=sum(bool(decision.broken) for decision in decisions),
    )


# ---- what is to happen: no database from here to the next rule --------------------------------


def decide(job: Job, *, now: datetime, config: EngineConfig) -> Decision:
    """What is to happen to a due job: slots to fire, a gap to record, where it goes on."""
    slot = job.next_run_at
    assert slot is not None  # noqa: S101 - a due job has one
    if job.planned_schedule != slots.schedule_key(job.cron_expression, job.zone_name):
        # Changed behind the services' back: its slot belongs to a schedule that is no more.
        return Decision(job=job, next_run_at=_next(job, now), is_rescheduled=True)
    due = _Due(job, first=slot, now=now)
    if job.catch_up == CatchUp.ALL:
        return _decide_all_slots(due, config)
    threshold = now - timedelta(seconds=config.grace_s)
    fires = [slot] if slot >= threshold else []
    since = slot if fires else threshold - schedule.TICK
    if now - since >= timedelta(minutes=1) or not fires:
        fires += schedule.slots_between(due.expression, zone=due.zone, after=since, until=now)
    fires = [fire for fire in fires if slots.is_within(fire, job.end_date)]
    gap = due.gap_until(threshold - schedule.TICK)
    if gap is not None and not fires and job.catch_up == CatchUp.LATEST:
        fires, gap = [gap.last], due.gap_until(gap.last - schedule.TICK)
    return Decision(job=job, fires=fires, gap=gap, next_run_at=_next(job, now))


def _decide_all_slots(due: _Due, config: EngineConfig) -> Decision:
    """The oldest slots that may run, and `next_run_at` behind them, be it in the past."""
    first, whole = due.first, due.gap_until(due.end)
    gap = None
    if whole is not None and whole.count > CATCH_UP_MOST:
        first = schedule.last_slots(
            due.expression, zone=due.zone, first=first, until=due.end, count=CATCH_UP_MOST
        )[0]
        gap = due.gap_until(first - schedule.TICK)
    following = schedule.slots_between(due.expression, zone=due.zone, after=first, until=due.end)
    fires = list(islice(chain([first], following), config.max_instances)) if whole else []
    next_run_at = _next(due.job, fires[-1] if fires else due.now)
    return Decision(job=due.job, fires=fires, gap=gap, next_run_at=next_run_at, waits_for_room=True)


class _Due:
    """The slots of a due job from `first` up to now, as far as its end date lets them count."""

    def __init__(self, job: Job, *, first: datetime, now: datetime) -> None:
        self.job = job
        self.first = first
        self.now = now
        self.expression, self.zone = schedule.parse(job.cron_expression), schedule.load_zone(job.zone_name)
        self.end = slots.clip(now, job.end_date)

    def gap_until(self, moment: datetime) -> Gap | None:
        until = min(moment, self.end)
        return slots.gap_between(self.expression, zone=self.zone, first=self.first, until=until)


def _next(job: Job, now: datetime) -> datetime | None:
    return slots.next_slot(
        expression=job.cron_expression, zone_name=job.zone_name, end_date=job.end_date, after=now
    )


def _decide_all(jobs: list[Job], *, now: datetime, config: EngineConfig) -> list[Decision]:
    """One decision per job; those that share all that decides share the arithmetic."""
    known: dict[tuple[object, ...], Decision] = {}
    decisions = []
    for job in jobs:
        key = tuple(getattr(job, name) for name in _DECIDING_FIELDS)
        if key not in known:
            known[key] = _decide_safely(job, now=now, config=config)
        decisions.append(replace(known[key], job=job))
    return decisions


def _decide_safely(job: Job, *, now: datetime, config: EngineConfig) -> Decision:
    try:
        return decide(job, now=now, config=config)
    except (schedule.CronError, schedule.ZoneError) as error:
        return Decision(job=job, broken=str(error))


# ---- what is written --------------------------------------------------------------------------


def _rows_for(decisions: list[Decision], *, now: datetime, max_instances: int) -> list[JobExecution]:
    firing = [decision for decision in decisions if decision.fires or decision.gap]
    if not firing:
        return []
    taken = _slots_with_rows(firing, now)
    in_flight = _in_flight([decision.job.pk for decision in firing if decision.fires])
    rows: list[JobExecution] = []
    for decision in firing:
        had = taken.get(decision.job.pk, set())
        if decision.gap is not None:
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


def _slots_with_rows(decisions: list[Decision], now: datetime) -> dict[UUID, set[datetime]]:
    earliest = min(decision.job.next_run_at for decision in decisions if decision.job.next_run_at)
    pairs = JobExecution.objects.filter(
        job_id__in=[decision.job.pk for decision in decisions],
        scheduled_for__gte=earliest,
        scheduled_for__lte=now,
    ).values_list("job_id", "scheduled_for")
    taken: dict[UUID, set[datetime]] = defaultdict(set)
    for job_id, slot in pairs:
        taken[job_id].add(slot)
    return taken


def _in_flight(job_ids: list[UUID]) -> dict[UUID, list[UUID]]:
    running: dict[UUID, list[UUID]] = defaultdict(list)
    for job_id, execution_id in JobExecution.objects.in_flight_of(job_ids).values_list("job_id", "id"):
        running[job_id].append(execution_id)
    return running


def _fire_row(
    job: Job, slot: datetime, now: datetime, running: list[UUID], max_instances: int
) -> JobExecution:
    row = _new_row(job, slot, now)
    if len(running) >= max_instances:
        _mark_missed(row, Reason.OVERLAP, now)
        row.error_message = (
            f"Not sent: {len(running)} runs of this job are still in flight (the limit is {max_instances}); "
            f"run {running[0]} is in the way."
        )
    return row


def _gap_row(decision: Decision, had: set[datetime], now: datetime) -> list[JobExecution]:
    gap = decision.gap
    assert gap is not None  # noqa: S101 - for the type checker
    first, count = gap.first, gap.count
    if had:
        # Some slots of the gap have fired before (the clock was set back): they are no part of it.
        job = decision.job
        expression, zone = schedule.parse(job.cron_expression), schedule.load_zone(job.zone_name)
        count -= sum(gap.first <= slot <= gap.last for slot in had)
        slots_left = schedule.slots_between(expression, zone=zone, after=first, until=gap.last)
        first = next((slot for slot in chain([first], slots_left) if slot not in had), first)
    if count <= 0:
        return []
    row = _new_row(decision.job, first, now)
    _mark_missed(row, Reason.MISFIRE, now)
    row.missed_count = count
    row.missed_last_at = gap.last
    row.error_message = _gap_message(decision.job, first, gap.last, count)
    return [row]


def _gap_message(job: Job, first: datetime, last: datetime, count: int) -> str:
    zone = schedule.load_zone(job.zone_name)
    begin, end = (f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" for moment in (first, last))
    if count == 1:
        return (
            f"Not sent: the slot of {begin} ({zone.key}) came due while no scheduler could fire it in time."
        )
    return (
        f"Not sent: {count} slots from {begin} to {end} ({zone.key}) came due while no scheduler could fire "
        "them in time. This row stands for all of them."
    )


def _new_row(job: Job, slot: datetime, now: datetime) -> JobExecution:
    return JobExecution(
        job=job,
        status=Status.QUEUED,
        trigger_type=TriggerType.SCHEDULED,
        execution_type=job.execution_type,
        target=job.target,
        scheduled_for=slot,
        started_at=now,
        available_at=now,
    )


def _mark_missed(row: JobExecution, reason: Reason, now: datetime) -> None:
    row.status = Status.MISSED
    row.reason = reason
    row.missed_count = 1
    row.missed_last_at = row.scheduled_for
    row.completed_at = now


def _insert(rows: list[JobExecution]) -> list[JobExecution]:
    """Insert the rows; where one conflicts, each alone, and that one is dropped. Those inserted."""
    if not rows:
        return []
    try:
        with transaction.atomic():
            JobExecution.objects.bulk_create(rows)
        return rows
    except IntegrityError:
        logger.warning("plan: rows conflict, inserting one by one count=%d", len(rows))
    return [row for row in rows if _insert_one(row)]


def _insert_one(row: JobExecution) -> bool:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        # The slot has its row, or the job is gone: either way there is nothing to fire.
        logger.info("plan: row dropped job=%s slot=%s error=%s", row.job_id, row.scheduled_for, error)
        return False
    return True


def _move_on(decisions: list[Decision], *, now: datetime) -> None:
    groups: dict[tuple[datetime | None, datetime | None, int], list[UUID]] = defaultdict(list)
    for decision in decisions:
        job = decision.job
        if decision.broken:
            _pause_broken(job, decision.broken, now=now)
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


def _pause_broken(job: Job, note: str, *, now: datetime) -> None:
    logger.warning("job switched off job=%s reason=%s", job.pk, note)
    Job.objects.filter(pk=job.pk).update(
        is_active=False,
        next_run_at=None,
        paused_reason=PausedReason.BROKEN,
        paused_note=note,
        updated_at=now,
        schedule_version=job.schedule_version + 1,
    )
    job.is_active, job.paused_note = False, note
    tell_changed(job, "broken", now=now)


def switch_off(job_id: UUID, *, note: str, now: datetime, term: Term) -> None:
    """Pause a job that cannot be planned, in a transaction of its own."""
    with transaction.atomic():
        prove(term)
        # No column more than is needed: one of the others may be what cannot be read.
        job = Job.objects.only("name", "schedule_version").filter(pk=job_id).first()
        if job is not None:
            _pause_broken(job, note, now=now)


def _note_missed(missed: list[JobExecution]) -> None:
    if missed:
        Job.objects.filter(pk__in={row.job_id for row in missed}).update(last_status=Status.MISSED)
