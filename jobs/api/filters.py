"""From query parameters to querysets. What cannot be understood is a 400 that names it."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Count, F, OrderBy, QuerySet, Sum

from cronsched.core.api.params import Params, read_bool, read_choice, read_choices, read_uuid
from cronsched.core.api.ranges import read_range
from jobs.choices import IN_FLIGHT, ExecutionType, Status, TriggerType
from jobs.models import Job, JobExecution
from taxonomy.models import JobCategory, PicTeam

# What people may order jobs by, and the column that it is.
ORDERINGS: Final = {
    "name": "name_key",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "end_date": "end_date",
    "next_execution_at": "next_run_at",
    "last_execution_at": "last_execution_at",
}
ORDERING_WORDS: Final = [*ORDERINGS, *(f"-{word}" for word in ORDERINGS)]


def filter_jobs(jobs: Any, params: Params) -> QuerySet[Job]:
    """The jobs that match, in the order asked for (newest first). A blank parameter asks for nothing."""
    if text := params.get("search", "").strip():
        jobs = jobs.matching(text)
    if text := params.get("category", "").strip():
        jobs = jobs.filter(category__in=JobCategory.objects.matching(text))
    if text := params.get("pic_team", "").strip():
        jobs = jobs.filter(pic_team__in=PicTeam.objects.matching(text))
    if (is_active := read_bool(params, "is_active")) is not None:
        jobs = jobs.filter(is_active=is_active)
    if (owner_id := read_uuid(params, "created_by")) is not None:
        jobs = jobs.filter(created_by_id=owner_id)
    word = read_choice(params, "ordering", ORDERING_WORDS)
    found: QuerySet[Job] = jobs.order_by(*_order(word)) if word else jobs.order_by("-created_at", "id")
    return found


def _order(word: str) -> list[OrderBy | str]:
    """Empty values last, either way: databases disagree on where they belong."""
    column = F(ORDERINGS[word.removeprefix("-")])
    is_descending = word.startswith("-")
    return [column.desc(nulls_last=True) if is_descending else column.asc(nulls_last=True), "id"]


def filter_executions(runs: QuerySet[JobExecution], params: Params) -> QuerySet[JobExecution]:
    """By `job_id`, `status` (several), `trigger_type`, `execution_type`, `from` and `to`; newest first."""
    if (job_id := read_uuid(params, "job_id")) is not None:
        runs = runs.filter(job_id=job_id)
    if (statuses := read_choices(params, "status", Status.values)) is not None:
        runs = runs.filter(status__in=statuses)
    if (trigger := read_choice(params, "trigger_type", TriggerType.values)) is not None:
        runs = runs.filter(trigger_type=trigger)
    if (kind := read_choice(params, "execution_type", ExecutionType.values)) is not None:
        runs = runs.filter(execution_type=kind)
    return runs.filter(**read_range(params).lookups("started_at")).order_by("-started_at", "-id")


def count_by_status(runs: QuerySet[JobExecution]) -> dict[str, Any]:
    """The figures of these runs from one grouped query, however many there are.

    `running` counts what is not finished. The rate is of finished runs, success and failed; the
    average of those whose time was taken, None where none was.
    """
    rows = list(
        runs.order_by()
        .values("status")
        .annotate(runs=Count("id"), seconds=Sum("duration_seconds"), timed=Count("duration_seconds"))
    )
    counts = dict.fromkeys(Status.values, 0) | {row["status"]: row["runs"] for row in rows}
    finished = counts[Status.SUCCESS] + counts[Status.FAILED]
    timed = sum(row["timed"] for row in rows)
    seconds = sum(row["seconds"] or 0.0 for row in rows)
    return {
        "total": sum(counts.values()),
        "success": counts[Status.SUCCESS],
        "failed": counts[Status.FAILED],
        "running": sum(counts[status] for status in IN_FLIGHT),
        "missed": counts[Status.MISSED],
        "rate": round(100 * counts[Status.SUCCESS] / finished, 1) if finished else 0.0,
        "average": round(seconds / timed, 3) if timed else None,
    }
