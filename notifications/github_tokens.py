"""Admins hear that a GitHub token is about to end: two weeks before, three days before, and when it has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cronsched.core.clock import scheduler_date
from jobs.services.github_check import Expiring
from notifications.audience import FAILURES, Audience
from notifications.inapp import Notice, post
from notifications.models import Channel, Event, Message, NotificationType
from notifications.outbox import first_time, make_message, told_once

# The last first: whoever was never told before the third day hears that alone.
STAGES: Final = (timedelta(0), timedelta(days=3), timedelta(days=14))


@told_once
def announce_expiring(tokens: Sequence[Expiring], *, now: datetime) -> int:
    """Tell each stage of each token once: admins in-app and by mail, Slack. How many tokens were told of."""
    by_key = {key: token for token in tokens if (key := _key(token, now))}
    new = first_time(list(by_key), now=now)
    told = [token for key, token in by_key.items() if key in new]
    if told:
        audience = Audience.of([])
        post([_notice(token, pk, now) for token in told for pk in audience.admins], now=now)
        Message.objects.bulk_create(_messages(told, audience, now))
    return len(told)


def _messages(tokens: Sequence[Expiring], audience: Audience, now: datetime) -> list[Message]:
    """One for each admin who wants mail of failures, and one for Slack."""
    titles = [_title(token, now) for token in tokens]
    facts = {
        "title": titles[0] if len(titles) == 1 else f"{len(titles):,} GitHub tokens have ended or end soon",
        "tokens": [
            {"title": title, "advice": _advice(token, now)}
            for title, token in zip(titles, tokens, strict=True)
        ],
    }
    event = Event.END_DATE_REMINDER
    made = [
        make_message(Channel.EMAIL, address, event, {**facts, "reader": reader}, now=now)
        for address, reader in audience.admin_readers(FAILURES).items()
    ]
    return made + ([make_message(Channel.SLACK, "", event, facts, now=now)] if audience.is_slack_on else [])


def _key(token: Expiring, now: datetime) -> str:
    """The occasion; "" while there is time."""
    stage = next((days for days in STAGES if token.expires_at - now <= days), None)
    if stage is None:
        return ""
    which = hashlib.sha256(token.key.encode()).hexdigest()[:32]
    return f"github_token:{which}:{token.expires_at:%Y-%m-%d}:{stage.days}"


def _title(token: Expiring, now: datetime) -> str:
    day = scheduler_date(token.expires_at)
    if token.expires_at <= now:
        return f"The GitHub token {token.name} ended on {day}"
    return f"The GitHub token {token.name} ends on {day}"


def _advice(token: Expiring, now: datetime) -> str:
    if token.expires_at <= now:
        return "Workflows cannot be started with it any more. Enter a new one."
    return "After that day workflows cannot be started with it. Make a new one at GitHub and enter it here."


def _notice(token: Expiring, user_id: UUID, now: datetime) -> Notice:
    return Notice(
        user_id=user_id,
        type=NotificationType.ERROR if token.expires_at <= now else NotificationType.WARNING,
        topic=f"github_token:{hashlib.sha256(token.key.encode()).hexdigest()[:16]}",
        title=_title(token, now),
        message=_advice(token, now),
    )
