"""What was told long ago is thrown away, in small batches, so that nobody waits for a lock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from cronsched.core.db import let_others_write, retry_conflicts
from notifications.models import OPEN, Message, Notification, Occasion

BATCH = 1000
# What keeps a weekly report from coming twice must outlive its week.
OCCASION_DAYS_MIN = 14


def prune_messages(*, now: datetime, days: int) -> Iterator[int]:
    """Delete notices, ended messages and what was noted as told, older than `days`; yields counts."""
    limit = now - timedelta(days=days)
    occasion_limit = now - timedelta(days=max(days, OCCASION_DAYS_MIN))
    for rows in (
        Notification.objects.filter(created_at__lt=limit),
        Message.objects.filter(created_at__lt=limit).exclude(state__in=OPEN),
        Occasion.objects.filter(created_at__lt=occasion_limit),
    ):
        while count := _delete_batch(rows):
            yield count
            if count < BATCH:
                break
            let_others_write()


@retry_conflicts
def _delete_batch(rows: Any) -> int:
    ids = list(rows.order_by("created_at").values_list("pk", flat=True)[:BATCH])
    return int(rows.model._default_manager.filter(pk__in=ids).delete()[0]) if ids else 0
