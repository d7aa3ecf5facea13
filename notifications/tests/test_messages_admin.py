"""The outbox in the admin site, and Slack's test message from there and from the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from accounts.tests.factories import UserFactory
from cronsched.core import clock
from cronsched.testing.fixtures_admin import messages_of
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.engine.tell import tell_finished
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.engine.claim import Outcome, claim, record
from notifications.models import Channel, Message, MessageState, SlackSettings
from notifications.outbox import Telling, put
from notifications.services.outbox import give_up_what_waited, send_again
from notifications.services.slack_settings import update_slack_settings

pytestmark = pytest.mark.django_db
PAGE, SLACK = "notifications_message", "notifications_slacksettings"
HOOK = "/services/T0/B0/secret-of-slack"
DAY = timedelta(days=1)


@pytest.fixture
def slack_sink(http_sink: HttpSink, settings: Any) -> HttpSink:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    update_slack_settings(data={"is_enabled": True, "webhook_url": http_sink.url(HOOK)}, by=None, now=NOON)
    return http_sink


@pytest.fixture
def told(settings: Any, slack_sink: HttpSink) -> list[Message]:
    """A mail and a post of one failure, whose job's name is markup."""
    settings.MAIL_ENABLED = True
    owner = UserFactory(email="owner@example.com")
    job = JobFactory(name="<script>alert(1)</script>", created_by=owner, enable_email_notifications=True)
    job.consecutive_failures = 1
    tell_finished([ExecutionFactory(job=job, failed=True)], now=clock.now())
    return list(Message.objects.order_by("channel"))


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("user", 403), ("viewer", 403)])
def test_the_outbox_is_for_admins(request: pytest.FixtureRequest, told: Any, role: str, status: int) -> None:
    site = request.getfixturevalue(f"{role}_site")

    assert site.open(f"{PAGE}_changelist").status_code == status
    assert site.open(f"{PAGE}_change", told[0].pk).status_code == status
    assert site.act("send_again", f"{PAGE}_changelist", told[0].pk).status_code == (
        302 if status == 200 else 403
    )
    assert site.open(f"{PAGE}_add").status_code == 403


def test_a_message_is_shown_as_it_is_sent(admin_site: Any, told: list[Message]) -> None:
    mail, post = told

    listed = admin_site.open(f"{PAGE}_changelist").content.decode()
    assert "owner@example.com" in listed
    assert "<script>alert(" not in listed
    for message, words in ((mail, "You get this because"), (post, "&quot;blocks&quot;")):
        page = admin_site.open(f"{PAGE}_change", message.pk).content.decode()
        assert words in page
        assert "<script>alert(" not in page


@pytest.mark.parametrize("query", [{"state": "queued"}, {"channel": "email"}, {"event": "run_failed"}])
def test_filters(admin_site: Any, told: Any, query: dict[str, str]) -> None:
    assert admin_site.open(f"{PAGE}_changelist", **query).context["cl"].result_count > 0


@pytest.mark.parametrize("state", ["sent", "failed", "merged", "queued"])
def test_send_again_queues_it_for_itself_and_at_once(
    admin_site: Any, told: list[Message], state: str
) -> None:
    mail = told[0]
    later = clock.now() + timedelta(hours=1)
    Message.objects.filter(pk=mail.pk).update(
        state=state, attempts=7, last_error="no", next_attempt_at=later, sent_at=clock.now()
    )

    answer = admin_site.act("send_again", f"{PAGE}_changelist", mail.pk)

    assert messages_of(answer) == ["Queued to be sent again: 1."]
    again = claim(Channel.EMAIL, now=clock.now())
    assert [(message.pk, message.attempts, message.last_error) for message in again] == [(mail.pk, 0, "")]
    assert again[0].message_id != mail.message_id


def test_one_that_is_being_sent_is_left_alone(told: list[Message]) -> None:
    Message.objects.update(state=MessageState.SENDING)

    assert send_again(ids=[message.pk for message in told], now=NOON) == 0


def given_up(now: Any) -> tuple[Message, Message]:
    """Two messages for one address, gathered, and given up together."""
    for job in ("a", "b"):
        fact = {"event": "run_failed", "job": job, "handle": ""}
        put([Telling(channel=Channel.EMAIL, recipient="ops@example.com", fact=fact)], now=now)
    (head,) = claim(Channel.EMAIL, now=now)
    record(head, Outcome(error="550 no", is_final=True), now=now)
    other = Message.objects.exclude(pk=head.pk).get()
    assert (other.state, other.last_error) == ("failed", "550 no")
    return head, other


