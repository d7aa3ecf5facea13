"""What PLAN is to do with each due job. Pure: no database, no clock.

A job may catch up with what came due while nobody could fire it. `latest` runs the last of those
slots where no younger one is due. `all` runs each of the last CATCH_UP_MOST, oldest first and no more
at a time than the overlap limit lets in flight: the rest waits in `next_run_at`, which then lies in
the past, so that such a job stays due from tick to tick.

A job is blamed only for what is proven to be its own: a cron expression is. An unknown time zone, or a
value that cannot be computed with, is where it is the only one of its kind; where several fail alike,
the cause is more likely a machine whose time zones are being replaced, or a fault of ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import TypeVar

from jobs import schedule
from jobs.choices import CatchUp
from jobs.engine import slots
from jobs.engine.config import EngineConfig
from jobs.engine.slots import Gap
from jobs.models import Job

T = TypeVar("T")

# Slots that a job with catch_up=all runs late; what is older is missed.
CATCH_UP_MOST = 100
# What a row that cannot be read or computed with raises. CronError and ZoneError are ValueErrors.
ROW_FAULTS = (ValueError, OverflowError)
UNREADABLE_NOTE = (
    "It could not be planned: a stored value cannot be read. The scheduler's log has the details."
)
_DECIDING_FIELDS = (
    "next_run_at", "cron_expression", "timezone", "end_date", "catch_up", "planned_schedule"
)  # fmt: skip


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
    # Why nothing could be decided, and what the job's owner reads where the job itself is to blame.
    fault: Exception | None = None
    broken: str = ""

    def stays_due(self, now: datetime) -> bool:
        """Whether the job is still due afterwards: for want of room, or because it was passed over."""
        if self.fault:
            return not self.broken
        return self.next_run_at is not None and self.next_run_at <= now


def decide(job: Job, *, now: datetime, config: EngineConfig) -> Decision:
    """What is to happen to a due job: slots to fire, a gap to record, where it goes on."""
    slot = job.next_run_at
    if slot is None:
        raise ValueError("next_run_at cannot be read")
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


def decide_all(jobs: list[Job], *, now: datetime, config: EngineConfig) -> list[Decision]:
    """One decision per job; those that share all that decides share the arithmetic."""
    known: dict[tuple[object, ...], Decision] = {}
    decisions = []
    for job in jobs:
        key = tuple(getattr(job, name) for name in _DECIDING_FIELDS)
        if key not in known:
            known[key] = _decide_safely(job, now=now, config=config)
        decisions.append(replace(known[key], job=job))
    notes = blamed({one.job.pk: one.fault for one in decisions if one.fault})
    for decision in decisions:
        decision.broken = notes.get(decision.job.pk, "")
    return decisions


def _decide_safely(job: Job, *, now: datetime, config: EngineConfig) -> Decision:
    try:
        return decide(job, now=now, config=config)
    except ROW_FAULTS as error:
        return Decision(job=job, fault=error)


def blamed(faults: Mapping[T, Exception]) -> dict[T, str]:
    """Which of these jobs are themselves to blame, each with what its owner reads."""
    alike: dict[type[Exception], set[object]] = defaultdict(set)
    for job, error in faults.items():
        # Jobs that name the same unknown zone fail of one cause.
        alike[type(error)].add(str(error) if isinstance(error, schedule.ZoneError) else job)
    return {
        job: str(error) if isinstance(error, (schedule.CronError, schedule.ZoneError)) else UNREADABLE_NOTE
        for job, error in faults.items()
        if isinstance(error, schedule.CronError) or len(alike[type(error)]) == 1
    }
