"""Messages on their way: to a real mail server and a stand-in for Slack, both on loopback."""

from __future__ import annotations

import re
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_engine import Steady
from cronsched.testing.http_sink import HttpSink, Reply
from cronsched.testing.mail_sink import MailSink
from jobs.engine.tell import tell_changed, tell_finished
from jobs.models import JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.digest import daily_edition, send_digests, weekly_edition
from notifications.engine import sender
from notifications.engine.claim import Outcome, record
from notifications.engine.mail import MailTransport, build_mail
from notifications.engine.sender import Sender, Senders
from notifications.engine.slack import SlackTransport
from notifications.engine.words import VERBS
from notifications.models import Channel, Event, Message
from notifications.outbox import Telling, put
from notifications.reminders import send_end_date_reminders
from notifications.services.preferences import update_preferences
from notifications.services.slack_settings import update_slack_settings
from notifications.unsubscribe import Subscription, unsubscribe

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
HOOK = "/services/T0/B0/secret-of-slack"


class Wall:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def slack_sink(http_sink: HttpSink, settings: Any) -> HttpSink:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    url = http_sink.url(HOOK)
    update_slack_settings(data={"is_enabled": True, "webhook_url": url, "channel": "#ops"}, by=None, now=NOON)
    return http_sink


@pytest.fixture
def mailer(mail_sink: MailSink, wall: Wall) -> Sender:
    return Sender(Channel.EMAIL, MailTransport, is_leading=lambda: True, now=wall)


@pytest.fixture
def slacker(slack_sink: HttpSink, wall: Wall) -> Sender:
    return Sender(Channel.SLACK, SlackTransport, is_leading=lambda: True, now=wall)


# As Slack would read it: a name after an "@" that stands at the beginning of a word, or its own spelling.
CALLS_SOMEBODY = re.compile(r"(?<!\w)@\w|<[!@#]")


def tell(job: str = "Backup", to: str = "", event: Event = Event.RUN_FAILED, **values: str) -> None:
    fact = {
        "event": event.value,
        "job_id": "j",
        "execution_id": "e",
        "job": job,
        "owner": "uma",
        "team": "Ops",
        "handle": "@ops",
        "note": "",
        "end_date": "2030-12-31",
        "slot": "2026-03-10 21:00 (Asia/Tokyo)",
        "response_status": 500,
        "error": "Boom.",
        "answer": "<b>oh no</b>",
        "in_a_row": 3,
        "missed_count": 0,
        "target": "https://hooks.example.com/run",
        **values,
    }
    channel = Channel.EMAIL if to else Channel.SLACK
    put([Telling(channel=channel, recipient=to, fact=fact)], now=NOON)


def finish(runs: list[JobExecution], now: datetime = NOON) -> None:
    for run in runs:
        run.job.consecutive_failures = 0 if run.status == "success" else 1
    tell_finished(runs, now=now)


def text_of(mail: Any) -> str:
    return str(mail.get_body(("plain",)).get_content())


# ---- mail ------------------------------------------------------------------------------------------------


def test_a_mail_has_both_parts_and_what_mail_programs_ask_for(
    mailer: Sender, mail_sink: MailSink, settings: Any
) -> None:
    settings.DEFAULT_FROM_EMAIL = "Cron <cron@acme.example>"
    settings.PUBLIC_BASE_URL = "https://cron.acme.example"
    tell(to="ops@example.com")

    assert mailer.run_once()

    (mail,) = mail_sink.mails
    message = Message.objects.get()
    assert mail_sink.recipients == ["ops@example.com"]
    assert mail["Subject"] == "[cronsched] Backup failed (3 times in a row)"
    assert mail["From"] == "Cron <cron@acme.example>"
    assert mail["Message-ID"] == f"<{message.message_id}@acme.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["List-Unsubscribe"].strip().startswith("<https://cron.acme.example/unsubscribe/")
    text = text_of(mail)
    html = mail.get_body(("html",)).get_content()
    for words in (
        "2026-03-10 21:00 (Asia/Tokyo)",
        "Boom.",
        "500",
        "uma",
        "Ops",
        "/admin/jobs/jobexecution/e/",
    ):
        assert words in text, words
        assert words in html, words
    assert "<b>oh no</b>" in text
    assert "&lt;b&gt;oh no&lt;/b&gt;" in html
    assert message.state == "sent"


