"""Slots that had come due, but were not planned yet, when their job's schedule was edited.

An edit moves the next run from now on. What was due until then (a moment ago, or for hours where no
scheduler ran) belonged to the earlier schedule: it is recorded as missed, so that none vanishes.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from django.db.models import Q

from cronsched.core.clock import scheduler_zone
from jobs import schedule
from jobs.choices import Status, TriggerType
from jobs.engine.messages import Reason
from jobs.engine.slots import schedule_key
from jobs.engine.tell import tell_finished
from jobs.models import Job, JobExecution

_TICK = timedelta.resolution


def overtaken_run(job: Job, *, now: datetime) -> JobExecution | None:
    """The row for what came due under the schedule that `job` still has; None where nothing did."""
    first = job.next_run_at
    if not job.is_active or first is None or first > now:
        return None
    if job.planned_schedule != schedule_key(job.cron_expression, job.zone_name):
        # Changed behind the services' back: the slot belongs to a schedule that is no more.
        return None
    until = now if job.end_date is None else min(now, _last_moment(job))
    try:
        expression, zone = schedule.parse(job.cron_expression), schedule.load_zone(job.zone_name)
    except (schedule.CronError, schedule.ZoneError):
        return None
    last = schedule.last_slot(expression, zone=zone, first=first, until=until)
    if last is None or JobExecution.objects.filter(Q(job=job, scheduled_for=first)).exists():
        return None
    count = schedule.count_slots(expression, zone=zone, first=first, until=until)
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
        error_message=_message(count),
        missed_count=count,
        missed_last_at=last,
    )


def record_overtaken(run: JobExecution, *, now: datetime) -> None:
    """Insert the row and tell of it, in the transaction of the edit."""
    run.job.last_status = Status.MISSED
    run.save(force_insert=True)
    tell_finished([run], now=now)


def _last_moment(job: Job) -> datetime:
    """The end of the job's last day, which is the scheduler's, not its own."""
    assert job.end_date is not None  # noqa: S101 - for the type checker
    day_after = job.end_date + timedelta(days=1)
    return datetime.combine(day_after, time.min, scheduler_zone()).astimezone(UTC) - _TICK


def _message(count: int) -> str:
    if count == 1:
        return "Not sent: the job was edited or paused after this slot had come due, before it could start."
    return (
        f"Not sent: the job was edited or paused after {count} slots had come due, before they could start. "
        "This row stands for all of them."
    )
