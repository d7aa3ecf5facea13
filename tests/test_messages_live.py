"""Every row of the table of messages, and a burst, from a real scheduler to a mail server and to Slack.

Both are stand-ins on loopback. Long, because the minute in which messages are gathered is a real one.
`MESSAGES_FOLDER=/tmp/x` keeps all that arrived, to be looked at: docs/messages.md shows some of it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from accounts.tests.factories import UserFactory
from cronsched.core import clock
from cronsched.testing.http_sink import HttpSink, Reply
from cronsched.testing.mail_sink import MailSink
from jobs.engine.slots import schedule_key
from jobs.models import Job, JobExecution
from jobs.services.lifecycle import delete_job, update_job
from jobs.services.manual import run_job_now
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.digest import daily_edition
from notifications.models import Message, Notification
from notifications.services.preferences import update_preferences
from notifications.services.slack_settings import update_slack_settings
from taxonomy.models import JobCategory, PicTeam
from taxonomy.services import create_category, create_team
from tests.chaos.harness import YEARLY, Schedulers, all_ended, in_seconds, schedulers_in, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases, pytest.mark.slow]
HOOK = "/services/T000/B000/secret-of-slack"
URL = "https://cron.example.com"


class World:
    """A scheduler process with its mail server, Slack and receiver."""

    def __init__(self, folder: Path, schedulers: Schedulers, mails: MailSink, calls: HttpSink) -> None:
        self.schedulers, self.mails, self.calls = schedulers, mails, calls
        self.folder = Path(os.environ.get("MESSAGES_FOLDER") or folder)
        self.boss = UserFactory(username="boss", email="boss@example.com", admin=True)
        self.category = JobCategory.objects.first() or create_category(
            name="General", by=self.boss, now=clock.now()
        )
        self.team = create_team(name="Platform", slack_handle="@platform", by=self.boss, now=clock.now())
        calls.on("/bad/nightly", Reply(status=503, body='{"error": "disk full",\n "free": "0 B"}'))

    def start(self) -> None:
        self.schedulers.start_leader(
            MAIL_ENABLED="true",
            MAIL_SERVER="127.0.0.1",
            MAIL_PORT=str(self.mails.port),
            MAIL_USE_TLS="false",
            MAIL_DEFAULT_SENDER="cronsched <cron@example.com>",
            PUBLIC_BASE_URL=URL,
            FRONTEND_BASE_URL="https://app.example.com",
            SCHEDULER_POLL_SECONDS="10",
        )

    def owner(self, name: str, **wishes: bool) -> User:
        user: User = UserFactory(username=name, email=f"{name}@example.com")
        update_preferences(user, changes={"email_on_job_disabled": True, **wishes}, now=clock.now())
        return user

    def job(self, name: str, **values: Any) -> Job:
        """One of its own owner, not due by itself."""
        values.setdefault("created_by", None)
        expression = values.setdefault("cron_expression", YEARLY)
        return JobFactory(
            **{
                "name": name,
                "category": self.category,
                "pic_team": self.team,
                "target_url": self.calls.url("/good"),
                "enable_email_notifications": True,
                "next_run_at": clock.now() + timedelta(days=300),
                "planned_schedule": schedule_key(expression, "Asia/Tokyo"),
                **values,
            }
        )

    def posts(self) -> list[dict[str, Any]]:
        return [call.json() for call in self.calls.calls_of(HOOK)]

    def keep(self, prefix: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, mail in enumerate(self.mails.mails):
            slug = re.sub(r"\W+", "-", str(mail["Subject"]).removeprefix("[cronsched] "))[:50]
            for kind in ("plain", "html"):
                text = mail.get_body((kind,)).get_content()
                name = f"{prefix}-{number:02}-{slug}.{'txt' if kind == 'plain' else 'html'}"
                (self.folder / name).write_text(text)
        for number, post in enumerate(self.posts()):
            text = json.dumps(post, indent=2, ensure_ascii=False)
            (self.folder / f"{prefix}-slack-{number}.json").write_text(text)


@pytest.fixture
def world(tmp_path: Path, mail_sink: MailSink, http_sink: HttpSink, settings: Any) -> Iterator[World]:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    now = clock.now()
    with schedulers_in(tmp_path) as schedulers:
        world = World(tmp_path, schedulers, mail_sink, http_sink)
        url = http_sink.url(HOOK)
        update_slack_settings(data={"is_enabled": True, "webhook_url": url}, by=world.boss, now=now)
        yield world


def due(job: Job, slot: datetime) -> None:
    Job.objects.filter(pk=job.pk).update(next_run_at=slot)


def text_of(mail: Any) -> str:
    return str(mail.get_body(("plain",)).get_content())


def subjects(mails: list[Any]) -> dict[str, list[str]]:
    """What each address got, in words, without the names of jobs."""
    found: dict[str, list[str]] = {}
    for mail in mails:
        found.setdefault(mail["To"], []).append(str(mail["Subject"]).removeprefix("[cronsched] "))
    return found


def test_every_row_of_the_table_arrives(world: World) -> None:
    """The chores' part (end of life, digests, reminder) is overdue at start: this scheduler never ran."""
    now = clock.now()
    morning = daily_edition(now).end
    for name in ("digest", "week", "ends", "disabled", "expired", "broken", "missed", "failed", "happy"):
        world.owner(name, daily_digest=name == "digest", weekly_report=name == "week")
    owner = {user.username: user for user in User.objects.all()}
    for name in ("digest", "week"):
        ran = world.job(f"Ran for {name}", created_by=owner[name])
        ExecutionFactory(job=ran, failed=True, scheduled_for=morning - timedelta(hours=3))
        ExecutionFactory(job=ran, scheduled_for=morning - timedelta(days=6), duration_seconds=75.5)
    world.job("Closing of the books", created_by=owner["ends"], end_date=clock.scheduler_date(now))
    expired = world.job("Campaign", created_by=owner["expired"], end_date=now.date() - timedelta(days=3))
    broken = world.job("Odd", created_by=owner["broken"], cron_expression="nonsense")
    due(broken, now)
    missed = world.job("Hourly sync", created_by=owner["missed"])
    due(missed, now - timedelta(minutes=30))

    world.start()
    wait_until(lambda: len(world.mails.mails) >= 5, 60, world.schedulers.logs)

    failed = world.job(
        "Nightly backup",
        created_by=owner["failed"],
        target_url=world.calls.url("/bad/nightly?token=secret"),
        notification_emails=["ops@example.com"],
    )
    happy = world.job("Happy", created_by=owner["happy"], notify_on_success=True)
    stopped = world.job("Stopped", created_by=owner["disabled"])
    for job in (failed, happy):
        run_job_now(job, by=world.boss, now=clock.now())
    update_job(stopped, data={"is_active": False}, by=world.boss, now=clock.now())
    wait_until(lambda: len(world.mails.mails) >= 9, 60, world.schedulers.logs)
    Job.objects.filter(pk=failed.pk).update(target_url=world.calls.url("/good"))
    run_job_now(failed, by=world.boss, now=clock.now())
    told = lambda: [line for post in world.posts() for line in json.dumps(post).split("\\n")]  # noqa: E731
    wait_until(
        lambda: len(world.mails.mails) >= 11 and "recovered" in "".join(told()), 150, world.schedulers.logs
    )
    world.keep("table")

    got = subjects(world.mails.mails)
    assert got == {
        "digest@example.com": ["Daily digest: 1 run, 1 failed"],
        "week@example.com": [got["week@example.com"][0]],
        "expired@example.com": ["Campaign was paused at its end date"],
        "broken@example.com": ["1 job missed a run, 1 job was switched off as broken"],
        "missed@example.com": ["Hourly sync was missed"],
        "failed@example.com": ["Nightly backup failed", "Nightly backup recovered"],
        "ops@example.com": ["Nightly backup failed", "Nightly backup recovered"],
        "happy@example.com": ["Happy succeeded"],
        "disabled@example.com": ["Stopped was disabled"],
    }
    assert got["week@example.com"][0].startswith("Weekly report: ")
    (mail,) = [mail for mail in world.mails.mails if mail["Subject"].endswith("backup failed")][:1]
    assert "503" in text_of(mail)
    assert '"error": "disk full"' in text_of(mail)
    assert "token=secret" not in text_of(mail)

    lines = "\n".join(told())
    for words in (
        "Hourly sync> was missed",
        "Nightly backup> failed",
        "Nightly backup> recovered",
        "Campaign> was paused at its end date",
        "Odd> was switched off",
        "Closing of the books> ends",
    ):
        assert words in lines, words
    assert "Happy" not in lines
    assert "Stopped" not in lines
    assert "secret" not in lines
    assert lines.count("@platform") >= 2

    assert {expired.pk, broken.pk} <= set(Job.objects.filter(is_active=False).values_list("pk", flat=True))
    assert_inapp(world)
    assert set(Message.objects.values_list("state", flat=True)) <= {"sent", "merged"}


