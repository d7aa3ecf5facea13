"""The daily digest and the weekly report."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications import digest
from notifications.digest import daily_edition, send_digests, weekly_edition
from notifications.engine.mail import build_mail
from notifications.models import Message, Occasion
from notifications.services.preferences import update_preferences

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
# Tuesday, 08:00 in Tokyo.
MORNING = datetime(2026, 3, 9, 23, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def mail(settings):
    settings.MAIL_ENABLED = True


def reader(**wishes: bool) -> Any:
    user = UserFactory()
    update_preferences(user, changes=wishes or {"daily_digest": True}, now=MORNING)
    return user


def quiet_job(user: Any, **values: Any) -> Any:
    """One that says nothing by itself: far end, never at night."""
    return JobFactory(created_by=user, cron_expression="0 10 * * *", **values)


def daily(now: datetime = MORNING) -> int:
    return send_digests(daily_edition(now), now=now)


def weekly(now: datetime = MORNING) -> int:
    return send_digests(weekly_edition(now), now=now)


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        (MORNING, MORNING - DAY, MORNING),
        (MORNING + 5 * HOUR, MORNING - DAY, MORNING),
        (MORNING - timedelta(seconds=1), MORNING - 2 * DAY, MORNING - DAY),
    ],
)
def test_the_day_ends_at_the_last_morning(now, start, end):
    edition = daily_edition(now)

    assert (edition.start, edition.end) == (start, end)


@pytest.mark.parametrize("days", range(6))
def test_the_week_ends_on_monday_morning(days):
    edition = weekly_edition(MORNING + days * DAY)

    assert (edition.start, edition.end) == (MORNING - 8 * DAY, MORNING - DAY)


def test_a_digest_has_the_figures_of_ones_own_jobs():
    user = reader()
    good, bad = quiet_job(user, name="Good"), quiet_job(user, name="Bad")
    for job, values in (
        (good, {"duration_seconds": 12.34}),
        (bad, {"failed": True}),
        (bad, {"status": "missed"}),
    ):
        ExecutionFactory(job=job, started_at=MORNING - HOUR, **values)
    ExecutionFactory(job=good, started_at=MORNING)
    ExecutionFactory(job=good, started_at=MORNING - DAY - HOUR)
    ExecutionFactory(job=good, status="running", started_at=MORNING - HOUR, completed_at=None)
    ExecutionFactory(started_at=MORNING - HOUR, failed=True)
    JobFactory(created_by=user, name="Ends", end_date=date(2026, 3, 12), cron_expression="0 10 * * *")
    JobFactory(created_by=user, name="Night", cron_expression="30 23,1 * * *")
    JobFactory(created_by=user, name="Zone", cron_expression="0 12 * * *", timezone="America/New_York")

    assert daily() == 1

    message = Message.objects.get()
    assert message.recipient == user.email
    payload = message.payload
    assert payload["title"] == "Daily digest: 3 runs, 1 failed, 1 missed"
    assert (payload["succeeded"], payload["failed"], payload["missed"]) == (1, 1, 1)
    assert [(row["job"], row["failed"], row["missed"]) for row in payload["troubled"]] == [("Bad", 1, 1)]
    assert (payload["slowest"][0]["job"], payload["slowest"][0]["seconds"]) == ("Good", 12.3)
    assert [(row["job"], row["end_date"]) for row in payload["ending"]] == [("Ends", "2026-03-12")]
    assert [(row["at"], row["job"], row["count"]) for row in payload["night"]] == [
        ("23:30", "Night", 2),
        ("01:00", "Zone", 1),
    ]
    assert payload["period"] == "2026-03-09 08:00 +09:00 – 2026-03-10 08:00 +09:00 (Asia/Tokyo)"


@pytest.mark.parametrize(("edition", "wish"), [(daily, "daily_digest"), (weekly, "weekly_report")])
def test_only_those_who_chose_it_get_it(edition, wish):
    for wishes in ({wish: True}, {wish: False}, {"email_on_job_success": True}):
        user = reader(**wishes)
        ExecutionFactory(
            job=quiet_job(user),
            started_at=MORNING - DAY - HOUR if wish == "weekly_report" else MORNING - HOUR,
        )
    gone = reader(**{wish: True})
    gone.is_active = False
    gone.save()

    assert edition() == 1


def test_nothing_is_sent_where_there_is_nothing_to_say():
    quiet_job(reader())
    reader()

    assert daily() == 0


def test_a_digest_never_comes_twice():
    ExecutionFactory(job=quiet_job(reader()), started_at=MORNING - HOUR)

    assert [daily(MORNING + number * HOUR) for number in range(3)] == [1, 0, 0]


@pytest.mark.parametrize(
    ("began", "ended", "editions"),
    [
        (-2 * HOUR, -HOUR, [1, 0]),
        (-HOUR, timedelta(), [0, 1]),
        (-HOUR, HOUR, [0, 1]),
        (-3 * DAY, HOUR, [0, 1]),
        (-HOUR, -timedelta(microseconds=1), [1, 0]),
    ],
)
def test_a_run_counts_in_the_one_edition_in_which_it_ended(began, ended, editions):
    """Also one that ran on at 08:00."""
    job = quiet_job(reader())
    ExecutionFactory(job=job, started_at=MORNING + began, completed_at=MORNING + ended)

    for day, expected in enumerate(editions):
        daily(MORNING + day * DAY)
        runs = [message.payload["succeeded"] for message in Message.objects.all()]
        Message.objects.all().delete()
        assert sum(runs) == expected, day


def test_only_what_it_needs_of_a_job_is_read():
    ExecutionFactory(job=quiet_job(reader()), started_at=MORNING - HOUR)

    with CaptureQueriesContext(connection) as queries:
        daily()

    read = "\n".join(query["sql"] for query in queries if query["sql"].startswith("SELECT"))
    assert "jobs_job" in read
    assert not any(column in read for column in ("metadata", "signing_secret", "output", "search_text"))


def test_two_who_make_it_at_once_make_it_once(monkeypatch):
    """The second finds the first's mark only when it writes its own: it is done again, and says nothing."""
    ExecutionFactory(job=quiet_job(reader()), started_at=MORNING - HOUR)
    seen = digest.first_time
    looked = []

    def overtaken_at_first(keys, *, now):
        new = seen(keys, now=now)
        if not looked:
            looked.append(True)
            seen_by_none = [Occasion(key=key, created_at=now) for key in keys]
            Occasion.objects.bulk_create(seen_by_none)
        return new

    monkeypatch.setattr(digest, "first_time", overtaken_at_first)

    assert daily() == 1
    assert daily() == 0


