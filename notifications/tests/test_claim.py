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
from notifications.engine.claim import Outcome, claim, give_up_old, record, release, retry_pause, wake
from notifications.models import Channel, Event, Message, MessageState
from notifications.outbox import Telling, make_message, put

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
ME, YOU = "me@example.com", "you@example.com"
SENT, LATER = Outcome(is_sent=True), Outcome(error="451 later")
DOWN = Outcome(error="No mail server.", is_down=True)
A_SECOND, A_MINUTE, A_DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


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


def test_what_the_server_may_have_taken_gets_a_new_id_with_new_facts():
    """Its sender died after the server's answer, and the channel fails before it is sent again."""
    tell("a")
    (first,) = claimed()
    later = NOON + timedelta(minutes=5)
    release(claimed(later), now=later, pause_s=10, held_by="Connection refused")
    tell("b", now=later)

    (again,) = claimed(later + timedelta(seconds=10))

    assert jobs_of(again) == ["a", "b"]
    assert again.message_id != first.message_id, "a server that knows the id would drop what is new"
    assert again.attempts == 1


def test_one_that_is_refused_for_good_is_given_up():
    tell("a")
    (message,) = claimed()
    record(message, Outcome(error="550 no such user", is_final=True), now=NOON)

    assert states() == ["failed"]
    assert claimed(NOON + timedelta(days=1)) == []


def test_the_pauses_grow_to_five_minutes():
    pauses = [retry_pause(attempt, None) for attempt in (1, 2, 3, 4, 5, 6, 1000)]

    assert [pause.total_seconds() for pause in pauses] == [30, 60, 120, 240, 300, 300, 300]


@pytest.mark.parametrize(("asked", "pause"), [(0, 1), (7, 7), (90, 90), (1e9, 3600)])
def test_the_server_says_how_long(asked, pause):
    assert retry_pause(3, asked) == timedelta(seconds=pause)


def test_released_ones_are_as_they_were():
    tell("a")
    messages = claimed()
    release(messages, now=NOON, pause_s=10)

    stored = Message.objects.get()
    assert (stored.state, stored.attempts, stored.next_attempt_at) == ("queued", 0, NOON + 10 * A_SECOND)


def test_a_channel_that_answers_again_wakes_what_it_held_back():
    tell("a")
    tell("b", to=YOU)
    first, second = claimed()
    record(first, DOWN, now=NOON)
    release([second], now=NOON, pause_s=60, held_by="No mail server.")

    assert set(Message.objects.values_list("last_error", flat=True)) == {"No mail server."}
    assert wake(Channel.EMAIL, now=NOON + A_SECOND) == 2
    assert len(claimed(NOON + A_SECOND)) == 2
    assert wake(Channel.EMAIL, now=NOON + A_SECOND) == 0


def test_what_was_refused_for_itself_is_not_woken():
    tell("a")
    record(claimed()[0], LATER, now=NOON)

    assert wake(Channel.EMAIL, now=NOON + A_SECOND) == 0
    assert claimed(NOON + A_SECOND) == []


# ---- given up --------------------------------------------------------------------------------------------


def given_up(now: datetime, **off: str) -> dict[str, str]:
    """Jobs whose messages have been given up by then, with the reasons."""
    give_up_old(now=now, off=off)
    rows = Message.objects.filter(state="failed").order_by("id")
    return {"+".join(jobs_of(row)): row.last_error for row in rows}


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(DOWN, "No mail server."), (LATER, "451 later")],
)
def test_after_a_day_it_is_given_up_with_the_last_error(outcome, error):
    tell("a")
    record(claimed()[0], outcome, now=NOON)

    assert given_up(NOON + A_DAY - A_SECOND) == {}
    assert given_up(NOON + A_DAY) == {"a": f"Given up, because it waited too long. {error}"}
    assert claimed(NOON + 2 * A_DAY) == []


def test_what_a_channel_that_is_off_keeps_waiting_is_given_up_after_a_day():
    tell("a")
    tell("b", to="", channel=Channel.SLACK)

    off = {Channel.EMAIL: "Mail is off (MAIL_ENABLED)."}
    assert give_up_old(now=NOON + A_DAY, off=off) == 1
    assert Message.objects.get(state="failed").last_error.endswith("long. Mail is off (MAIL_ENABLED).")


def test_what_no_scheduler_could_try_is_sent_after_a_weekend_but_not_after_a_month():
    tell("a")

    assert given_up(NOON + 3 * A_DAY) == {}
    assert len(claimed(NOON + 3 * A_DAY)) == 1
    tell("b", to=YOU)
    assert "No scheduler" in given_up(NOON + 7 * A_DAY)["b"]


@pytest.mark.parametrize("hours", [0, 20])
def test_what_was_gathered_is_queued_anew_when_its_head_is_too_old(hours):
    """And given up with it where it is as old."""
    tell("a")
    record(claimed()[0], DOWN, now=NOON)
    tell("b", now=NOON + timedelta(hours=hours))
    (head,) = claimed(NOON + timedelta(hours=20))
    assert jobs_of(head) == ["a", "b"]
    record(head, DOWN, now=NOON + timedelta(hours=20))

    reasons = given_up(NOON + A_DAY)

    too_old = "Given up, because it waited too long. No mail server."
    assert reasons == {"a+b": too_old} | ({} if hours else {"b": too_old})
    again = claimed(NOON + A_DAY)
    assert [jobs_of(message) for message in again] == ([["b"]] if hours else [])


def test_what_was_gathered_is_given_up_with_a_head_that_is_refused():
    for job in ("a", "b", "c"):
        tell(job)
    (head,) = claimed()

    record(head, Outcome(error="550 no such user", is_final=True), now=NOON)

    rows = Message.objects.values_list("state", "last_error")
    assert set(rows) == {("failed", "550 no such user")}
    assert claimed(NOON + A_DAY) == []


def test_a_late_refusal_of_another_claim_gives_up_nothing():
    tell("a")
    (first,) = claimed()
    claimed(NOON + timedelta(minutes=5))

    record(first, Outcome(error="550", is_final=True), now=NOON + timedelta(minutes=5))

    assert states() == ["sending"]


def test_giving_up_many_takes_pages(monkeypatch):
    monkeypatch.setattr(outbox, "PAGE", 2)
    for number in range(5):
        tell("a", to=f"{number}@example.com")

    assert give_up_old(now=NOON + 7 * A_DAY, off={}) == 5


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
