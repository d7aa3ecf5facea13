"""Taking messages out of the outbox: gathered, quiet, claimed once, tried again."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.tests.factories import NOON
from notifications.engine import claim as outbox
from notifications.engine.claim import Outcome, claim, record, release, retry_pause, wake
from notifications.models import Channel, Event, Message, MessageState
from notifications.outbox import Telling, make_message, put

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
ME, YOU = "me@example.com", "you@example.com"
SENT, LATER = Outcome(is_sent=True), Outcome(error="451 later")
A_SECOND, A_MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def fact(job: str = "Backup", event: Event = Event.RUN_FAILED) -> dict[str, Any]:
    return {"event": event.value, "job": job, "handle": "@ops"}


def tell(*jobs: str, to: str = ME, channel: Channel = Channel.EMAIL, now: datetime = NOON) -> None:
    put([Telling(channel=channel, recipient=to, fact=fact(job)) for job in jobs], now=now)


def claimed(now: datetime = NOON, **values: Any) -> list[Message]:
    return claim(Channel.EMAIL, now=now, **values)


def jobs_of(message: Message) -> list[str]:
    return [fact["job"] for fact in message.payload["facts"]]


def states() -> list[str]:
    return list(Message.objects.order_by("id").values_list("state", flat=True))


def test_nothing_due_costs_one_look():
    tell("a", now=NOON + A_SECOND)

    with CaptureQueriesContext(connection) as queries:
        assert claimed() == []
    assert len(queries) == 1


def test_a_message_is_claimed_once_and_sent():
    tell("a")

    (message,) = claimed()
    assert claimed() == []
    record(message, SENT, now=NOON + A_SECOND)

    message.refresh_from_db()
    assert (message.state, message.attempts, message.sent_at) == ("sent", 1, NOON + A_SECOND)
    assert claimed(NOON + timedelta(days=1)) == []


def test_channels_and_recipients_do_not_wait_for_each_other():
    tell("a")
    tell("b", to=YOU)
    tell("c", to="", channel=Channel.SLACK)

    assert sorted(message.recipient for message in claimed()) == [ME, YOU]
    assert [jobs_of(message) for message in claim(Channel.SLACK, now=NOON)] == [["c"]]


def test_what_waits_for_a_recipient_becomes_one_message():
    for job in ("a", "b", "c"):
        tell(job)
    tell("d", to="ME@example.com")

    (message,) = claimed()

    assert jobs_of(message) == ["a", "b", "c", "d"]
    assert (message.event, message.payload["counts"]) == ("summary", {"run_failed": 4})
    assert message.payload["handles"] == ["@ops"]
    stored = Message.objects.get(pk=message.pk)
    assert (stored.event, stored.payload) == (message.event, message.payload)
    assert states() == ["sending", "merged", "merged", "merged"]
    assert set(Message.objects.filter(state="merged").values_list("merged_into", flat=True)) == {message.pk}


def test_the_first_goes_at_once_and_the_rest_of_the_minute_in_one():
    tell("a")
    record(claimed()[0], SENT, now=NOON)
    for second in (5, 20, 40):
        tell(f"at {second}", now=NOON + second * A_SECOND)

    assert claimed(NOON + 59 * A_SECOND) == []
    (message,) = claimed(NOON + A_MINUTE)
    assert jobs_of(message) == ["at 5", "at 20", "at 40"]
    record(message, SENT, now=NOON + A_MINUTE)
    tell("b", now=NOON + 61 * A_SECOND)
    assert claimed(NOON + 119 * A_SECOND) == []
    assert [jobs_of(message) for message in claimed(NOON + 2 * A_MINUTE)] == [["b"]]


def test_what_comes_while_one_is_being_sent_waits():
    tell("a")
    (first,) = claimed()
    tell("b", now=NOON + A_SECOND)

    assert claimed(NOON + A_SECOND) == []
    record(first, SENT, now=NOON + 2 * A_SECOND)
    assert [jobs_of(message) for message in claimed(NOON + 62 * A_SECOND)] == [["b"]]


def test_what_stands_alone_is_never_gathered_and_never_waits():
    for number in range(2):
        message = make_message(Channel.EMAIL, ME, Event.DAILY_DIGEST, {"title": str(number)}, now=NOON)
        message.save()
    tell("a")

    assert sorted(message.event for message in claimed()) == ["daily_digest", "daily_digest", "run_failed"]


def test_a_failed_one_is_tried_again_within_a_minute_with_its_id():
    tell("a")
    (first,) = claimed()
    record(first, LATER, now=NOON)

    stored = Message.objects.get()
    assert (stored.state, stored.attempts, stored.last_error) == ("queued", 1, "451 later")
    assert claimed(stored.next_attempt_at - A_SECOND) == []
    assert stored.next_attempt_at - NOON < A_MINUTE
    (again,) = claimed(stored.next_attempt_at)
    assert (again.pk, again.message_id) == (first.pk, first.message_id)


def test_a_failed_one_takes_along_what_came_meanwhile_under_a_new_id():
    tell("a")
    (first,) = claimed()
    record(first, LATER, now=NOON)
    tell("b", now=NOON + A_SECOND)

    (again,) = claimed(NOON + A_SECOND) or claimed(NOON + A_MINUTE)

    assert jobs_of(again) == ["a", "b"]
    assert again.message_id != first.message_id


def test_a_claim_that_ran_out_is_sent_again_as_it_is():
    tell("a")
    (first,) = claimed()
    tell("b", now=NOON + A_SECOND)

    later = NOON + timedelta(minutes=5)
    (again,) = claimed(later, limit=1)
    assert (jobs_of(again), again.message_id) == (["a"], first.message_id)
    record(first, SENT, now=later)
    assert Message.objects.get(pk=first.pk).state == "sending", "the claim is the other's by now"


def test_one_that_is_refused_for_good_is_given_up():
    tell("a")
    (message,) = claimed()
    record(message, Outcome(error="550 no such user", is_final=True), now=NOON)

    assert states() == ["failed"]
    assert claimed(NOON + timedelta(days=1)) == []


def test_after_a_day_of_attempts_it_is_given_up():
    tell("a")
    Message.objects.update(attempts=outbox.MAX_ATTEMPTS - 1)
    (message,) = claimed()
    record(message, LATER, now=NOON)

    assert states() == ["failed"]


def test_the_pauses_add_up_to_a_day():
    pauses = [retry_pause(attempt, None) for attempt in range(1, outbox.MAX_ATTEMPTS)]

    assert [pause.total_seconds() for pause in pauses[:6]] == [30, 60, 120, 240, 300, 300]
    assert timedelta(hours=23) < sum(pauses, timedelta()) < timedelta(hours=25)


@pytest.mark.parametrize(("asked", "pause"), [(0, 1), (7, 7), (90, 90), (1e9, 3600)])
def test_the_server_says_how_long(asked, pause):
    assert retry_pause(3, asked) == timedelta(seconds=pause)


def test_released_ones_are_as_they_were():
    tell("a")
    messages = claimed()
    release(messages, now=NOON, pause_s=10)

    stored = Message.objects.get()
    assert (stored.state, stored.attempts, stored.next_attempt_at) == ("queued", 0, NOON + 10 * A_SECOND)


def test_a_channel_that_answers_again_wakes_what_failed():
    tell("a")
    tell("b", to=YOU)
    first, second = claimed()
    for message in (first, second):
        record(message, LATER, now=NOON)

    assert wake(Channel.EMAIL, now=NOON + A_SECOND) == 2
    assert len(claimed(NOON + A_SECOND)) == 2


def test_no_more_than_the_limit_is_claimed():
    for number in range(5):
        tell("a", to=f"{number}@example.com")

    assert len(claimed(limit=2)) == 2
    assert states().count(MessageState.QUEUED) == 3


def test_statements_do_not_grow_with_what_waits():
    def statements(count: int) -> int:
        Message.objects.all().delete()
        for number in range(count):
            tell("a", to=f"{number}@example.com")
            tell("b", to=f"{number}@example.com")
        with CaptureQueriesContext(connection) as queries:
            assert len(claimed(limit=50)) == count
        return len(queries)

    assert statements(2) == statements(40)


@pytest.mark.django_db(transaction=True)
def test_two_senders_at_once_take_no_message_twice(close_thread_connections):
    for number in range(40):
        tell("a", to=f"{number}@example.com")
    taken: list[Any] = []
    together = threading.Barrier(2)

    def work() -> None:
        together.wait()
        while messages := claimed(limit=5):
            taken.extend(message.pk for message in messages)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == len(set(taken)) == 40
