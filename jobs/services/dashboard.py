"""What matters now, for the home page: in flight, in trouble, ending. Nothing is written here.

No statement reads more than a bounded part of the history, however long it is. What is counted are entries of
the history, as its list shows them; an entry of what was missed may stand for several due times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Case, Count, F, Max, Q, QuerySet, Value, When
from django.db.models.functions import Left

from cronsched.core.clock import scheduler_date
from jobs.choices import IN_FLIGHT, TROUBLE, Status
from jobs.models import Job, JobExecution
from jobs.querysets import between

TROUBLED_FOR: Final = timedelta(hours=24)
ENDING_WITHIN: Final = timedelta(days=30)
# So many failures in a row are no accident.
REPEATEDLY: Final = 3
REASON_MAX: Final = 300
# As far as a list counts.
COUNT_MAX: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """A job that failed or was missed: its last such entry, and how many there are (`times`).

    `slots` is how many due times the last one stands for; `is_over`: it has succeeded since.
    """

    job: Job
    run_id: UUID
    status: str
    at: datetime
    reason: str
    slots: int
    times: int
    is_over: bool


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
    """The jobs that failed or were missed since then, those not over before the others, the latest first."""
    groups = {row["job_id"]: row for row in _by_job(since)[:limit]}
    last = _last_entries(groups.values())
    return [
        Trouble(
            job=entry.job,
            run_id=entry.pk,
            status=entry.status,
            at=entry.started_at,
            reason=entry.reason_text,
            slots=max(1, entry.missed_count),
            times=group["times"],
            is_over=group["is_over"],
        )
        for job_id, group in groups.items()
        # None where it was deleted between the two readings.
        if (entry := last.get(job_id)) is not None
    ]


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
    """In three statements, each on an index that holds what it asks: no job is read."""
    jobs = Job.objects.order_by()
    failures = "consecutive_failures"
    by_state = {
        row["is_active"]: row
        for row in jobs.values("is_active").annotate(
            count=Count(failures),
            failing=Count(failures, filter=Q(consecutive_failures__gte=1)),
            repeatedly=Count(failures, filter=Q(consecutive_failures__gte=REPEATEDLY)),
        )
    }
    active = by_state.get(True, {})
    return Totals(
        all=sum(row["count"] for row in by_state.values()),
        active=active.get("count", 0),
        mine=jobs.filter(created_by=user.pk).count(),
        # Not `is_active=True`: on SQLite that is no comparison, and finds no index.
        ending=jobs.filter(ends_within(ENDING_WITHIN, now=now), is_active__in=[True]).count(),
        failing=sum(row["failing"] for row in by_state.values()),
        repeatedly=active.get("repeatedly", 0),
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


def _by_job(since: datetime) -> Any:
    """Along the index by job, which holds all that is asked: however many failed, no row is read."""
    runs = JobExecution.objects.filter(
        between("started_at", since, None), job_id__in=Job.objects.values("pk")
    )
    has_succeeded = Q(job__last_status=Status.SUCCESS, job__last_execution_at__gt=F("at"))
    return (
        runs.in_status(TROUBLE)
        .order_by()
        .values("job_id")
        .annotate(times=Count("pk"), at=Max("started_at"))
        .annotate(is_over=Case(When(has_succeeded, then=Value(True)), default=Value(False)))
        .order_by("is_over", "-at", "job_id")
    )


def _last_entries(groups: Iterable[dict[str, Any]]) -> dict[UUID, Any]:
    """Of each of these jobs the entry that was its last, read for those that are shown alone."""
    wanted = Q(pk__in=[])
    for group in groups:
        wanted |= Q(job_id=group["job_id"], started_at=group["at"])
    rows = JobExecution.objects.filter(wanted).in_status(TROUBLE).order_by("id")
    rows = rows.annotate(reason_text=Left("error_message", REASON_MAX)).select_related("job__pic_team")
    return {row.job_id: row for row in rows.defer("output", "overrides", "error_message")}
