"""What a person does with their own notices: read them, and throw them away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from cronsched.core.db import retry_conflicts
from notifications.models import Notification

# Beyond this a bell says "99+".
UNREAD_SHOWN = 100


def count_unread(*, user: Any) -> int:
    """How many unread notices the user has, counted no further than UNREAD_SHOWN."""
    return int(Notification.objects.of(user).unread().order_by()[:UNREAD_SHOWN].count())


@retry_conflicts
def mark_read(*, user: Any, ids: Sequence[UUID] | None = None, now: datetime) -> int:
    """Mark the user's unread notices as read, or those of `ids` among them. The count of changed ones."""
    unread = Notification.objects.of(user).unread()
    if ids is not None:
        unread = unread.filter(pk__in=ids)
    return int(unread.update(is_read=True, read_at=now, unread_key=None))


@retry_conflicts
def delete_notices(notices: QuerySet[Notification]) -> int:
    """Delete these; whose they are was the caller's to say. The count."""
    return notices.delete()[0]
