"""Sending messages again, by hand."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction

from cronsched.core.db import locked, retry_conflicts, update_each
from notifications.models import Message, MessageState
from notifications.outbox import new_message_id

_COLUMNS = ("state", "group_key", "attempts", "next_attempt_at", "last_error", "message_id", "merged_into")


@retry_conflicts
def send_again(*, ids: Collection[UUID], now: datetime) -> int:
    """Queue these once more, each for itself and at once, whatever became of them. The count.

    One that is being sent is left alone. A new Message-ID, or mailboxes would take it for the same mail.
    """
    with transaction.atomic():
        messages = locked(Message.objects.filter(pk__in=ids).exclude(state=MessageState.SENDING))
        rows = [
            (MessageState.QUEUED, "", 0, now, "", new_message_id(), None, pk)
            for pk in messages.values_list("pk", flat=True)
        ]
        update_each(Message, _COLUMNS, ("id",), rows)
    return len(rows)