@pytest.mark.parametrize("event", list(VERBS))
def test_every_event_has_its_mail(mailer: Sender, mail_sink: MailSink, event: Event) -> None:
    tell(job="夜間 & <Backup>\r\nBcc: x@example.com", to="ops@example.com", event=event)

    mailer.run_once()

    (mail,) = mail_sink.mails
    assert mail["Subject"].strip().startswith("[cronsched] 夜間 & <Backup> Bcc: x@example.com")
    assert mail["Bcc"] is None
    assert "夜間 &amp; &lt;Backup&gt;" in mail.get_body(("html",)).get_content()
    assert "{" not in text_of(mail)


def test_a_server_that_is_away_keeps_everything(mailer: Sender, mail_sink: MailSink, wall: Wall) -> None:
    mail_sink.stop()
    for number in range(30):
        tell(to=f"{number}@example.com")

    assert not mailer.run_once()
    assert Counter(Message.objects.values_list("state", "attempts")) == {("queued", 0): 29, ("queued", 1): 1}
    assert "No mail server at 127.0.0.1" in Message.objects.get(attempts=1).last_error
    wall.now += MINUTE
    assert not mailer.run_once()
    mail_sink.start()
    wall.now += MINUTE
    while mailer.run_once():
        pass

    assert sorted(mail_sink.recipients) == sorted(f"{number}@example.com" for number in range(30))
    assert set(Message.objects.values_list("state", flat=True)) == {"sent"}


@pytest.mark.parametrize(
    ("answer", "state"), [("550 5.1.1 no such user", "failed"), ("451 4.7.1 greylisted", "queued")]
)
def test_one_refused_address_holds_up_no_other(
    mailer: Sender, mail_sink: MailSink, answer: str, state: str
) -> None:
    mail_sink.answers["bad@example.com"] = answer
    for address in ("a@example.com", "bad@example.com", "z@example.com"):
        tell(to=address)

    mailer.run_once()

    assert sorted(mail_sink.recipients) == ["a@example.com", "z@example.com"]
    bad = Message.objects.get(recipient="bad@example.com")
    assert bad.state == state
    assert answer.split(" ", 1)[1] in bad.last_error


def test_a_server_that_refuses_us_holds_the_channel_and_not_each_mail(
    mailer: Sender, mail_sink: MailSink, settings: Any, wall: Wall
) -> None:
    settings.DEFAULT_FROM_EMAIL = "cron@acme.example"
    mail_sink.answers["cron@acme.example"] = "553 5.7.1 not your address"
    for address in ("a@example.com", "b@example.com"):
        tell(to=address)

    assert not mailer.run_once()
    assert sorted(Message.objects.values_list("attempts", "is_held")) == [(0, True), (1, True)]
    assert set(Message.objects.values_list("last_error", flat=True)) == {
        "The mail server answered 553: 5.7.1 not your address"
    }
    mail_sink.answers.clear()
    wall.now += MINUTE
    mailer.run_once()
    mailer.run_once()
    assert sorted(mail_sink.recipients) == ["a@example.com", "b@example.com"]


def test_a_mail_that_is_too_large_is_given_up_alone(
    mailer: Sender, mail_sink: MailSink, settings: Any
) -> None:
    settings.DEFAULT_FROM_EMAIL = "cron@acme.example"
    mail_sink.answers["cron@acme.example"] = "552 5.3.4 too large"
    tell(to="a@example.com")

    mailer.run_once()

    assert (Message.objects.get().state, mailer.pause_s) == ("failed", 0)


