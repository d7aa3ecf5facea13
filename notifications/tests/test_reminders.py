"""The weekly reminder: who hears of jobs that end soon, and of ownerless ones."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from jobs.tests.factories import NOON, JobFactory
from notifications.engine.slack import build_post
from notifications.models import Channel, Event, Message, Notification
from notifications.outbox import make_message
from notifications.reminders import send_end_date_reminders
from notifications.services.slack_settings import update_slack_settings
from taxonomy.tests.factories import TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
# 09:00 in Tokyo.
MONDAY = datetime(2026, 3, 9, 0, 0, tzinfo=UTC)
TODAY = date(2026, 3, 9)
URL = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"


@pytest.fixture(autouse=True)
def slack():
    update_slack_settings(data={"is_enabled": True, "webhook_url": URL}, by=None, now=MONDAY)


def ending(days: int, **values: Any) -> Any:
    return JobFactory(end_date=TODAY + timedelta(days=days), **values)


@pytest.mark.parametrize(("days", "told"), [(-1, 0), (0, 1), (30, 1), (31, 0)])
def test_what_ends_within_30_days(days, told):
    job = ending(days, name="Backup")

    assert send_end_date_reminders(now=MONDAY) == told

    notices = Notification.objects.filter(user=job.created_by)
    assert list(notices.values_list("type", "title", "related_job")) == told * [
        ("warning", f"Backup ends on {job.end_date}", job.pk)
    ]
    assert Message.objects.count() == told


def test_paused_jobs_and_jobs_without_an_end_date_are_left_alone():
    ending(3, paused=True)
    JobFactory(end_date=None)

    assert send_end_date_reminders(now=MONDAY) == 0


def test_slack_gets_one_message_by_team_and_owner_with_links(settings):
    settings.PUBLIC_BASE_URL = "https://cron.example"
    ops = TeamFactory(name="Ops", slack_handle="<!subteam^S0123ABCD>")
    uma, bob = UserFactory(username="uma"), UserFactory(username="bob")
    late = ending(20, name="Late", pic_team=ops, created_by=uma)
    ending(5, name="Soon", pic_team=ops, created_by=uma)
    ending(9, name="<Bob's>", pic_team=ops, created_by=bob)
    ending(7, name="Lone", pic_team=None, created_by=None)

    send_end_date_reminders(now=MONDAY)

    body = build_post(Message.objects.get())
    assert body["text"] == "4 jobs end within 30 days <!subteam^S0123ABCD>"
    mentions, teams = (block["text"]["text"] for block in body["blocks"][1:])
    assert mentions == "<!subteam^S0123ABCD>"
    lines = [re.sub(r"<https.*\|(.*)>", r"\1", line) for line in teams.splitlines()]
    assert lines == [
        "*No team*: 1 job",
        "nobody:",
        "• Lone ends 2026-03-16",
        "",
        "*Ops*: 3 jobs",
        "bob:",
        "• &lt;Bob's&gt; ends 2026-03-18",
        "uma:",
        "• Soon ends 2026-03-14",
        "• Late ends 2026-03-29",
    ]
    assert f"<https://cron.example/admin/jobs/job/{late.pk}/change/?focus=end_date|Late>" in teams


@pytest.mark.parametrize(
    ("teams", "jobs", "named"), [(3, 20, 15), (45, 5, 1), (49, 1, 1), (120, 3, 0), (400, 1, 0)]
)
def test_every_team_is_named_within_what_slack_takes(teams, jobs, named):
    entry = {
        "job_id": "0" * 36,
        "job": "Monthly closing of the books",
        "end_date": "2026-03-20",
        "owner": "u",
    }
    payload = {
        "title": "Many",
        "handles": [f"<!subteam^S{number:08}>" for number in range(teams)],
        "teams": [{"team": f"Team {number}", "jobs": [entry] * jobs} for number in range(teams)],
    }

    body = build_post(make_message(Channel.SLACK, "", Event.END_DATE_REMINDER, payload, now=MONDAY))

    texts = [block["text"]["text"] for block in body["blocks"]]
    assert len(texts) <= 50
    assert max(map(len, texts)) <= 3000
    written = "\n".join(text for text in texts if "subteam" not in text)
    assert sum(map(len, texts)) <= 12_000
    heads = [line for line in written.splitlines() if line.startswith("*Team")]
    assert len(heads) == teams or f"… and {teams - len(heads)} more teams" in written
    assert written.count("• <") == named * len(heads)
    assert all(line.count("<") == line.count(">") for line in written.splitlines()), "no line is cut"
    assert "\n".join(texts).count("<!subteam") == min(teams, 138)


def test_slack_hears_of_a_job_once_a_week():
    def told(moment: datetime) -> list[int]:
        send_end_date_reminders(now=moment)
        rows = Message.objects.order_by("id")
        counts = [sum(len(team["jobs"]) for team in row.payload["teams"]) for row in rows]
        rows.delete()
        return counts

    ending(20)
    assert told(MONDAY) == [1]
    ending(3)
    assert told(MONDAY + timedelta(hours=30)) == [1]
    assert told(MONDAY + timedelta(days=2)) == []
    assert told(MONDAY + timedelta(days=7)) == [1]


def test_admins_hear_of_ownerless_jobs():
    UserFactory(username="boss", admin=True)
    JobFactory(created_by=None)
    JobFactory(created_by=UserFactory(inactive=True))

    send_end_date_reminders(now=MONDAY)

    notice = Notification.objects.get()
    assert (notice.user.username, notice.title) == ("boss", "2 jobs have no active owner")


def test_without_slack_owners_hear_all_the_same():
    update_slack_settings(data={"is_enabled": False}, by=None, now=MONDAY)
    ending(3)

    send_end_date_reminders(now=MONDAY)

    assert (Notification.objects.count(), Message.objects.count()) == (1, 0)


def test_statements_do_not_grow_with_the_jobs():
    def statements(count: int, week: int) -> int:
        for _ in range(count):
            ending(30)
        Notification.objects.all().delete()
        with CaptureQueriesContext(connection) as queries:
            send_end_date_reminders(now=MONDAY + timedelta(weeks=week))
        return len(queries)

    assert statements(1, 0) == statements(30, 1)


# NOON is 21:00 of 10 March in Tokyo.
TUESDAY = date(2026, 3, 10)


@pytest.mark.parametrize(
    ("days", "values", "reminded"),
    [
        (0, {}, True),
        (30, {}, True),
        (31, {}, False),
        (-1, {}, False),
        (5, {"paused": True}, False),
        (5, {"created_by": None}, False),
    ],
)
def test_who_is_reminded_of_what(days, values, reminded):
    JobFactory(end_date=TUESDAY + timedelta(days=days), **values)

    assert send_end_date_reminders(now=NOON) == int(reminded)
    assert Notification.objects.count() == int(reminded)


def test_the_day_is_the_schedulers():
    JobFactory(end_date=TUESDAY)

    assert send_end_date_reminders(now=NOON + timedelta(hours=3)) == 0


def test_a_deactivated_owner_is_not_told():
    JobFactory(end_date=TUESDAY, created_by=UserFactory(inactive=True))

    assert send_end_date_reminders(now=NOON) == 0


def test_the_reminder_names_the_job_and_the_day_and_is_brought_up_to_date():
    job = JobFactory(name="Backup", end_date=TUESDAY)

    send_end_date_reminders(now=NOON)
    send_end_date_reminders(now=NOON)

    notice = Notification.objects.get()
    assert (notice.title, notice.type, notice.user) == (
        "Backup ends on 2026-03-10",
        "warning",
        job.created_by,
    )
    assert (notice.related_job, notice.count) == (job, 2)
    assert "later end date" in notice.message
