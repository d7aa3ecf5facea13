"""After a database was restored from a backup: what happened since the backup, nobody knows.

Slots that came due since then may have been sent, and their rows are lost; runs that were queued or under
way in the backup may have ended. A scheduler that starts on such a database would send again what it
takes for due: slots within the misfire grace, jobs that catch up, queued runs. So before one starts, all
of that is ended here, with a row that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from cronsched.core.db import locked, retry_conflicts, update_each
from cronsched.core.errors import Conflict
from jobs.choices import IN_FLIGHT, Status
from jobs.engine.messages import Reason
from jobs.engine.slots import next_slot
from jobs.models import Job, JobExecution
from jobs.schedule import CronError, ZoneError
from jobs.services.overtaken import overtaken_run, record_overtaken
from jobs.services.status import scheduler_status

BATCH: Final = 500
_UNKNOWN: Final = "whether it was sent is unknown. Look at the receiver, then run the job by hand if needed."
RUN_TEXT: Final = f"The database was restored from a backup in which this run had not ended: {_UNKNOWN}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """`jobs`: how many had slots due since the backup; `runs`: how many had not ended in it."""

    jobs: int
    runs: int


def settle_restored(*, now: datetime) -> Settled:
    """End what the backup left open, so that nothing is sent twice. Conflict while a scheduler leads."""
    if scheduler_status(now=now).scheduler_running:
        raise Conflict("A scheduler is at work on this database: stop it first, settle, then start it.")
    runs = _end_runs(now)
    jobs = 0
    while page := _due_page(now):
        jobs += _pass_over(page, now)
    return Settled(jobs=jobs, runs=runs)


@retry_conflicts
def _end_runs(now: datetime) -> int:
    """Overrides go, as with every end: a token may be in them."""
    open_runs = JobExecution.objects.filter(status__in=IN_FLIGHT)
    return int(
        open_runs.update(
            status=Status.FAILED,
            reason=Reason.INTERRUPTED,
            error_message=RUN_TEXT,
            completed_at=now,
            deadline_at=None,
            claim_token=None,
            overrides="",
        )
    )


def _due_page(now: datetime) -> list[UUID]:
    return list(Job.objects.active().due(now).values_list("pk", flat=True)[:BATCH])


@retry_conflicts
def _pass_over(job_ids: list[UUID], now: datetime) -> int:
    """A missed row for the slots of each, and the next run after now."""
    with transaction.atomic():
        jobs = list(locked(Job.objects.filter(pk__in=job_ids)))
        found = [one for job in jobs if (one := overtaken_run(job, now=now)) is not None]
        record_overtaken(found, now=now, message=_slots_text)
        rows = [(_next(job, now), job.last_status, job.pk) for job in jobs]
        update_each(Job, ("next_run_at", "last_status"), ("id",), rows)
    return len(jobs)


def _next(job: Job, now: datetime) -> datetime | None:
    """None where the schedule cannot be read: the reconciliation has the words for it."""
    try:
        return next_slot(
            expression=job.cron_expression, zone_name=job.zone_name, end_date=job.end_date, after=now
        )
    except (CronError, ZoneError):
        return None


def _slots_text(count: int) -> str:
    slots = "this slot" if count == 1 else f"{count} slots"
    return f"The database was restored from a backup older than {slots}: {_UNKNOWN}"
