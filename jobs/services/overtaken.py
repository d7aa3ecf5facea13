"""Slots that had come due, but were not planned yet, when their job's schedule was edited.

An edit moves the next run from now on. What was due until then (a moment ago, or for hours where no
scheduler ran) belonged to the earlier schedule: it is recorded as missed, so that none vanishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cronsched.core.db import insert_each
from jobs import schedule
from jobs.choices import Status
from jobs.engine.messages import Reason
from jobs.engine.rows import missed_row, slots_with_rows, without
from jobs.engine.slots import Gap, clip, gap_between, schedule_key
from jobs.engine.tell import tell_finished
from jobs.models import Job, JobExecution


@dataclass(frozen=True, kw_only=True, slots=True)
class Overtaken:
    """What came due under a schedule that is being replaced; `run` is of the job as it was."""

    run: JobExecution
    gap: Gap
    expression: str
    zone_name: str


def overtaken_run(job: Job, *, now: datetime) -> Overtaken | None:
    """What came due under the schedule that `job` still has; None where nothing did."""
    first = job.next_run_at
    if not job.is_active or first is None or first > now:
        return None
    if job.planned_schedule != schedule_key(job.cron_expression, job.zone_name):
        # Changed behind the services' back: the slot belongs to a schedule that is no more.
        return None
    gap = _gap(job, first, now)
    if gap is None:
        return None
    run = missed_row(job, gap, reason=Reason.MISFIRE, text=_message(gap.count), now=now)
    return Overtaken(run=run, gap=gap, expression=job.cron_expression, zone_name=job.zone_name)


def _gap(job: Job, first: datetime, now: datetime) -> Gap | None:
    until = clip(now, job.end_date)
    try:
        expression, zone = schedule.parse(job.cron_expression), schedule.load_zone(job.zone_name)
    except (schedule.CronError, schedule.ZoneError):
        # What followed this slot can be told by nobody.
        return Gap(first=first, last=first, count=1)
    return gap_between(expression, zone=zone, first=first, until=until)


def record_overtaken(
    overtaken: Sequence[Overtaken], *, now: datetime, message: Callable[[int], str] | None = None
) -> list[Job]:
    """Insert the rows and tell of them, in the transaction of the edits. A slot that has its row keeps it.

    `message` says why, of a count of slots. The jobs of the rows that were inserted, their `last_status`
    set but not stored: the caller writes these jobs anyway.
    """
    if not overtaken:
        return []
    had = slots_with_rows({one.run.job_id: (one.gap.first, one.gap.last) for one in overtaken})
    new = [one.run for one in overtaken if _fit(one, had[one.run.job_id], message or _message)]
    for run in new:
        run.job.last_status = Status.MISSED
    insert_each(new)
    tell_finished(new, now=now)
    return [run.job for run in new]


def _fit(one: Overtaken, had: set[datetime], message: Callable[[int], str]) -> bool:
    """Let the run stand for the slots without rows of their own. False where there are none."""
    gap = without(one.gap, had, expression=one.expression, zone_name=one.zone_name)
    if gap is None:
        return False
    one.run.scheduled_for, one.run.missed_count = gap.first, gap.count
    one.run.error_message = message(gap.count)
    return True


def _message(count: int) -> str:
    if count == 1:
        return "Not sent: the job was edited or paused after this slot had come due, before it could start."
    return (
        f"Not sent: the job was edited or paused after {count} slots had come due, before they could start. "
        "This row stands for all of them."
    )
