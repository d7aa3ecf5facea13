"""Ending mail without a login: a signed link that names an address and what it is tired of.

A link is good for 30 days, as laws on mail ask, and for nothing but ending these topics: one that leaked
can make an address deaf, which its owner's notice and the admin site show, and an admin takes back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.core import signing
from django.db import transaction
from django.urls import reverse

from accounts.models import User
from cronsched.core.db import locked, retry_conflicts
from cronsched.core.text import name_key
from jobs.models import Job
from notifications.audience import DISABLED, FAILURES, SUCCESSES
from notifications.engine.words import public_url
from notifications.inapp import Notice, post
from notifications.models import EmailOptOut, Event, Message, NotificationPreferences, NotificationType
from notifications.services.preferences import update_preferences

LINK_AGE: Final = timedelta(days=30)
# Jobs that a notice names.
NAMES_MAX: Final = 10
SALT: Final = "notifications.unsubscribe"
TOPICS: Final = {
    Event.RUN_FAILED: FAILURES,
    Event.RUN_MISSED: FAILURES,
    Event.JOB_RECOVERED: FAILURES,
    Event.RUN_SUCCEEDED: SUCCESSES,
    Event.JOB_EXPIRED: DISABLED,
    Event.JOB_BROKEN: DISABLED,
    Event.JOB_DISABLED: DISABLED,
    # In mail, of GitHub tokens: with an ended one every run fails.
    Event.END_DATE_REMINDER: FAILURES,
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


def why_unwanted(message: Message) -> str:
    """Why nobody is to read this mail any more; "" where somebody is.

    Asked when it is sent: it may have waited, and people leave and change their minds meanwhile.
    """
    topics = topics_of(message)
    rows = EmailOptOut.objects.filter(address_key=name_key(message.recipient), topic__in=topics)
    if len(set(rows.values_list("topic", flat=True))) == len(topics):
        return "Not sent: the address has been unsubscribed since."
    facts = message.payload.get("facts", (message.payload,))
    readers = {fact.get("reader", "") for fact in facts}
    if "" in readers:
        return ""
    users = User.objects.active().filter(pk__in=readers).select_related("notification_preferences")
    if not users:
        return "Not sent: the account has been deactivated or deleted since."
    users = users.filter(email_key=name_key(message.recipient))
    if not users:
        return "Not sent: the account has another address since."
    wishes = [getattr(user, "notification_preferences", None) or NotificationPreferences() for user in users]
    if not any(getattr(wish, topic) for wish in wishes for topic in topics):
        return "Not sent: it has been switched off in the preferences since."
    return ""


def unsubscribe_url(address: str, topics: Sequence[str]) -> str:
    token = signing.dumps([address, list(topics)], salt=SALT, compress=True)
    return public_url(reverse("unsubscribe", args=[token]))


def read_token(token: str) -> Subscription | None:
    """None for whatever we did not sign, and for what is older than LINK_AGE."""
    try:
        address, topics = signing.loads(token, salt=SALT, max_age=LINK_AGE)
    except (signing.BadSignature, ValueError):
        return None
    return Subscription(address=address, topics=[topic for topic in topics if topic in WORDS])


@retry_conflicts
def unsubscribe(subscription: Subscription, *, now: datetime) -> None:
    """No more of it to this address: neither as an owner's, nor where jobs list it. May be repeated.

    The owners of the jobs that list it are told: somebody on call may be deaf from now on.
    """
    key = name_key(subscription.address)
    with transaction.atomic():
        user = User.objects.filter(email_key=key).first()
        if user is not None:
            update_preferences(user, changes=dict.fromkeys(subscription.topics, False), now=now, via="mail")
        new = [
            topic
            for topic in subscription.topics
            if EmailOptOut.objects.get_or_create(address_key=key, topic=topic, defaults={"created_at": now})[
                1
            ]
        ]
        post(_opt_out_notices(replace(subscription, topics=new), user), now=now)


def _opt_out_notices(subscription: Subscription, user: User | None) -> list[Notice]:
    """One for each owner of jobs that list the address, but for who gave it up themselves."""
    if not {FAILURES, SUCCESSES} & set(subscription.topics):
        return []
    key = name_key(subscription.address)
    names: dict[UUID, list[str]] = {}
    jobs = Job.objects.filter(created_by__is_active=True).exclude(created_by=user).order_by("name_key")
    for owner_id, name, addresses in jobs.values_list("created_by", "name", "notification_emails"):
        if key in map(name_key, addresses):
            names.setdefault(owner_id, []).append(name)
    return [_opt_out_notice(subscription, owner_id, of_owner) for owner_id, of_owner in names.items()]


def _opt_out_notice(subscription: Subscription, owner_id: UUID, names: Sequence[str]) -> Notice:
    more = f" and {len(names) - NAMES_MAX:,} more" if len(names) > NAMES_MAX else ""
    return Notice(
        user_id=owner_id,
        type=NotificationType.WARNING,
        title=f"{subscription.address} gets no more mail about {subscription.in_words}",
        message=(
            f"It was unsubscribed by the link of a mail. Jobs of yours that list it: "
            f"{', '.join(names[:NAMES_MAX])}{more}. An admin can subscribe it again."
        ),
    )


@retry_conflicts
def subscribe_again(*, ids: Collection[int], by: User, now: datetime) -> int:
    """Take these opt-outs back, and where the address is an account's, its preference too. The count."""
    with transaction.atomic():
        rows = list(locked(EmailOptOut.objects.filter(pk__in=ids)))
        topics: dict[str, dict[str, bool]] = {}
        for row in rows:
            topics.setdefault(row.address_key, {})[row.topic] = True
        for user in User.objects.filter(email_key__in=topics):
            update_preferences(user, changes=topics[user.email_key], now=now, by=by, via="admin")
        EmailOptOut.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)
