"""TELL: inside the engine's transaction, in a savepoint, handlers insert rows and nothing else.

What changes a job is written to the history first, outside the savepoint: a change without its line,
or a line without its change, cannot be.

A handler that fails is rolled back to its savepoint and logged; what it should have told is kept
in `UntoldRun` and told again by the sweep. A failing handler never costs a run its record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import F

from accounts.models import User
from cronsched.core.db import is_conflict, retry_conflicts
from cronsched.core.signals import tell
from jobs.audit import record_jobs
from jobs.engine.metrics import note_ended
from jobs.models import Job, JobExecution, UntoldRun
from jobs.signals import JobChange, job_batch_changed, job_changed, jobs_edited, jobs_uploaded, runs_finished

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 10


def tell_finished(runs: Sequence[JobExecution], *, now: datetime) -> None:
    """Tell of runs that have just ended; on failure remember them for `sweep_untold`."""
    note_ended(runs)
    if runs and not _send(runs, now):
        UntoldRun.objects.bulk_create([UntoldRun(execution=run, since=now) for run in runs])


def tell_changed(
    job: Job,
    action: str,
    *,
    now: datetime,
    by: User | None = None,
    via: str = "scheduler",
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    kept_as: str = "",
    note: str = "",
) -> None:
    """Tell of a change of a job. A handler that fails costs its own rows, never the change itself.

    `kept_as` is what the history calls it, where that says more than `action`; `note` goes there too.
    """
    change = JobChange(job=job, action=action, changes=dict(changes or {}))
    record_jobs([change], by=by, now=now, via=via, named=kept_as, note=note)
    tell(
        job_changed,
        what=f"job_changed job={job.pk} action={action}",
        sender=Job,
        action=action,
        job=job,
        by=by,
        now=now,
        changes=change.changes,
        via=via,
    )


def tell_batch_changed(changes: Sequence[JobChange], *, now: datetime, by: User | None, via: str) -> None:
    """Tell of what one batch changed, of an upload or of expired jobs, in its transaction."""
    record_jobs(changes, by=by, now=now, via=via)
    if changes and job_batch_changed.has_listeners(Job):
        what = f"job_batch_changed jobs={len(changes)}"
        tell(job_batch_changed, what=what, sender=Job, changes=list(changes), by=by, now=now, via=via)


@retry_conflicts
def tell_uploaded(
    *, created: int, updated: int, failed: int, now: datetime, by: User | None, via: str
) -> None:
    """Tell once of a whole upload."""
    counts = {"created": created, "updated": updated, "failed": failed}
    tell(jobs_uploaded, what=f"jobs_uploaded {counts}", sender=Job, **counts, by=by, now=now, via=via)


@retry_conflicts
def tell_edited(*, count: int, action: str, now: datetime, by: User | None, via: str) -> None:
    """Tell once of one change to many jobs."""
    what = f"jobs_edited count={count} action={action}"
    tell(jobs_edited, what=what, sender=Job, count=count, action=action, by=by, now=now, via=via)


def sweep_untold(*, now: datetime, limit: int = 500) -> int:
    """Tell again what could not be told; given up after ten attempts. The count told."""
    with transaction.atomic():
        waiting = list(UntoldRun.objects.all()[:limit])
        if not waiting:
            return 0
        ids = [entry.pk for entry in waiting]
        runs = list(JobExecution.objects.filter(pk__in=ids).select_related("job").defer("overrides"))
        if _send(runs, now):
            UntoldRun.objects.filter(pk__in=ids).delete()
            return len(runs)
    return _sweep_each(runs, now)


def _sweep_each(runs: Sequence[JobExecution], now: datetime) -> int:
    """One run at a time, so that the one that cannot be told does not hold back the others."""
    told = 0
    for run in runs:
        with transaction.atomic():
            entry = UntoldRun.objects.filter(pk=run.pk)
            if _send([run], now):
                entry.delete()
                told += 1
            elif not entry.filter(attempts__lt=MAX_ATTEMPTS - 1).update(attempts=F("attempts") + 1):
                logger.error("tell: given up, nobody hears of this run execution=%s", run.pk)
                entry.delete()
    return told


def _send(runs: Sequence[JobExecution], now: datetime) -> bool:
    try:
        with transaction.atomic():
            runs_finished.send(sender=JobExecution, runs=list(runs), now=now)
    except Exception as error:
        _pass_conflict(error)
        logger.exception("tell: a handler of runs_finished failed runs=%d", len(runs))
        return False
    return True


def _pass_conflict(error: Exception) -> None:
    """A deadlock has undone the whole transaction on some databases: all of it is to be done again."""
    if isinstance(error, OperationalError) and is_conflict(error):
        raise error