def assert_inapp(world: World) -> None:
    """The column "in-app" of the table."""
    other = UserFactory(username="other")
    now = clock.now()
    job = world.job("Third", created_by=other)
    update_job(job, data={"name": "Third job"}, by=world.boss, now=now)
    update_job(job, data={"is_active": False}, by=world.boss, now=now)
    update_job(job, data={"is_active": True}, by=world.boss, now=now)
    delete_job(job, by=world.boss, now=now)
    seen = set(Notification.objects.values_list("user__username", "type", "title"))
    for username, kind, title in (
        ("happy", "success", "Happy succeeded"),
        ("failed", "error", "Nightly backup failed"),
        ("boss", "error", "Nightly backup failed"),
        ("failed", "success", "Nightly backup recovered"),
        ("missed", "warning", "Hourly sync was missed"),
        ("boss", "warning", "Hourly sync was missed"),
        ("expired", "warning", "Campaign was paused: its end date has gone by"),
        ("boss", "warning", "Campaign was paused: its end date has gone by"),
        ("ends", "warning", f"Closing of the books ends on {clock.scheduler_date(now)}"),
        *(
            ("other", "info", f"Third job was {word}")
            for word in ("updated", "disabled", "enabled", "deleted")
        ),
        ("boss", "info", "PIC team Platform was created"),
        ("boss", "info", "Slack settings were changed"),
    ):
        assert (username, kind, title) in seen, (username, kind, title, sorted(seen))


