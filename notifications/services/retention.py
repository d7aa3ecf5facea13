"""What was told long ago is thrown away, in small batches, so that nobody waits for a lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import QuerySet

from cronsched.core.db import retry_conflicts
from notifications.models import OPEN, Message, Notification, Occasion

BATCH = 1000


def prune(*, now: datetime, days: int, may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete notices, ended messages and what was noted as told, older than `days`. The count.

    `may_go_on` is asked before each batch: whoever lost the lead stops.
    """
    limit = now - timedelta(days=days)
    old = (
        Notification.objects.filter(created_at__lt=limit),
        Message.objects.filter(created_at__lt=limit).exclude(state__in=OPEN),
        Occasion.objects.filter(created_at__lt=limit),
    )
    return sum(_prune(rows, may_go_on) for rows in old)


def _prune(
    rows: QuerySet[Notification] | QuerySet[Message] | QuerySet[Occasion], may_go_on: Callable[[], bool]
) -> int:
    total = 0
    while may_go_on():
        count = _delete_batch(rows)
        total += count
        if count < BATCH:
            break
    return total


@retry_conflicts
def _delete_batch(rows: QuerySet[Notification] | QuerySet[Message] | QuerySet[Occasion]) -> int:
    ids = list(rows.order_by("created_at").values_list("pk", flat=True)[:BATCH])
    return rows.model._default_manager.filter(pk__in=ids).delete()[0] if ids else 0
