"""In-app notices: rows that a user sees until they are read.

One unread notice per user and topic ("run_failed:<job>") is brought up to date, its count grown,
instead of stacking another. Statements are per batch, never per notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cronsched.core.db import update_each
from notifications.models import Notification

TITLE_MAX = 255
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
    """Insert the notices, or bring those up to date that are unread and of the same topic."""
    latest: dict[tuple[UUID, str], Notice] = {}
    counts: dict[tuple[UUID, str], int] = {}
    single = [notice for notice in notices if not notice.topic]
    for notice in notices:
        if notice.topic:
            key = (notice.user_id, notice.topic)
            latest[key] = notice
            counts[key] = counts.get(key, 0) + 1
    unread = _unread(list(latest)) if latest else {}
    update_each(
        Notification,
        _COLUMNS,
        ("id",),
        [
            (
                notice.type,
                notice.title[:TITLE_MAX],
                notice.message,
                notice.execution_id,
                count + counts[key],
                now,
                pk,
            )
            for key, (pk, count) in unread.items()
            for notice in (latest[key],)
        ],
    )
    new = [(notice, counts[key]) for key, notice in latest.items() if key not in unread]
    Notification.objects.bulk_create(
        [_row(notice, count, now) for notice, count in (*new, *((notice, 1) for notice in single))]
    )


def _unread(keys: list[tuple[UUID, str]]) -> dict[tuple[UUID, str], tuple[UUID, int]]:
    users, topics = {user for user, _ in keys}, {topic for _, topic in keys}
    rows = Notification.objects.unread().filter(user_id__in=users, topic__in=topics)
    wanted = set(keys)
    return {
        (user_id, topic): (pk, count)
        for pk, user_id, topic, count in rows.values_list("pk", "user_id", "topic", "count")
        if (user_id, topic) in wanted
    }


def _row(notice: Notice, count: int, now: datetime) -> Notification:
    return Notification(
        user_id=notice.user_id,
        type=notice.type,
        title=notice.title[:TITLE_MAX],
        message=notice.message,
        topic=notice.topic,
        related_job_id=notice.job_id,
        related_execution_id=notice.execution_id,
        count=count,
        created_at=now,
    )
