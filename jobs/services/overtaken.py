"""Slots that had come due, but were not planned yet, when their job's schedule was edited.

An edit moves the next run from now on. What was due until then (a moment ago, or for hours where no
scheduler ran) belonged to the earlier schedule: it is recorded as missed, so that none vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from cronsched.core.db import insert_each
from jobs import schedule
from jobs.choices import Status, TriggerType
from jobs.engine.messages import Reason
from jobs.engine.slots import clip, gap_between, schedule_key
from jobs.engine.tell import tell_finished
from jobs.models import Job, JobExecution


def overtaken_run(job: Job, *, now: datetime) -> JobExecution | None:
    """The row for what came due under the schedule that `job` still has; None where nothing did."""
    first = job.next_run_at
    if not job.is_active or first is None or first > now:
        return None
    if job.planned_schedule != schedule_key(job.cron_expression, job.zone_name):
        # Changed behind the services' back: the slot belongs to a schedule that is no more.
        return None
    until = clip(now, job.end_date)
    try:
        expression, zone = schedule.parse(job.cron_expression), schedule.load_zone(job.zone_name)
    except (schedule.CronError, schedule.ZoneError):
        return None
    gap = gap_between(expression, zone=zone, first=first, until=until)
    if gap is None:
        return None
    return JobExecution(
        job=job,
        status=Status.MISSED,
        trigger_type=TriggerType.SCHEDULED,
        execution_type=job.execution_type,
        target=job.target,
        scheduled_for=first,
        started_at=now,
        available_at=now,
        completed_at=now,
        reason=Reason.MISFIRE,
        error_message=_message(gap.count),
        missed_count=gap.count,
        missed_last_at=gap.last,
    )


def record_overtaken(runs: Sequence[JobExecution], *, now: datetime) -> list[Job]:
    """Insert the rows and tell of them, in the transaction of the edits. A slot that has its row keeps it.

    The jobs of the rows that were inserted, their `last_status` set but not stored: the caller
    writes these jobs anyway.
    """
    if not runs:
        return []
    had = _slots_with_rows(runs)
    new = [run for run in runs if (run.job_id, run.scheduled_for) not in had]
    for run in new:
        run.job.last_status = Status.MISSED
    insert_each(new)
    tell_finished(new, now=now)
    return [run.job for run in new]


def _slots_with_rows(runs: Sequence[JobExecution]) -> set[tuple[UUID, datetime]]:
    rows = JobExecution.objects.filter(
        job_id__in=[run.job_id for run in runs],
        scheduled_for__in={run.scheduled_for for run in runs},
    )
    return set(rows.values_list("job_id", "scheduled_for"))


def _message(count: int) -> str:
    if count == 1:
        return "Not sent: the job was edited or paused after this slot had come due, before it could start."
    return (
        f"Not sent: the job was edited or paused after {count} slots had come due, before they could start. "
        "This row stands for all of them."
    )
