"""Taking messages out of the outbox to send them, gathered, and writing down what came of it.

A claim is a conditional update under a fresh token, read back by it, as the engine of jobs claims
runs: any number of senders may be at it. Gathering happens here. The oldest message of a recipient
leads; what else is queued for them becomes part of it, unless they were told within the last minute:
then all of it waits for the rest of that minute.

A claim that ran out (its sender died) is taken again as it is, under the same Message-ID: the server
may have taken it, so that nothing may be added. It counts as an attempt. After an attempt, one that we
know to have failed or one that is handed back, more may be added; the message then gets a new Message-ID.

What cannot be sent is given up with the reason: at once where the server refuses it for good, after a
day where its channel is down or off. What was gathered into it shares its fate if it is as old, and is
queued anew if not.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet

from cronsched.core.db import locked, locked_skipping, retry_conflicts, update_each
from notifications.facts import event_of, gather
from notifications.models import Channel, Message, MessageState
from notifications.outbox import new_message_id

QUIET = timedelta(seconds=60)
# After this a claimed message is another sender's to take; a batch is sent well within it.
CLAIM_LEASE = timedelta(minutes=5)
LIMIT = 20
PAGE = 500
GATHER_MAX = 1000
RETRY_FIRST_S = 30.0
RETRY_MOST_S = 300.0
RETRY_AFTER_MOST_S = 3600.0
# Tried, or held back by a channel that is down or off, for so long: given up.
MAX_AGE = timedelta(days=1)
# What nobody could even try, because no scheduler ran, is still worth sending after a weekend.
UNTRIED_MAX_AGE = timedelta(days=7)
TOO_OLD = "Given up, because it waited too long. {}"
UNTRIED = "No scheduler has taken it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """`is_final`: trying again is of no use. `is_down`: nothing else can be sent here now, either.

    Neither: this message was refused, and others may go.
    """

    is_sent: bool = False
    error: str = ""
    is_final: bool = False
    is_down: bool = False
    retry_after_s: float | None = None


def claim(channel: Channel, *, now: datetime, limit: int = LIMIT) -> list[Message]:
    """Messages to send now; none where nothing is due, at the cost of one look."""
    return _claim(channel, now=now, limit=limit) if Message.objects.due(channel, now).exists() else []


@retry_conflicts
def _claim(channel: Channel, *, now: datetime, limit: int) -> list[Message]:
    token = uuid.uuid4()
    with transaction.atomic():
        due = list(locked_skipping(Message.objects.due(channel, now))[:PAGE])
        again = [message for message in due if message.state == MessageState.SENDING]
        heads = _heads([message for message in due if message.state == MessageState.QUEUED], now)
        taken = [*again, *heads][:limit]
        _gather([message for message in taken if message.state == MessageState.QUEUED])
        _count_attempt([message for message in taken if message.state == MessageState.SENDING])
        Message.objects.filter(pk__in=[message.pk for message in taken]).update(
            state=MessageState.SENDING, claim_token=token, next_attempt_at=now + CLAIM_LEASE
        )
    for message in taken:
        message.claim_token = token
    return taken


def _count_attempt(lapsed: Sequence[Message]) -> None:
    """Nobody has recorded what came of them; they may have been sent."""
    if lapsed:
        Message.objects.filter(pk__in=[message.pk for message in lapsed]).update(attempts=F("attempts") + 1)
    for message in lapsed:
        message.attempts += 1


def _heads(queued: Sequence[Message], now: datetime) -> list[Message]:
    """The oldest of each recipient who may be told now; the others' wait until they may."""
    groups = {message.group_key for message in queued if message.group_key}
    told_at = _told_at(groups, now)
    waiting = [(told_at[m.group_key] + QUIET, m.pk) for m in queued if m.group_key in told_at]
    update_each(Message, ("next_attempt_at",), ("id",), waiting)
    heads: dict[Any, Message] = {}
    for message in sorted(queued, key=lambda message: message.pk):
        if message.group_key not in told_at:
            heads.setdefault(message.group_key or message.pk, message)
    return list(heads.values())


def _told_at(groups: set[str], now: datetime) -> dict[str, datetime]:
    """When each of these recipients was told within the last minute, or is being told."""
    rows = Message.objects.filter(group_key__in=groups)
    # Not what was sent "later": before the clock was set back.
    sent = rows.filter(state=MessageState.SENT, sent_at__gt=now - QUIET, sent_at__lte=now)
    latest = sent.order_by().values("group_key").annotate(last=Max("sent_at"))
    told: dict[str, datetime] = dict(latest.values_list("group_key", "last"))
    sending = rows.filter(state=MessageState.SENDING, next_attempt_at__gt=now)
    return told | dict.fromkeys(sending.values_list("group_key", flat=True), now)


def _gather(heads: Sequence[Message]) -> None:
    """Make what else is queued for the heads' recipients part of them."""
    by_group = {message.group_key: message for message in heads if message.group_key}
    queued = Message.objects.filter(group_key__in=by_group, state=MessageState.QUEUED).order_by("id")
    others: dict[str, list[Message]] = {}
    for message in locked(queued)[:GATHER_MAX]:
        if message.pk != by_group[message.group_key].pk:
            others.setdefault(message.group_key, []).append(message)
    for key, merged in others.items():
        _merge(by_group[key], merged)
    rows = [(MessageState.MERGED, by_group[m.group_key].pk, m.pk) for group in others.values() for m in group]
    update_each(Message, ("state", "merged_into"), ("id",), rows)
    changed = [by_group[key] for key in others]
    columns = ("payload", "event", "message_id")
    update_each(Message, columns, ("id",), [(m.payload, m.event, m.message_id, m.pk) for m in changed])


