"""The outbox as people and chores tend it: sending again by hand, giving up what waited too long."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from cronsched.core.db import locked, retry_conflicts, update_each
from notifications.engine.claim import give_up_old
from notifications.models import Channel, Message, MessageState
from notifications.outbox import new_message_id
from notifications.services.slack_settings import get_slack_settings

logger = logging.getLogger(__name__)

_COLUMNS = (
    "state",
    "group_key",
    "attempts",
    "next_attempt_at",
    "queued_at",
    "is_held",
    "last_error",
    "message_id",
    "merged_into",
)


@retry_conflicts
def send_again(*, ids: Collection[UUID], now: datetime) -> int:
    """Queue these once more, each for itself and at once, whatever became of them. The count.

    One that is being sent is left alone, and one that another of these tells. A new Message-ID, or
    mailboxes would take it for the same mail.
    """
    with transaction.atomic():
        messages = locked(Message.objects.filter(pk__in=ids).exclude(state=MessageState.SENDING))
        found = dict(messages.values_list("pk", "merged_into"))
        rows = [
            (MessageState.QUEUED, "", 0, now, now, False, "", new_message_id(), None, pk)
            for pk, merged_into in found.items()
            if merged_into not in found
        ]
        update_each(Message, _COLUMNS, ("id",), rows)
        told_in = Message.objects.filter(merged_into__in=found, state=MessageState.FAILED)
        told_in.update(state=MessageState.MERGED, last_error="")
    return len(rows)


def give_up_what_waited(*, now: datetime) -> int:
    """End the messages of channels that have been off or down for a day, each with the reason. The count."""
    off = {}
    if not settings.MAIL_ENABLED:
        off[Channel.EMAIL] = "Mail is off (MAIL_ENABLED)."
    if not get_slack_settings().is_enabled:
        off[Channel.SLACK] = "Slack is off."
    count = give_up_old(now=now, off=off)
    if count:
        logger.warning("messages: given up, because they waited too long count=%d", count)
    return count