def test_an_address_that_no_mail_can_have_is_given_up(mailer: Sender) -> None:
    tell(to="not an address\nBcc: x@example.com")
    tell(to="ok@example.com")

    mailer.run_once()

    assert sorted(Message.objects.values_list("state", flat=True)) == ["failed", "sent"]


def test_a_database_that_is_silent_for_a_moment_makes_no_second_mail(
    mailer: Sender, mail_sink: MailSink, monkeypatch: Any
) -> None:
    faults = [OperationalError("gone away"), OperationalError("gone away")]

    def record_at_last(*args: Any, **kwargs: Any) -> None:
        if faults:
            raise faults.pop()
        record(*args, **kwargs)

    monkeypatch.setattr(sender, "record", record_at_last)
    monkeypatch.setattr(sender, "RECORD_AGAIN_S", 0)
    # The test's own transaction lives on this connection.
    monkeypatch.setattr(sender.connection, "close", lambda: None)
    tell(to="ops@example.com")

    mailer.run_once()
    mailer.run_once()

    assert (len(mail_sink.mails), Message.objects.get().state) == (1, "sent")


def test_who_loses_the_lead_in_a_batch_hands_the_rest_back(mail_sink: MailSink, wall: Wall) -> None:
    answers = iter([True, True])
    tell(to="ann@example.com")
    tell(to="bob@example.com")
    tell(to="cat@example.com")
    mailer = Sender(Channel.EMAIL, MailTransport, is_leading=lambda: next(answers, False), now=wall)

    mailer.run_once()

    assert len(mail_sink.mails) == 2
    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": 2, "queued": 1}


def test_who_was_suspended_in_a_batch_sends_no_more_of_it(
    mail_sink: MailSink, wall: Wall, steady: Steady, monkeypatch: Any
) -> None:
    """Their claims may have run out meanwhile, and another leader may have sent them."""
    tell(to="ann@example.com")
    tell(to="bob@example.com")
    mailer = Sender(Channel.EMAIL, MailTransport, is_leading=lambda: True, now=wall, steady=steady)

    def record_and_sleep(message: Message, outcome: Outcome, *, now: datetime) -> None:
        record(message, outcome, now=now)
        steady.now += sender.BATCH_TIME_S + 1

    monkeypatch.setattr(sender, "record", record_and_sleep)

    mailer.run_once()

    assert len(mail_sink.mails) == 1
    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": 1, "queued": 1}


def test_a_silent_database_is_said_once(mailer: Sender, monkeypatch: Any, caplog: Any) -> None:
    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("gone away")

    monkeypatch.setattr(sender, "claim", gone)
    monkeypatch.setattr(sender, "close_old_connections", lambda: None)
    monkeypatch.setattr(sender.connection, "close", lambda: None)

    for _ in range(3):
        mailer._turn()

    assert caplog.text.count("does not answer") == 1


# ---- Slack -----------------------------------------------------------------------------------------------


def test_slack_gets_blocks_a_mention_and_nothing_unescaped(slacker: Sender, slack_sink: HttpSink) -> None:
    tell(job="<!channel> & Co|x")

    slacker.run_once()

    (call,) = slack_sink.calls
    body = call.json()
    assert call.headers["content-type"].startswith("application/json")
    assert (body["channel"], body["link_names"]) == ("#ops", True)
    assert body["text"] == "&lt;!channel&gt; &amp; Co|x failed (3 times in a row) @ops"
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section"]
    assert body["blocks"][1]["text"]["text"] == "@ops"
    details = body["blocks"][2]["text"]["text"]
    assert "<!channel>" not in details
    assert "|&lt;!channel&gt; &amp; Co¦x> failed" in details
    assert "```&lt;b&gt;oh no&lt;/b&gt;```" in details
    assert "2026-03-10 21:00 (Asia/Tokyo)" in details
    assert Message.objects.get().state == "sent"