def test_a_paused_or_broken_job_is_not_in_the_night():
    user = reader()
    JobFactory(created_by=user, paused=True, cron_expression="0 23 * * *")
    JobFactory(created_by=user, cron_expression="nonsense")
    JobFactory(created_by=user, cron_expression="0 23 * * *", end_date=date(2026, 3, 9))

    assert daily() == 0


def test_without_mail_there_is_no_digest(settings):
    ExecutionFactory(job=quiet_job(reader()), started_at=MORNING - HOUR)
    settings.MAIL_ENABLED = False

    assert daily() == 0
    settings.MAIL_ENABLED = True
    assert daily() == 1


@pytest.mark.parametrize("edition", [daily, weekly])
def test_it_reads_well_in_both_parts(edition):
    user = reader(daily_digest=True, weekly_report=True)
    job = quiet_job(user, name="夜間 <Backup>", end_date=date(2026, 3, 12))
    ExecutionFactory(job=job, started_at=MORNING - DAY - HOUR, failed=True)
    JobFactory(created_by=user, name="Night", cron_expression="30 23,1 * * *")

    edition()

    mail = build_mail(Message.objects.get())
    html = str(mail.alternatives[0][0])
    assert "夜間 <Backup>" in mail.body
    assert "夜間 &lt;Backup&gt;" in html
    assert f"/admin/jobs/job/{job.pk}/change/?focus=end_date" in html
    assert "{" not in mail.body


def test_statements_do_not_grow_with_the_readers():
    def statements(count: int, day: int) -> int:
        for _ in range(count):
            ExecutionFactory(job=quiet_job(reader()), started_at=MORNING + day * DAY - HOUR)
        with CaptureQueriesContext(connection) as queries:
            assert daily(MORNING + day * DAY) == count
        return len(queries)

    assert statements(1, 0) == statements(20, 1)
