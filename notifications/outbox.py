"""The way into the outbox: handlers put facts for recipients, and rows come of it, in few statements."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from django.db import IntegrityError, transaction

from cronsched.core.db import is_duplicate, retry_conflicts
from cronsched.core.models import uuid7
from cronsched.core.text import name_key
from notifications.facts import Fact, event_of, payload_of
from notifications.models import Channel, Event, Message, Occasion

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """A fact for one recipient: an address, or "" for Slack.

    `reader` is the id of the user whom it is meant for; "" where it is meant for the address itself.
    """

    channel: Channel
    fact: Fact
    recipient: str = ""
    reader: str = ""


def put(tellings: Sequence[Telling], *, now: datetime) -> None:
    """One row for each recipient, whatever the number of facts."""
    by_group: dict[str, list[Telling]] = {}
    for telling in tellings:
        by_group.setdefault(group_key(telling.channel, telling.recipient), []).append(telling)
    messages = []
    for key, group in by_group.items():
        payload = payload_of({**telling.fact, "reader": telling.reader} for telling in group)
        channel, recipient = group[0].channel, group[0].recipient
        messages.append(make_message(channel, recipient, event_of(payload), payload, group=key, now=now))
    Message.objects.bulk_create(messages)


def make_message(
    channel: Channel, recipient: str, event: Event, payload: dict[str, Any], *, now: datetime, group: str = ""
) -> Message:
    """A row to be sent at once; one without a group is never gathered with others."""
    return Message(
        channel=channel,
        event=event,
        recipient=recipient,
        group_key=group,
        payload=payload,
        message_id=new_message_id(),
        next_attempt_at=now,
        queued_at=now,
        created_at=now,
    )


def group_key(channel: Channel, recipient: str) -> str:
    return f"{channel.value}:{name_key(recipient)}"


def new_message_id() -> str:
    return uuid7().hex


def told_once(function: Callable[P, R]) -> Callable[P, R]:
    """For a function that is one transaction and asks `first_time`: where another process was faster by
    a moment, it is done again, and knows then what the other told."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with transaction.atomic():
                return function(*args, **kwargs)
        except IntegrityError as error:
            if not is_duplicate(error):
                raise
        with transaction.atomic():
            return function(*args, **kwargs)

    return retry_conflicts(wrapper)


def first_time(keys: Sequence[str], *, now: datetime) -> set[str]:
    """Those of `keys` that have not been told, noted as told from now on, in the caller's transaction.

    Of two who ask at once, one gets an IntegrityError, and its whole transaction is undone: see
    `told_once`.
    """
    known = set(Occasion.objects.filter(key__in=keys).values_list("key", flat=True))
    new = [key for key in dict.fromkeys(keys) if key not in known]
    Occasion.objects.bulk_create([Occasion(key=key, created_at=now) for key in new])
    return set(new)