@pytest.mark.parametrize("is_disturbed", [False, True], ids=["at rest", "servers away and back"])
def test_a_thousand_failures_are_counted_and_none_is_lost(world: World, is_disturbed: bool) -> None:
    owner = world.owner("owner")
    PicTeam.objects.filter(pk=world.team.pk).update(slack_handle="<!subteam^S0123ABCD>")
    world.calls.by_default(Reply(status=500, body="no"))
    world.calls.on(HOOK, Reply(body="ok"))
    world.start()
    jobs = [
        world.job(
            f"Burst {number:03}",
            created_by=owner,
            target_url=world.calls.url(f"/burst/{number}"),
            notification_emails=["ops@example.com"],
            next_run_at=None,
            is_active=False,
        )
        for number in range(1000)
    ]
    start = in_seconds(2)
    for second in range(20):
        due = [job.pk for job in jobs[second * 50 : (second + 1) * 50]]
        slot = start + timedelta(seconds=second)
        Job.objects.filter(pk__in=due).update(is_active=True, next_run_at=slot)
    if is_disturbed:
        wait_until(lambda: Message.objects.filter(state="sent").count() >= 3, 60, world.schedulers.logs)
        world.mails.stop()
        world.calls.on(HOOK, Reply(status=500, body="down"))
    wait_until(lambda: JobExecution.objects.count() == 1000 and all_ended(), 180, world.schedulers.logs)
    if is_disturbed:
        world.mails.start()
        world.calls.on(HOOK, Reply(body="ok"))
    wait_until(
        lambda: not Message.objects.filter(state__in=["queued", "sending"]).exists(),
        240,
        world.schedulers.logs,
    )
    kind = "burst-disturbed" if is_disturbed else "burst-rest"
    world.keep(kind)

    by_status = Counter(JobExecution.objects.values_list("status", flat=True))
    mails = Counter(mail["To"] for mail in world.mails.mails)
    said: Counter[str] = Counter()
    for mail in world.mails.mails:
        said[mail["To"]] += counted(str(mail["Subject"]))
    accepted = Message.objects.filter(channel="slack", state="sent")
    said["slack"] = sum(sum(message.payload["counts"].values()) for message in accepted)
    figures = f"runs={dict(by_status)} mails={dict(mails)} posts={accepted.count()} said={dict(said)}"
    assert said == {"owner@example.com": 1000, "ops@example.com": 1000, "slack": 1000}, figures
    assert set(mails) == {"owner@example.com", "ops@example.com"}
    assert max(mails.values()) <= (5 if is_disturbed else 3)
    assert accepted.count() <= (5 if is_disturbed else 3)
    assert set(Message.objects.values_list("state", flat=True)) == {"sent", "merged"}
    (world.folder / f"{kind}-figures.txt").write_text(figures)


def counted(subject: str) -> int:
    """The failures and missed runs that a subject speaks of."""
    numbers = re.findall(r"([\d,]+) jobs? (?:failed|missed)", subject)
    return sum(int(number.replace(",", "")) for number in numbers) or 1
