"""What matters now, for the home page: in flight, in trouble, ending. Nothing is written here.

No statement reads more than a bounded part of the history, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Left

from cronsched.core.clock import scheduler_date
from jobs.choices import IN_FLIGHT, Status
from jobs.models import Job, JobExecution

TROUBLED_FOR: Final = timedelta(hours=24)
ENDING_WITHIN: Final = timedelta(days=30)
# So many failures in a row are no accident.
REPEATEDLY: Final = 3
# Of each of failed and missed, the newest that are looked through for the jobs they are of.
LOOKED_THROUGH: Final = 250
REASON_MAX: Final = 300
COUNT_MAX: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """A job that failed or was missed: its last such run, and how many were looked at."""

    job: Job
    run_id: UUID
    status: str
    at: datetime
    reason: str
    times: int

    @property
    def is_over(self) -> bool:
        """It has succeeded since."""
        return bool(self.job.last_status == Status.SUCCESS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Of jobs. `active` and the rest are counts; a job may be in several."""

    all: int
    active: int
    mine: int
    ending: int
    failing: int
    repeatedly: int


def in_flight(*, limit: int) -> tuple[int, list[JobExecution]]:
    """How many runs are queued or running (counted up to COUNT_MAX), and the oldest of them."""
    runs = JobExecution.objects.filter(status__in=IN_FLIGHT).order_by("started_at", "id")
    found = list(runs.select_related("job").defer("output", "overrides", "error_message")[:limit])
    count = len(found) if len(found) < limit else runs.order_by()[:COUNT_MAX].count()
    return count, found


def troubles(*, since: datetime, limit: int) -> list[Trouble]:
    """The jobs that failed or were missed since then, the latest first, those not over before the others."""
    newest = merge(
        *(_newest(status, since) for status in (Status.FAILED, Status.MISSED)), key=_newness, reverse=True
    )
    rows: dict[UUID, list[Any]] = {}
    for row in newest:
        rows.setdefault(row["job_id"], []).append(row)
    jobs = _jobs(rows)
    found = [_trouble(jobs[job_id], of_job) for job_id, of_job in rows.items() if job_id in jobs]
    # Stable: within each of the two, the latest stays first.
    found.sort(key=lambda trouble: trouble.is_over)
    return _with_reasons(found[:limit])


def ending_soon(*, now: datetime, limit: int) -> list[Job]:
    """Active jobs whose end date comes within ENDING_WITHIN, the nearest first."""
    return list(_ending(now).order_by("end_date", "name_key")[:limit])


def failing_repeatedly(*, limit: int) -> list[Job]:
    """Active jobs with REPEATEDLY failures in a row or more, the longest first."""
    return list(_listed(_repeatedly()).order_by("-consecutive_failures", "name_key")[:limit])


def next_jobs(*, limit: int) -> list[Job]:
    """The jobs that run next."""
    return list(_listed(Job.objects.scheduled()).order_by("next_run_at", "id")[:limit])


def totals(*, user: Any, now: datetime) -> Totals:
    """In one pass over the jobs."""
    active = Q(is_active=True)
    return Totals(
        **Job.objects.aggregate(
            all=Count("pk"),
            active=Count("pk", filter=active),
            mine=Count("pk", filter=Q(created_by=user.pk)),
            ending=Count("pk", filter=active & ends_within(ENDING_WITHIN, now=now)),
            failing=Count("pk", filter=Q(consecutive_failures__gte=1)),
            repeatedly=Count("pk", filter=active & Q(consecutive_failures__gte=REPEATEDLY)),
        )
    )


def ends_within(span: timedelta, *, now: datetime) -> Q:
    """End dates from today (in the scheduler's timezone) until that far from it."""
    today = scheduler_date(now)
    return Q(end_date__gte=today, end_date__lte=today + span)


def _ending(now: datetime) -> QuerySet[Job]:
    return _listed(Job.objects.active().filter(ends_within(ENDING_WITHIN, now=now)))


def _repeatedly() -> QuerySet[Job]:
    return Job.objects.active().filter(consecutive_failures__gte=REPEATEDLY)


def _listed(jobs: QuerySet[Job]) -> QuerySet[Job]:
    return jobs.select_related("pic_team").defer("signing_secret", "previous_signing_secret", "metadata")


def _newest(status: str, since: datetime) -> Iterable[dict[str, Any]]:
    """One status at a time: then an index gives the newest without sorting."""
    runs = JobExecution.objects.filter(status=status, started_at__gte=since).order_by("-started_at", "-id")
    return list(runs.values("pk", "job_id", "status", "started_at", "missed_count")[:LOOKED_THROUGH])


def _newness(row: dict[str, Any]) -> tuple[datetime, UUID]:
    return row["started_at"], row["pk"]


def _jobs(ids: Iterable[UUID]) -> dict[UUID, Job]:
    return {job.pk: job for job in _listed(Job.objects.filter(pk__in=list(ids)))}


def _trouble(job: Job, rows: Sequence[dict[str, Any]]) -> Trouble:
    last = rows[0]
    times = sum(max(1, row["missed_count"]) for row in rows)
    return Trouble(
        job=job, run_id=last["pk"], status=last["status"], at=last["started_at"], reason="", times=times
    )


def _with_reasons(found: list[Trouble]) -> list[Trouble]:
    """The reasons, read for those that are shown alone."""
    rows = JobExecution.objects.filter(pk__in=[trouble.run_id for trouble in found])
    reasons = dict(rows.values_list("pk", Left("error_message", REASON_MAX)))
    return [replace(trouble, reason=reasons.get(trouble.run_id, "")) for trouble in found]