def _merge(head: Message, others: Sequence[Message]) -> None:
    in_order = sorted([head, *others], key=lambda message: message.pk)
    head.payload = gather(message.payload for message in in_order)
    head.event = event_of(head.payload)
    if head.attempts:
        head.message_id = new_message_id()


@retry_conflicts
def record(message: Message, outcome: Outcome, *, now: datetime) -> None:
    """Write down what came of one attempt, if the claim still holds."""
    mine = Message.objects.filter(pk=message.pk, claim_token=message.claim_token, state=MessageState.SENDING)
    attempts = message.attempts + 1
    if outcome.is_sent:
        mine.update(state=MessageState.SENT, sent_at=now, attempts=attempts, last_error="", claim_token=None)
    elif outcome.is_final:
        with transaction.atomic():
            if mine.update(attempts=attempts, claim_token=None):
                _give_up([(message.pk, outcome.error)], now=now, spared_since=None)
    else:
        mine.update(
            state=MessageState.QUEUED,
            next_attempt_at=now + retry_pause(attempts, outcome.retry_after_s),
            attempts=attempts,
            is_held=outcome.is_down,
            last_error=outcome.error,
            claim_token=None,
        )


@retry_conflicts
def release(messages: Sequence[Message], *, now: datetime, pause_s: float = 0.0, held_by: str = "") -> None:
    """Put claimed messages back as they were: nothing of them was sent.

    `held_by` says what is wrong with their channel, where that is the reason.
    """
    values: dict[str, Any] = {"last_error": held_by, "is_held": True} if held_by else {}
    Message.objects.filter(
        pk__in=[message.pk for message in messages],
        claim_token__in={message.claim_token for message in messages},
        state=MessageState.SENDING,
    ).update(
        state=MessageState.QUEUED,
        claim_token=None,
        next_attempt_at=now + timedelta(seconds=pause_s),
        **values,
    )


@retry_conflicts
def wake(channel: Channel, *, now: datetime) -> int:
    """The channel answers again, or was set anew: what it held back goes now. The count.

    What was refused for itself keeps its own pause.
    """
    held = Message.objects.filter(channel=channel, state=MessageState.QUEUED, is_held=True)
    return int(held.update(next_attempt_at=now, is_held=False))


def give_up_old(*, now: datetime, off: Mapping[Channel, str]) -> int:
    """Give up what has waited too long. The count. `off`: channels that are switched off, and in which
    words that is said."""
    queued = Message.objects.filter(channel__in=Channel.values, state=MessageState.QUEUED)
    was_tried = Q(attempts__gt=0) | Q(is_held=True) | Q(channel__in=list(off))
    old = queued.filter(Q(queued_at__lte=now - MAX_AGE) & was_tried | Q(queued_at__lte=now - UNTRIED_MAX_AGE))
    total = 0
    while count := _give_up_page(old, off, now):
        total += count
    return total


@retry_conflicts
def _give_up_page(old: QuerySet[Message], off: Mapping[Channel, str], now: datetime) -> int:
    with transaction.atomic():
        page = locked_skipping(old.order_by("queued_at"))[:PAGE]
        rows = [
            (pk, TOO_OLD.format(error or off.get(Channel(channel)) or UNTRIED))
            for pk, channel, error in page.values_list("pk", "channel", "last_error")
        ]
        _give_up(rows, now=now, spared_since=now - MAX_AGE)
    return len(rows)


def _give_up(heads: Sequence[tuple[Any, str]], *, now: datetime, spared_since: datetime | None) -> None:
    """End these messages with their errors, and what was gathered into them; of the latter, what was
    queued after `spared_since` is queued anew instead."""
    errors = dict(heads)
    update_each(
        Message,
        ("state", "last_error"),
        ("id",),
        [(MessageState.FAILED, error, pk) for pk, error in errors.items()],
    )
    merged = locked(Message.objects.filter(merged_into__in=errors, state=MessageState.MERGED).order_by("pk"))
    ended, again = [], []
    for pk, head, queued_at in merged.values_list("pk", "merged_into", "queued_at"):
        if spared_since is not None and queued_at > spared_since:
            again.append((MessageState.QUEUED, now, None, pk))
        else:
            ended.append((MessageState.FAILED, errors[head], pk))
    update_each(Message, ("state", "last_error"), ("id",), ended)
    update_each(Message, ("state", "next_attempt_at", "merged_into"), ("id",), again)


def retry_pause(attempts: int, retry_after_s: float | None) -> timedelta:
    """Half a minute, doubled up to five; or as long as the server asks, up to an hour."""
    if retry_after_s is not None:
        return timedelta(seconds=min(max(retry_after_s, 1.0), RETRY_AFTER_MOST_S))
    return timedelta(seconds=min(RETRY_FIRST_S * 2 ** min(attempts - 1, 10), RETRY_MOST_S))