@pytest.mark.parametrize(
    ("reply", "state", "within"),
    [
        (Reply(status=500), "queued", 60),
        (Reply(drop=True), "queued", 60),
        (Reply(status=429, headers={"Retry-After": "120"}), "queued", 120),
        (Reply.redirect("https://example.com/"), "queued", 60),
        (Reply(status=403, body="action_prohibited"), "queued", 60),
        (Reply(status=404, body="no_service"), "queued", 60),
        (Reply(status=410, body="channel_is_archived"), "queued", 60),
        (Reply(status=400, body="no_team"), "queued", 60),
    ],
)
def test_what_slack_answers(
    slacker: Sender, slack_sink: HttpSink, reply: Reply, state: str, within: int
) -> None:
    slack_sink.on(HOOK, reply)
    tell()

    slacker.run_once()

    message = Message.objects.get()
    assert message.state == state
    assert 0 < (message.next_attempt_at - NOON).total_seconds() <= within
    assert message.last_error
    assert message.is_held
    assert "secret-of-slack" not in message.last_error


def test_a_message_that_slack_cannot_read_is_given_up(slacker: Sender, slack_sink: HttpSink) -> None:
    slack_sink.on(HOOK, Reply(status=400, body="invalid_blocks"))
    tell()

    slacker.run_once()

    message = Message.objects.get()
    assert (message.state, message.last_error) == ("failed", "Slack answered 400: invalid_blocks")
    assert slacker.pause_s == 0


def test_retry_after_holds_back_the_whole_channel(slacker: Sender, slack_sink: HttpSink, wall: Wall) -> None:
    slack_sink.on(HOOK, Reply(status=429, headers={"Retry-After": "120"}))
    tell()

    assert not slacker.run_once()
    assert slacker.pause_s == 120


def hold_back(slack_sink: HttpSink, settings: Any, why: str) -> None:
    if why == "revoked":
        slack_sink.on(HOOK, Reply(status=404, body="no_service"))
    elif why == "off":
        update_slack_settings(data={"is_enabled": False}, by=None, now=NOON)
    else:
        settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = False


@pytest.mark.parametrize("why", ["revoked", "off", "blocked"])
def test_slack_that_cannot_be_reached_keeps_its_messages_until_it_is_mended(
    slacker: Sender, slack_sink: HttpSink, settings: Any, wall: Wall, why: str
) -> None:
    hold_back(slack_sink, settings, why)
    tell()
    for _ in range(30):
        slacker.run_once()
        wall.now += 10 * MINUTE
    assert Message.objects.get().state == "queued"
    calls = len(slack_sink.calls)

    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    slack_sink.on("/mended", Reply())
    url = slack_sink.url("/mended")
    update_slack_settings(data={"is_enabled": True, "webhook_url": url}, by=None, now=wall.now)
    slacker.run_once()

    assert Message.objects.get().state == "sent"
    assert len(slack_sink.calls) == calls + 1


def test_new_settings_are_tried_at_once(slacker: Sender, slack_sink: HttpSink, wall: Wall) -> None:
    slack_sink.on(HOOK, Reply(status=404, body="no_service"))
    tell()
    slacker.run_once()

    slack_sink.on(HOOK, Reply())
    update_slack_settings(data={"channel": "#elsewhere"}, by=None, now=wall.now)
    slacker.run_once()

    assert Message.objects.get().state == "sent"


def test_a_refused_mail_is_tried_once_when_the_server_is_back(
    mailer: Sender, mail_sink: MailSink, wall: Wall
) -> None:
    mail_sink.answers["bad@example.com"] = "451 4.7.1 greylisted"
    mail_sink.stop()
    tell(to="bad@example.com")
    mailer.run_once()
    mail_sink.start()
    wall.now += MINUTE

    for _ in range(5):
        mailer.run_once()

    assert Message.objects.get().attempts == 2


