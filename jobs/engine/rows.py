"""Rows of the history that stand for a slot, and how they come in: each slot once."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from cronsched.core.db import insert_each, is_duplicate
from jobs import schedule
from jobs.choices import Status, TriggerType
from jobs.engine.messages import Reason
from jobs.engine.slots import Gap
from jobs.engine.tell import tell_finished
from jobs.models import Job, JobExecution

logger = logging.getLogger(__name__)

TOO_LATE_TEXT = "Not sent: this run could not leave in time, and now it is too late."


def new_row(job: Job, slot: datetime, *, now: datetime) -> JobExecution:
    """The slot as a queued run, without its job."""
    return JobExecution.fresh(
        job_id=job.pk,
        status=Status.QUEUED,
        trigger_type=TriggerType.SCHEDULED,
        execution_type=job.execution_type,
        target=job.target,
        scheduled_for=slot,
        started_at=now,
        available_at=now,
    )


def missed_row(job: Job, gap: Gap, *, reason: Reason, text: str, now: datetime) -> JobExecution:
    """One row for all slots of the gap, which may be a single one."""
    row = new_row(job, gap.first, now=now)
    row.job = job
    row.status = Status.MISSED
    row.reason = reason
    row.error_message = text
    row.missed_count = gap.count
    row.missed_last_at = gap.last
    row.completed_at = now
    return row


def slots_with_rows(spans: Mapping[UUID, tuple[datetime, datetime]]) -> dict[UUID, set[datetime]]:
    """Which slots have rows already, of each job from the first to the last moment of its span.

    Jobs with spans of like length share a statement: one with a long past does not load everybody's.
    """
    alike: dict[int, list[UUID]] = defaultdict(list)
    for job_id, (first, last) in spans.items():
        alike[((last - first) // timedelta(minutes=1)).bit_length()].append(job_id)
    taken: dict[UUID, set[datetime]] = defaultdict(set)
    for job_ids in alike.values():
        rows = JobExecution.objects.filter(
            job_id__in=job_ids,
            scheduled_for__gte=min(spans[job_id][0] for job_id in job_ids),
            scheduled_for__lte=max(spans[job_id][1] for job_id in job_ids),
        )
        for job_id, slot in rows.values_list("job_id", "scheduled_for"):
            taken[job_id].add(slot)
    return taken


def without(gap: Gap, had: Collection[datetime], *, expression: str, zone_name: str) -> Gap | None:
    """The gap without the slots that have rows of their own: they fired before the clock was set back."""
    inside = {slot for slot in had if gap.first <= slot <= gap.last}
    count = gap.count - len(inside)
    if not inside or count <= 0:
        return gap if count > 0 else None
    following = schedule.slots_between(
        schedule.parse(expression), zone=schedule.load_zone(zone_name), after=gap.first, until=gap.last
    )
    first = next((slot for slot in chain([gap.first], following) if slot not in inside), gap.first)
    return Gap(first=first, last=gap.last, count=count)


def gap_text(job: Job, gap: Gap) -> str:
    """What the row of a gap says to people."""
    zone = schedule.load_zone(job.zone_name)
    begin, end = (f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" for moment in (gap.first, gap.last))
    if gap.count == 1:
        return (
            f"Not sent: the slot of {begin} ({zone.key}) came due while no scheduler could fire it in time."
        )
    return (
        f"Not sent: {gap.count} slots from {begin} to {end} ({zone.key}) came due while no scheduler could "
        "fire them in time. This row stands for all of them."
    )


def insert_rows(rows: Sequence[JobExecution]) -> list[JobExecution]:
    """Insert the rows; where one conflicts, each alone, and that one is dropped. Those inserted."""
    if not rows:
        return []
    try:
        with transaction.atomic():
            insert_each(rows)
        return list(rows)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        logger.warning("rows conflict, inserting one by one count=%d", len(rows))
    return [row for row in rows if _insert_one(row)]


def _insert_one(row: JobExecution) -> bool:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        logger.info("row dropped, its slot has one job=%s slot=%s", row.job_id, row.scheduled_for)
        return False
    return True


def end_as_missed(rows: Sequence[JobExecution], *, reason: Reason, text: str, now: datetime) -> None:
    """Let rows that were queued, each with its job, end as missed; note it on the jobs, and tell."""
    values: dict[str, Any] = {
        "status": Status.MISSED,
        "reason": reason.value,
        "error_message": text,
        "completed_at": now,
        "deadline_at": None,
        "missed_count": 1,
    }
    JobExecution.objects.filter(pk__in=[row.pk for row in rows]).update(
        **values, missed_last_at=F("scheduled_for")
    )
    for row in rows:
        for name, value in values.items():
            setattr(row, name, value)
        row.missed_last_at = row.scheduled_for
    note_missed(rows, now=now)


def note_missed(missed: Sequence[JobExecution], *, now: datetime) -> None:
    """Note missed runs on their jobs, and tell of them."""
    if missed:
        Job.objects.filter(pk__in={row.job_id for row in missed}).update(last_status=Status.MISSED)
    tell_finished(missed, now=now)
