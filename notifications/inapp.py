"""In-app notices: rows that a user sees until they are read.

One unread notice per user and topic ("run_failed:<job>") is brought up to date, its count grown,
instead of stacking another. Statements are per batch, never per notice.

Two processes may post of one topic at once: `unread_key` is unique, and whoever comes second finds
the other's notice when it looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.models import User
from cronsched.core.db import check_references, insert_each, is_duplicate, locked, update_each
from jobs.models import Job, JobExecution
from notifications.models import Notification

TITLE_MAX = 255
ATTEMPTS = 3
_COLUMNS = ("type", "title", "message", "related_execution", "count", "created_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """What one user is told. `topic` is empty where every notice stands for itself."""

    user_id: UUID
    type: str
    title: str
    message: str
    topic: str = ""
    job_id: UUID | None = None
    execution_id: UUID | None = None


def post(notices: Sequence[Notice], *, now: datetime) -> None:
    """Insert the notices, or bring those up to date that are unread and of the same topic.

    Whoever is deleted meanwhile is told nothing; everybody else is.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                _post(notices, now)
                check_references()
        except IntegrityError as error:
            if attempt == ATTEMPTS:
                raise
            if not is_duplicate(error):
                notices = _still_possible(notices)
        else:
            return


def _post(notices: Sequence[Notice], now: datetime) -> None:
    latest: dict[str, Notice] = {}
    counts: dict[str, int] = {}
    for notice in notices:
        if notice.topic:
            key = _key(notice)
            latest[key] = notice
            counts[key] = counts.get(key, 0) + 1
    unread = _unread(list(latest)) if latest else {}
    _bring_up_to_date(unread, latest, counts, now)
    new = [(latest[key], counts[key]) for key in latest if key not in unread]
    _insert([*((notice, 1) for notice in notices if not notice.topic), *new], now)


def _still_possible(notices: Sequence[Notice]) -> list[Notice]:
    """The notices whose users are there; without the jobs and runs that are not."""
    users = _existing(User, {notice.user_id for notice in notices})
    jobs = _existing(Job, {notice.job_id for notice in notices})
    runs = _existing(JobExecution, {notice.execution_id for notice in notices})
    return [
        replace(
            notice,
            job_id=notice.job_id if notice.job_id in jobs else None,
            execution_id=notice.execution_id if notice.execution_id in runs else None,
        )
        for notice in notices
        if notice.user_id in users
    ]


def _existing(model: Any, ids: set[UUID | None]) -> set[UUID]:
    return set(model.objects.filter(pk__in=ids - {None}).values_list("pk", flat=True))


def _unread(keys: list[str]) -> dict[str, tuple[UUID, int]]:
    """The unread notices of these keys, locked, so that none is read before it is brought up to date."""
    rows = locked(Notification.objects.filter(unread_key__in=keys).order_by("unread_key"))
    return {key: (pk, count) for key, pk, count in rows.values_list("unread_key", "pk", "count")}


def _bring_up_to_date(
    unread: Mapping[str, tuple[UUID, int]],
    latest: Mapping[str, Notice],
    counts: Mapping[str, int],
    now: datetime,
) -> None:
    rows = []
    for key, (pk, count) in unread.items():
        notice = latest[key]
        values = (notice.type, notice.title[:TITLE_MAX], notice.message, notice.execution_id)
        rows.append((*values, count + counts[key], now, pk))
    update_each(Notification, _COLUMNS, ("id",), rows)


def _insert(notices: Sequence[tuple[Notice, int]], now: datetime) -> None:
    insert_each([_row(notice, count, now) for notice, count in notices])


def _key(notice: Notice) -> str:
    return f"{notice.user_id}:{notice.topic}"


def _row(notice: Notice, count: int, now: datetime) -> Notification:
    return Notification.fresh(
        user_id=notice.user_id,
        type=notice.type,
        title=notice.title[:TITLE_MAX],
        message=notice.message,
        topic=notice.topic,
        unread_key=_key(notice) if notice.topic else None,
        related_job_id=notice.job_id,
        related_execution_id=notice.execution_id,
        count=count,
        created_at=now,
    )