@pytest.mark.parametrize(
    "text",
    ["@channel", "@here now", "mail (@everyone)", "<!channel>", "<@U0123ABCD>", "a\n@ops b", "@nobody"],
)
def test_nothing_but_the_teams_handle_notifies_anybody(
    slacker: Sender, slack_sink: HttpSink, text: str
) -> None:
    tell(job=text, error=text, answer=text, owner=text, team=text, target=text)
    slacker.run_once()

    (call,) = slack_sink.calls
    body = call.json()
    assert body["text"].endswith(" @ops")
    assert not CALLS_SOMEBODY.search(body["text"].removesuffix(" @ops"))
    for block in body["blocks"][1:]:
        if block["text"]["text"] == "@ops":
            assert "verbatim" not in block["text"]
        else:
            assert block["text"]["verbatim"] is True
            assert not CALLS_SOMEBODY.search(block["text"]["text"])
    assert body["blocks"][0]["text"]["type"] == "plain_text"


@pytest.mark.parametrize("letter", ["x", "<", "@a ", "夜"])
def test_a_long_answer_stays_within_slacks_limits_and_is_cut_between_letters(
    slacker: Sender, slack_sink: HttpSink, letter: str
) -> None:
    tell(job=letter * 255, error=letter * 1000, answer=letter * 600, note=letter * 900, target=letter * 800)
    slacker.run_once()

    blocks = slack_sink.calls[0].json()["blocks"]
    texts = [block["text"]["text"] for block in blocks]
    assert len(blocks) <= 50
    assert max(map(len, texts)) <= 3000
    assert not re.search(r"&(?!amp;|lt;|gt;)", "".join(texts[1:]))
    assert all(text.count("```") % 2 == 0 for text in texts)
    assert texts[-1].endswith("|open in the frontend>")


# ---- what changed while it waited ------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["deactivated", "deleted", "unwilling", "unsubscribed", "moved"])
def test_mail_that_waited_asks_again_whether_it_is_wanted(
    mailer: Sender, mail_sink: MailSink, fate: str
) -> None:
    owner = UserFactory(email="owner@example.com")
    job = JobFactory(
        created_by=owner, enable_email_notifications=True, notification_emails=["ops@example.com"]
    )
    finish([ExecutionFactory(job=job, failed=True)])

    if fate == "deactivated":
        owner.is_active = False
        owner.save()
    elif fate == "deleted":
        owner.delete()
    elif fate == "unwilling":
        update_preferences(owner, changes={"email_on_job_failure": False}, now=NOON)
    elif fate == "moved":
        # The address may have been mistyped, and be a stranger's.
        owner.email = "owner@example.org"
        owner.save()
    else:
        unsubscribe(Subscription(address="owner@example.com", topics=["email_on_job_failure"]), now=NOON)
    mailer.run_once()

    assert mail_sink.recipients == ["ops@example.com"]
    unwanted = Message.objects.get(recipient="owner@example.com")
    assert unwanted.state == "failed"
    assert unwanted.last_error.startswith("Not sent: ")


def test_an_address_that_the_job_lists_is_no_matter_of_preferences(
    mailer: Sender, mail_sink: MailSink
) -> None:
    owner = UserFactory(email="owner@example.com")
    job = JobFactory(
        created_by=owner, enable_email_notifications=True, notification_emails=["owner@example.com"]
    )
    finish([ExecutionFactory(job=job, failed=True)])
    update_preferences(owner, changes={"email_on_job_failure": False}, now=NOON)

    mailer.run_once()

    assert mail_sink.recipients == ["owner@example.com"]


def test_a_digest_that_waited_spares_who_turned_it_off(mailer: Sender, mail_sink: MailSink) -> None:
    owner = UserFactory()
    update_preferences(owner, changes={"daily_digest": True}, now=NOON)
    ExecutionFactory(job=JobFactory(created_by=owner), started_at=NOON - timedelta(days=1))
    assert send_digests(daily_edition(NOON), now=NOON) == 1
    update_preferences(owner, changes={"daily_digest": False}, now=NOON)

    mailer.run_once()

    assert (mail_sink.mails, Message.objects.get().state) == ([], "failed")


