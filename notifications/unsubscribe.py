"""Ending mail without a login: a signed link that names an address and what it is tired of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.core import signing
from django.db import transaction
from django.urls import reverse

from accounts.models import User
from cronsched.core.db import retry_conflicts
from cronsched.core.text import name_key
from notifications.audience import DISABLED, FAILURES, SUCCESSES
from notifications.engine.words import public_url
from notifications.models import EmailOptOut, Event, Message
from notifications.services.preferences import update_preferences

SALT: Final = "notifications.unsubscribe"
TOPICS: Final = {
    Event.RUN_FAILED: FAILURES,
    Event.RUN_MISSED: FAILURES,
    Event.JOB_RECOVERED: FAILURES,
    Event.RUN_SUCCEEDED: SUCCESSES,
    Event.JOB_EXPIRED: DISABLED,
    Event.JOB_BROKEN: DISABLED,
    Event.JOB_DISABLED: DISABLED,
    Event.DAILY_DIGEST: "daily_digest",
    Event.WEEKLY_REPORT: "weekly_report",
}
WORDS: Final = {
    FAILURES: "failed and missed runs",
    SUCCESSES: "successful runs",
    DISABLED: "jobs that were disabled or ended",
    "daily_digest": "the daily digest",
    "weekly_report": "the weekly report",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """What a link stands for: mail to `address` about `topics`, which are preferences."""

    address: str
    topics: Sequence[str]

    @property
    def in_words(self) -> str:
        return ", ".join(WORDS[topic] for topic in self.topics)


def topics_of(message: Message) -> list[str]:
    """What one must be tired of to be tired of this message."""
    events = message.payload.get("counts") or {message.event: 1}
    return sorted({TOPICS[Event(event)] for event in events})


def unsubscribe_url(address: str, topics: Sequence[str]) -> str:
    token = signing.dumps([address, list(topics)], salt=SALT, compress=True)
    return public_url(reverse("unsubscribe", args=[token]))


def read_token(token: str) -> Subscription | None:
    """None for whatever we did not sign."""
    try:
        address, topics = signing.loads(token, salt=SALT)
    except (signing.BadSignature, ValueError):
        return None
    return Subscription(address=address, topics=[topic for topic in topics if topic in WORDS])


@retry_conflicts
def unsubscribe(subscription: Subscription, *, now: datetime) -> None:
    """No more of it to this address: neither as an owner's, nor where jobs list it. May be repeated."""
    key = name_key(subscription.address)
    with transaction.atomic():
        user = User.objects.filter(email_key=key).first()
        if user is not None:
            update_preferences(user, changes=dict.fromkeys(subscription.topics, False), now=now, via="mail")
        for topic in subscription.topics:
            EmailOptOut.objects.get_or_create(address_key=key, topic=topic, defaults={"created_at": now})
