"""Jobs and executions as answers show them: plain dictionaries, cheap for thousands of rows.

The columns are named one by one, so that a secret can never be in an answer: what is not named is
not even read. The components of the OpenAPI document are beside, in `serializers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.functions import Substr

from cronsched.core.api.fields import as_utc, utc_text
from cronsched.core.db import driver_rows
from jobs.models import Job, JobExecution
from jobs.schedule import ZoneError, load_zone

# What a list shows of an execution's output: 64 KiB times 200 rows would be 13 MB.
OUTPUT_IN_LISTS: Final = 1000

# Rows of jobs whose form in a list is kept: some KB each, unless their metadata are long.
LISTED_KEPT: Final = 4096
KEPT_METADATA: Final = 2000
JOB_COLUMNS: Final = (
    "id",
    "name",
    "cron_expression",
    "timezone",
    "catch_up",
    "target_url",
    "github_owner",
    "github_repo",
    "github_workflow_name",
    "metadata",
    "timeout_seconds",
    "max_retries",
    "follow_run",
    "follow_timeout_minutes",
    "github_correlation_input",
    "signing_secret_changed_at",
    "category__slug",
    "pic_team__slug",
    "end_date",
    "enable_email_notifications",
    "notification_emails",
    "notify_on_success",
    "alert_after",
    "created_by_id",
    "is_active",
    "paused_reason",
    "created_at",
    "updated_at",
    "last_execution_at",
    "last_status",
    "next_run_at",
)
_METADATA: Final = JOB_COLUMNS.index("metadata")
EXECUTION_COLUMNS: Final = (
    "id",
    "job_id",
    "status",
    "trigger_type",
    "scheduled_for",
    "started_at",
    "completed_at",
    "duration_seconds",
    "execution_type",
    "target",
    "response_status",
    "reason",
    "error_message",
    "attempt",
    "missed_count",
    "missed_last_at",
    "triggered_by_id",
)
_decode: Final = json.JSONDecoder().raw_decode
# What the lists across jobs show besides.
_OF_JOB: Final = ("job__name", "job__github_repo")
# By the key of the row, where a run has one.
_OF_GITHUB: Final = ("github_run__html_url",)


def job_list(jobs: Any) -> list[dict[str, Any]]:
    """All rows of `jobs`, in one query. The dictionaries are shared between lists: to be read only."""
    default_zone = settings.SCHEDULER_TIMEZONE
    return [
        _known_job(row, default_zone) if len(row[_METADATA]) <= KEPT_METADATA else _listed_job(row)
        for row in driver_rows(jobs, *JOB_COLUMNS)
    ]


def _listed_job(row: tuple[Any, ...]) -> dict[str, Any]:
    return _job(dict(zip(JOB_COLUMNS, row, strict=True)))


@lru_cache(maxsize=LISTED_KEPT)
def _known_job(row: tuple[Any, ...], default_zone: str) -> dict[str, Any]:
    """From one list to the next most rows are the same, whole: what they come to is then known.

    `default_zone` is what `_in_zone` reads, as a part of the key.
    """
    return _listed_job(row)


def job_answer(job: Job) -> dict[str, Any]:
    """One job; its category and team are loaded where they are not yet."""
    return _job(_row(job, JOB_COLUMNS))


def execution_list(runs: Any, *, across_jobs: bool = False) -> list[dict[str, Any]]:
    """The rows with the beginning of their output, cut in SQL, in one query."""
    columns = EXECUTION_COLUMNS + _OF_GITHUB + (_OF_JOB if across_jobs else ())
    columns += ("shown_output",)
    runs = runs.annotate(shown_output=Substr("output", 1, OUTPUT_IN_LISTS))
    return [_execution(dict(zip(columns, row, strict=True))) for row in driver_rows(runs, *columns)]


def whole_execution(runs: QuerySet[JobExecution], *, across_jobs: bool = False) -> dict[str, Any] | None:
    """The first of `runs` with all of its output; None where there is none."""
    columns = EXECUTION_COLUMNS + _OF_GITHUB + (_OF_JOB if across_jobs else ())
    row = runs.values(*columns, shown_output=F("output")).first()
    return None if row is None else _execution(row)


def execution_answer(run: JobExecution) -> dict[str, Any]:
    """A run that has just been queued."""
    return _execution({**_row(run, EXECUTION_COLUMNS), "shown_output": run.output})


def _row(instance: Job | JobExecution, columns: Iterable[str]) -> dict[str, Any]:
    """An instance as a query would give it."""
    row: dict[str, Any] = {}
    for column in columns:
        value: Any = instance
        for name in column.split("__"):
            value = None if value is None else getattr(value, name)
        row[column] = value
    return row


def _job(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": _id(row["id"]),
        "name": row["name"],
        "cron_expression": row["cron_expression"],
        "timezone": row["timezone"] or None,
        "catch_up": row["catch_up"],
        "target_url": row["target_url"] or None,
        "github_owner": row["github_owner"] or None,
        "github_repo": row["github_repo"] or None,
        "github_workflow_name": row["github_workflow_name"] or None,
        "metadata": _json(row["metadata"]) or {},
        "timeout_seconds": row["timeout_seconds"],
        "max_retries": row["max_retries"],
        "follow_run": bool(row["follow_run"]),
        "follow_timeout_minutes": row["follow_timeout_minutes"],
        "github_correlation_input": row["github_correlation_input"] or None,
        "is_signed": row["signing_secret_changed_at"] is not None,
        "category": row["category__slug"],
        "pic_team": row["pic_team__slug"],
        "end_date": row["end_date"].isoformat() if row["end_date"] else None,
        "enable_email_notifications": bool(row["enable_email_notifications"]),
        "notification_emails": _json(row["notification_emails"]) or [],
        "notify_on_success": bool(row["notify_on_success"]),
        "alert_after": row["alert_after"],
        "created_by": _id(row["created_by_id"]),
        "is_active": bool(row["is_active"]),
        "paused_reason": row["paused_reason"] or None,
        "created_at": utc_text(row["created_at"]),
        "updated_at": utc_text(row["updated_at"]),
        "last_execution_at": utc_text(row["last_execution_at"]),
        "last_status": row["last_status"] or None,
        "next_execution_at": _in_zone(row["next_run_at"], row["timezone"]) if row["is_active"] else None,
    }


def _execution(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {
        "id": _id(row["id"]),
        "job_id": _id(row["job_id"]),
        "status": row["status"],
        "trigger_type": row["trigger_type"],
        "scheduled_for": utc_text(row["scheduled_for"]),
        "started_at": utc_text(row["started_at"]),
        "completed_at": utc_text(row["completed_at"]),
        "duration_seconds": row["duration_seconds"],
        "execution_type": row["execution_type"],
        "target": row["target"],
        "response_status": row["response_status"],
        "reason": row["reason"] or None,
        "error_message": row["error_message"] or None,
        "output": row["shown_output"] or None,
        "attempt": row["attempt"],
        "missed_count": row["missed_count"],
        "missed_last_at": utc_text(row["missed_last_at"]),
        "triggered_by": _id(row["triggered_by_id"]),
        "github_run_url": row.get("github_run__html_url") or None,
    }
    if "job__name" in row:
        shown["job_name"] = row["job__name"]
        shown["github_repo"] = row["job__github_repo"] or None
    return shown


def _in_zone(moment: datetime | None, zone_name: str) -> str | None:
    """With the schedule's own offset: `2025-12-23T02:00:00+09:00`."""
    if moment is None:
        return None
    return as_utc(moment).astimezone(_zone(zone_name, settings.SCHEDULER_TIMEZONE)).isoformat()


@lru_cache(maxsize=256)
def _zone(name: str, default: str) -> ZoneInfo:
    try:
        return load_zone(name or default)
    except ZoneError:
        # Changed behind the services' back; reconciliation will switch this job off.
        return load_zone(default)


def _id(value: UUID | str | None) -> str | None:
    """Of an instance or of a driver, which may give 32 digits."""
    if isinstance(value, str) and len(value) == 32:
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
    return None if value is None else str(value)


def _json(value: Any) -> Any:
    """Of an instance, or of a driver, which gives the text."""
    return _decode(value.lstrip())[0] if isinstance(value, str) else value
