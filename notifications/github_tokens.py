"""Admins hear that a GitHub token is about to end: two weeks before, three days before, and when it has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from accounts.models import User
from cronsched.core.clock import scheduler_date
from jobs.services.github_check import Expiring
from notifications.inapp import Notice, post
from notifications.models import NotificationType
from notifications.outbox import first_time

# The last first: whoever was never told before the third day hears that alone.
STAGES: Final = (timedelta(0), timedelta(days=3), timedelta(days=14))


def announce_expiring(tokens: Sequence[Expiring], *, now: datetime) -> int:
    """Tell each stage of each token once. How many tokens were told of."""
    by_key = {key: token for token in tokens if (key := _key(token, now))}
    with transaction.atomic():
        new = first_time(list(by_key), now=now)
        told = [by_key[key] for key in new]
        admins = list(User.objects.admins().values_list("pk", flat=True))
        post([_notice(token, pk, now) for token in told for pk in admins], now=now)
    return len(told)


def _key(token: Expiring, now: datetime) -> str:
    """The occasion; "" while there is time."""
    stage = next((days for days in STAGES if token.expires_at - now <= days), None)
    if stage is None:
        return ""
    which = hashlib.sha256(token.key.encode()).hexdigest()[:32]
    return f"github_token:{which}:{token.expires_at:%Y-%m-%d}:{stage.days}"


def _notice(token: Expiring, user_id: UUID, now: datetime) -> Notice:
    day = scheduler_date(token.expires_at)
    is_over = token.expires_at <= now
    title = f"The GitHub token {token.name} {'ended' if is_over else 'ends'} on {day}"
    message = (
        "Workflows cannot be started with it any more. Enter a new one."
        if is_over
        else "After that day workflows cannot be started with it. Make a new one at GitHub and enter it here."
    )
    return Notice(
        user_id=user_id,
        type=NotificationType.ERROR if is_over else NotificationType.WARNING,
        topic=f"github_token:{hashlib.sha256(token.key.encode()).hexdigest()[:16]}",
        title=title,
        message=message,
    )