# ---- a burst ---------------------------------------------------------------------------------------------


def test_a_thousand_failures_are_one_or_two_messages_for_each(
    mailer: Sender, slacker: Sender, mail_sink: MailSink, slack_sink: HttpSink, wall: Wall
) -> None:
    owner = UserFactory(email="owner@example.com")
    jobs = JobFactory.create_batch(
        1000,
        created_by=owner,
        enable_email_notifications=True,
        notification_emails=["ops@example.com"],
        category__slug="general",
        pic_team=JobFactory().pic_team,
    )
    runs = [ExecutionFactory(job=job, failed=True) for job in jobs]

    for start in range(0, 1000, 100):
        finish(runs[start : start + 100], now=wall.now)
        mailer.run_once()
        slacker.run_once()
        wall.now += timedelta(seconds=1)
    wall.now += MINUTE
    mailer.run_once()
    slacker.run_once()

    assert Counter(mail_sink.recipients) == {"owner@example.com": 2, "ops@example.com": 2}
    subjects = sorted({str(mail["Subject"]) for mail in mail_sink.mails})
    assert subjects == ["[cronsched] 100 jobs failed", "[cronsched] 900 jobs failed"]
    assert "... and 800 more" in text_of(mail_sink.mails[-1])
    titles = [call.json()["blocks"][0]["text"]["text"] for call in slack_sink.calls]
    assert titles == ["100 jobs failed", "900 jobs failed"]
    assert len(slack_sink.calls[1].json()["blocks"]) <= 50


def test_both_servers_away_and_back_in_the_middle_of_a_burst(
    mailer: Sender, slacker: Sender, mail_sink: MailSink, slack_sink: HttpSink, wall: Wall
) -> None:
    """Nothing is lost: every failure is in one message or another, once."""
    names = [f"Job {number:02}" for number in range(60)]
    for number, name in enumerate(names):
        if number == 20:
            mail_sink.stop()
            slack_sink.on(HOOK, Reply(status=500))
        if number == 40:
            mail_sink.start()
            slack_sink.on(HOOK, Reply())
        run = ExecutionFactory(
            job=JobFactory(
                name=name, enable_email_notifications=True, notification_emails=["ops@example.com"]
            ),
            failed=True,
        )
        finish([run], now=wall.now)
        mailer.run_once()
        slacker.run_once()
        wall.now += timedelta(seconds=10)
    for _ in range(10):
        wall.now += MINUTE
        mailer.run_once()
        slacker.run_once()

    mails = [text_of(mail) for mail in mail_sink.mails if mail["To"] == "ops@example.com"]
    told = Counter(name for name in names for text in mails if f"{name} failed" in text)
    assert told == dict.fromkeys(names, 1)
    posts = [str(call.json()) for call in slack_sink.calls]
    assert all(any(f"|{name}> failed" in post for post in posts) for name in names)
    assert not Message.objects.filter(state__in=["queued", "sending", "failed"]).exists()


# ---- every row of the table ------------------------------------------------------------------------------


def test_every_row_of_the_table_arrives(
    mailer: Sender, slacker: Sender, mail_sink: MailSink, slack_sink: HttpSink, wall: Wall
) -> None:
    owner = UserFactory(email="owner@example.com")
    update_preferences(owner, changes={"email_on_job_disabled": True}, now=NOON)
    job = JobFactory(name="Backup", created_by=owner, enable_email_notifications=True, notify_on_success=True)

    def arrived(happening: Any) -> tuple[list[str], list[str]]:
        mails, posts = len(mail_sink.mails), len(slack_sink.calls)
        happening()
        mailer.run_once()
        slacker.run_once()
        wall.now += 2 * MINUTE
        return (
            [str(mail["Subject"]).removeprefix("[cronsched] ") for mail in mail_sink.mails[mails:]],
            [call.json()["blocks"][0]["text"]["text"] for call in slack_sink.calls[posts:]],
        )

    def run(**values: Any) -> Any:
        return lambda: finish([ExecutionFactory(job=job, **values)], now=wall.now)

    def change(action: str, by: Any = None) -> Any:
        return lambda: tell_changed(job, action, now=wall.now, by=by)

    assert arrived(run()) == (["Backup succeeded"], [])
    assert arrived(run(status="missed")) == (["Backup was missed"], ["Backup was missed"])
    assert arrived(run(failed=True)) == (["Backup failed"], ["Backup failed"])
    assert arrived(run()) == (["Backup recovered"], ["Backup recovered"])
    assert arrived(change("expired")) == (["Backup was paused at its end date"],) * 2
    assert arrived(change("disabled", by=UserFactory(admin=True))) == (["Backup was disabled"], [])
    assert arrived(change("updated", by=owner)) == ([], [])