def test_one_that_tells_others_is_sent_again_for_all_of_them() -> None:
    head, other = given_up(NOON)

    assert send_again(ids=[head.pk, other.pk], now=NOON + DAY) == 1

    assert set(Message.objects.values_list("state", "merged_into")) == {
        ("queued", None),
        ("merged", head.pk),
    }
    assert Message.objects.get(pk=head.pk).queued_at == NOON + DAY, "its day begins anew"


def test_one_of_several_is_sent_again_alone() -> None:
    head, other = given_up(NOON)

    assert send_again(ids=[other.pk], now=NOON + DAY) == 1

    (again,) = claim(Channel.EMAIL, now=NOON + DAY)
    assert [fact["job"] for fact in again.payload["facts"]] == ["b"]
    assert Message.objects.get(pk=head.pk).state == "failed"


@pytest.mark.parametrize(
    ("mail", "slack", "reasons"),
    [
        (True, True, set()),
        (False, True, {"Mail is off (MAIL_ENABLED)."}),
        (True, False, {"Slack is off."}),
    ],
)
def test_what_waits_for_a_channel_that_is_off_ends_in_a_day(
    settings: Any, slack_sink: HttpSink, mail: bool, slack: bool, reasons: set[str]
) -> None:
    fact = {"event": "run_failed", "job": "a", "handle": ""}
    put([Telling(channel=Channel.EMAIL, recipient="ops@example.com", fact=fact)], now=NOON)
    put([Telling(channel=Channel.SLACK, fact=fact)], now=NOON)
    settings.MAIL_ENABLED = mail
    update_slack_settings(data={"is_enabled": slack}, by=None, now=NOON)

    assert give_up_what_waited(now=NOON + DAY) == len(reasons)

    errors = Message.objects.filter(state="failed").values_list("last_error", flat=True)
    assert {error.split("long. ")[1] for error in errors} == reasons


# ---- Slack's test message --------------------------------------------------------------------------------


def test_the_test_button_shows_what_came_of_it(admin_site: Any, slack_sink: HttpSink) -> None:
    assert (
        "Send a test message"
        in admin_site.open(f"{SLACK}_change", SlackSettings.objects.get().pk).content.decode()
    )

    assert messages_of(admin_site.send(f"{SLACK}_test")) == ["Slack took the message."]
    slack_sink.on(HOOK, Reply(status=404, body="no_service"))
    assert messages_of(admin_site.send(f"{SLACK}_test"))[-1] == "Slack answered 404: no_service"

    assert "sent by ada_admin" in slack_sink.calls[0].json()["text"]
    assert admin_site.open(f"{SLACK}_test").status_code == 405


def test_the_test_button_without_a_url(admin_site: Any) -> None:
    (words,) = messages_of(admin_site.send(f"{SLACK}_test"))

    assert "Save a webhook_url first" in words


def test_the_test_button_is_for_admins(user_site: Any, slack_sink: HttpSink) -> None:
    assert user_site.send(f"{SLACK}_test").status_code == 403
    assert slack_sink.calls == []


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 401), ("viewer", 403), ("user", 403), ("admin", 200)]
)
def test_who_may_test_by_the_api(
    request: pytest.FixtureRequest, slack_sink: HttpSink, role: str, status: int
) -> None:
    assert request.getfixturevalue(f"{role}_api").post("/settings/slack/test").status_code == status
    assert len(slack_sink.calls) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("reply", "ok", "status", "words"),
    [
        (Reply(), True, 200, "Slack took the message."),
        (Reply(status=403, body="invalid_token"), False, 403, "Slack answered 403: invalid_token"),
        (Reply.redirect("https://example.com"), False, 302, "Slack answered 302"),
        (Reply(drop=True), False, None, ""),
    ],
)
def test_what_the_api_says_of_a_test(
    admin_api: Any, slack_sink: HttpSink, reply: Reply, ok: bool, status: int | None, words: str
) -> None:
    slack_sink.on(HOOK, reply)
    update_slack_settings(data={"is_enabled": False}, by=None, now=NOON)

    answer = admin_api.post("/settings/slack/test").json()

    assert (answer["ok"], answer["status_code"]) == (ok, status)
    assert answer["message"].startswith(words)
    assert "secret-of-slack" not in str(answer)


def test_a_test_without_a_url_says_so(admin_api: Any) -> None:
    answer = admin_api.post("/settings/slack/test").json()

    assert (answer["ok"], answer["status_code"]) == (False, None)
    assert answer["message"].startswith("Save a webhook_url first")
