"""From query parameters to querysets. What cannot be understood is a 400 that names it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from django.db.models import F, OrderBy, QuerySet

from cronsched.core.api.params import Params, read_bool, read_choice, read_choices, read_uuid
from cronsched.core.api.ranges import read_range
from jobs.choices import ExecutionType, Status, TriggerType
from jobs.models import Job
from jobs.querysets import RunFilter
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


def read_run_filter(params: Params, *, job_id: UUID | None = None) -> RunFilter:
    """`job_id`, `status` (several), `trigger_type`, `execution_type`, `from` and `to`.

    With `job_id` given, one in `params` would contradict the path, or say it again.
    """
    return replace(
        read_period(params, job_id=job_id),
        statuses=tuple(read_choices(params, "status", Status.values) or ()),
        trigger_type=read_choice(params, "trigger_type", TriggerType.values) or "",
        execution_type=read_choice(params, "execution_type", ExecutionType.values) or "",
    )


def read_period(params: Params, *, job_id: UUID | None = None) -> RunFilter:
    """`job_id`, `from` and `to` alone."""
    period = read_range(params)
    return RunFilter(job_id=job_id or read_uuid(params, "job_id"), start=period.start, end=period.end)
