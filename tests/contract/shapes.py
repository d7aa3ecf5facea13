"""The shapes of contract.md, and how an answer is held against one.

A dictionary asks for its keys and lets others be (a shape only grows); a list of one asks it of
every item; a function judges a value; anything else must be equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from accounts.models import JOBS_TABLE_COLUMNS

Judge = Callable[[Any], bool]


def _text_like(pattern: str) -> Judge:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def or_null(shape: Any) -> Judge:
    return lambda value: value is None or not list(differences(shape, value))


def one_of(*words: str) -> Judge:
    return lambda value: value in words


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def an_object(value: Any) -> bool:
    return isinstance(value, dict)


_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
uuid = _text_like("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
utc = _text_like(rf"{_MOMENT}(\.\d+)?Z")
with_offset = _text_like(rf"{_MOMENT}[+-]\d\d:\d\d")
day = _text_like(r"\d{4}-\d\d-\d\d")
slug = _text_like("[a-z0-9-]{1,100}")
token = _text_like(r"[\w-]+\.[\w-]+\.[\w-]+")
address = _text_like(r"[^@\s]+@[^@\s]+")

USER = {
    "id": uuid,
    "username": text,
    "email": address,
    "role": one_of("admin", "user", "viewer"),
    "is_active": flag,
    "created_at": utc,
    "updated_at": utc,
}
API_KEY = {
    "id": uuid,
    "name": text,
    "prefix": text,
    "owner": uuid,
    "role": one_of("admin", "user", "viewer"),
    "team": text,
    "expires_at": or_null(utc),
    "last_used_at": or_null(utc),
    "revoked_at": or_null(utc),
    "created_at": utc,
}
PREFERENCES = {
    "email_on_job_success": True,
    "email_on_job_failure": True,
    "email_on_job_disabled": False,
    "browser_notifications": False,
    "daily_digest": False,
    "weekly_report": False,
}
COLUMNS = {"jobs_table_columns": dict(JOBS_TABLE_COLUMNS)}
JOB = {
    "id": uuid,
    "name": text,
    "cron_expression": text,
    "target_url": or_null(text),
    "github_owner": or_null(text),
    "github_repo": or_null(text),
    "github_workflow_name": or_null(text),
    "metadata": an_object,
    "category": slug,
    "pic_team": slug,
    "end_date": day,
    "enable_email_notifications": flag,
    "notification_emails": [address],
    "notify_on_success": flag,
    "created_by": uuid,
    "follow_run": flag,
    "follow_timeout_minutes": or_null(count),
    "github_correlation_input": or_null(text),
    "is_active": flag,
    "created_at": utc,
    "updated_at": utc,
    "last_execution_at": or_null(utc),
    "next_execution_at": or_null(with_offset),
}
EXECUTION = {
    "id": uuid,
    "job_id": uuid,
    "status": one_of("queued", "running", "success", "failed", "missed"),
    "trigger_type": one_of("scheduled", "manual"),
    "scheduled_for": or_null(utc),
    "started_at": utc,
    "completed_at": or_null(utc),
    "duration_seconds": or_null(number),
    "execution_type": one_of("github_actions", "webhook"),
    "target": text,
    "response_status": or_null(count),
    "error_message": or_null(text),
    "output": or_null(text),
    "github_run_url": or_null(text),
}
EXECUTION_ACROSS_JOBS = {**EXECUTION, "job_name": text, "github_repo": or_null(text)}
NOTIFICATION = {
    "id": uuid,
    "user_id": uuid,
    "title": text,
    "message": text,
    "type": one_of("success", "error", "warning", "info"),
    "related_job_id": or_null(uuid),
    "related_execution_id": or_null(uuid),
    "is_read": flag,
    "read_at": or_null(utc),
    "created_at": utc,
}
SLACK = {
    "id": uuid,
    "is_enabled": flag,
    "webhook_url": or_null(text),
    "channel": or_null(text),
    "created_at": utc,
    "updated_at": utc,
}
CATEGORY = {"id": uuid, "slug": slug, "name": text, "is_active": flag, "created_at": utc, "updated_at": utc}
TEAM = {**CATEGORY, "slack_handle": text, "send_queue": text}


def differences(shape: Any, value: Any, where: str = "answer") -> Iterator[str]:
    """What `value` lacks of `shape`, each with where it is."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{where} is no object: {value!r}"
            return
        for key, inner in shape.items():
            if key in value:
                yield from differences(inner, value[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is missing"
    elif isinstance(shape, list):
        if not isinstance(value, list) or not value:
            yield f"{where} is no list with something in it: {value!r}"
            return
        for index, item in enumerate(value):
            yield from differences(shape[0], item, f"{where}[{index}]")
    elif callable(shape):
        if not shape(value):
            yield f"{where} is {value!r}"
    elif shape != value:
        yield f"{where} is {value!r}, not {shape!r}"