def test_the_reminder_and_both_digests_arrive(
    mailer: Sender, slacker: Sender, mail_sink: MailSink, slack_sink: HttpSink, wall: Wall
) -> None:
    """On the Monday whose 08:00 and 09:00, in Tokyo, have just gone by."""
    wall.now = monday = datetime(2026, 3, 16, 0, 1, tzinfo=UTC)
    owner = UserFactory(email="owner@example.com")
    update_preferences(owner, changes={"daily_digest": True, "weekly_report": True}, now=monday)
    job = JobFactory(
        name="Backup", created_by=owner, cron_expression="0 10 * * *", end_date=date(2026, 3, 20)
    )
    ExecutionFactory(job=job, failed=True, started_at=monday - timedelta(hours=3))

    for happening in (
        lambda: send_digests(daily_edition(monday), now=monday),
        lambda: send_digests(weekly_edition(monday), now=monday),
        lambda: send_end_date_reminders(now=monday),
    ):
        happening()
        mailer.run_once()
        slacker.run_once()
        wall.now += 2 * MINUTE

    subjects = [str(mail["Subject"]).removeprefix("[cronsched] ") for mail in mail_sink.mails]
    assert [subject.split(":")[0] for subject in subjects] == ["Daily digest", "Weekly report"]
    assert all("Backup" in text_of(mail) for mail in mail_sink.mails)
    (post,) = slack_sink.calls
    assert post.json()["text"] == "1 job ends within 30 days @team"


# ---- the thread ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_threads_send_while_they_lead_and_stop(
    mail_sink: MailSink, settings: Any, close_thread_connections: None
) -> None:
    leads = threading.Event()
    senders = Senders(is_leading=leads.is_set)
    tell(to="ops@example.com")
    senders.start()
    assert mail_sink.mails == []

    leads.set()
    assert len(mail_sink.wait_for(1)) == 1
    senders.stop(10)

    assert not any(thread.name.endswith(" sender") for thread in threading.enumerate())


def test_a_message_that_cannot_be_built_is_given_up_and_holds_up_no_other(
    mailer: Sender, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell("Broken", to="broken@example.com")
    tell("Fine", to="fine@example.com")

    def break_one(message: Message) -> Any:
        if message.recipient == "broken@example.com":
            raise ValueError("no")
        return build_mail(message)

    monkeypatch.setattr("notifications.engine.mail.build_mail", break_one)
    mailer.run_once()

    assert mail_sink.recipients == ["fine@example.com"]
    broken = Message.objects.get(recipient="broken@example.com")
    assert (broken.state, broken.last_error) == ("failed", "It could not be built: ValueError.")


def test_a_database_that_fails_while_a_mail_is_made_gives_up_no_mail(
    mailer: Sender, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch, wall: Wall
) -> None:
    def gone(message: Message) -> str:
        raise OperationalError("gone away")

    tell(to="ops@example.com")
    with monkeypatch.context() as patch:
        patch.setattr("notifications.engine.mail.why_unwanted", gone)
        with pytest.raises(OperationalError):
            mailer.run_once()

    wall.now += 6 * MINUTE
    mailer.run_once()
    assert mail_sink.recipients == ["ops@example.com"]
