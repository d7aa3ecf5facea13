"""Moving in: rows of the earlier system's tables, as they are found here afterwards."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from accounts.services import delete_user, register_user
from cronsched.core.crypto import decrypt
from cronsched.legacy import cron
from cronsched.testing.legacy import PASSWORD, THEN, LegacyDatabase, passlib_hash, sqlite_database
from jobs.models import Job, JobExecution, TallyMark
from jobs.services.lifecycle import delete_job
from notifications.models import Notification, NotificationPreferences, SlackSettings
from taxonomy.models import JobCategory, PicTeam

# A Saturday, 21:00 in Tokyo.
NOW = datetime(2026, 2, 7, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def legacy(tmp_path: Path) -> Iterator[LegacyDatabase]:
    """With the category and the team that the rows name."""
    database = sqlite_database(tmp_path / "cron_jobs.db")
    database.path = tmp_path / "cron_jobs.db"
    database.add("job_categories", slug="general", name="General")
    database.add("pic_teams", slug="devops", name="DevOps")
    yield database
    database.connection.close()


def bring(legacy: LegacyDatabase, *options: str) -> str:
    """The report, and the error's line where it ends with one."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("import_legacy", f"--database=sqlite:///{legacy.path}", *options, stdout=out, stderr=err)
    except CommandError as error:
        return f"{out.getvalue()}{err.getvalue()}\nExit {error.returncode}: {error}"
    return out.getvalue() + err.getvalue()


def read_counts(report: str) -> dict[str, list[int]]:
    """Per table: read, new, already, updated, left out."""
    rows = [
        line.split()
        for line in report.splitlines()
        if "_" in line[:31] or line[:5] in ("users", "jobs ", "notif")
    ]
    return {row[0]: [int(cell) for cell in row[1:6]] for row in rows if len(row) == 6 and row[1].isdigit()}


# ---- people -----------------------------------------------------------------------------------


def test_a_user_comes_with_id_and_password(legacy, client):
    user_id = legacy.add("users", username="tanaka", email="Tanaka@Example.com", role="admin")

    bring(legacy)

    user = User.objects.get(pk=user_id)
    assert (user.username, user.email, user.role, user.is_active) == (
        "tanaka",
        "Tanaka@Example.com",
        "admin",
        True,
    )
    assert user.created_at == datetime(2026, 1, 15, 10, 30, 0, 123456, UTC)
    answer = client.post(
        "/api/v2/auth/login", {"username": "tanaka", "password": PASSWORD}, content_type="application/json"
    )
    assert answer.status_code == 200
    user.refresh_from_db()
    assert not user.password.startswith("passlib")


def test_a_name_that_differs_in_case_alone_is_left_out_and_told(legacy):
    legacy.add("users", username="tanaka", email="one@example.com")
    second = legacy.add("users", username="Tanaka", email="two@example.com")
    third = legacy.add("users", username="suzuki", email="ONE@example.com")

    report = bring(legacy)

    assert set(map(str, User.objects.values_list("pk", flat=True))).isdisjoint({second, third})
    assert "the username is taken" in report
    assert "the e-mail address is taken" in report
    assert "Exit 1: 2 rows left out" in report


def test_of_two_accounts_the_earlier_is_taken(legacy):
    legacy.add("users", username="Tanaka", created_at="2026-01-16 00:00:00")
    first = legacy.add("users", username="tanaka", created_at="2025-01-01 00:00:00")

    bring(legacy)

    assert str(User.objects.get().pk) == first


def test_an_account_seeded_here_takes_what_was_theirs_there(legacy):
    here = User.objects.create(username="admin", email="admin@example.com", role="admin", password="!")
    there = legacy.add("users", username="admin", email="admin@example.com", role="admin")
    job_id = legacy.add("jobs", created_by=there)

    report = bring(legacy)

    assert Job.objects.get(pk=job_id).created_by_id == here.pk
    assert "an account of that name and address was here" in report


def test_an_unknown_role_and_hash_are_adjusted(legacy):
    legacy.add("users", username="root_", role="superuser", password_hash="plain")

    report = bring(legacy)

    user = User.objects.get()
    assert user.role == "viewer"
    assert not user.check_password("plain")
    assert "unknown role became viewer" in report
    assert "hash is not known" in report


def test_wishes_come_over(legacy):
    user = legacy.add("users")
    legacy.add("user_notification_preferences", user_id=user)
    legacy.add("user_ui_preferences", user_id=user)

    bring(legacy)

    wishes = NotificationPreferences.objects.get(user_id=user)
    assert (wishes.email_on_job_success, wishes.email_on_job_failure, wishes.daily_digest) == (
        False,
        True,
        True,
    )
    assert User.objects.get().ui_preferences.jobs_table_columns == {"name": True, "created_by": True}


def test_a_user_deleted_here_stays_deleted(legacy):
    user_id = legacy.add("users", username="tanaka")
    job_id = legacy.add("jobs", created_by=user_id)
    legacy.add("notifications", user_id=user_id)
    legacy.add("user_ui_preferences", user_id=user_id)
    bring(legacy)
    delete_user(User.objects.get(), by=None, now=NOW)
    legacy.run("UPDATE users SET updated_at = '2026-02-06 00:00:00'")

    report = bring(legacy, "--update")

    assert not User.objects.exists()
    assert Job.objects.get(pk=job_id).created_by_id is None
    assert 'users: the user (1)\n    "tanaka"' in report
    assert "notifications: their user was deleted here (1)" in report
    assert "Exit" not in report


def test_an_account_that_was_here_before_and_was_deleted_since_stays_deleted_too(legacy):
    names = {"username": "admin", "email": "admin@example.com"}
    delete_user(register_user(**names, password="s3cret-Horse!", by=None, now=NOW), by=None, now=NOW)
    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        there = legacy.add("users", **names, role="admin")
        User.objects.create(**names, role="admin", password="!")
        bring(legacy)
    with time_machine.travel(NOW + timedelta(minutes=2), tick=False):
        legacy.add("users", role="admin")
        bring(legacy)
        delete_user(User.objects.get(username="admin"), by=None, now=NOW + timedelta(minutes=2))

        report = bring(legacy, "--update")

    assert not User.objects.filter(pk=there).exists()
    assert 'users: the user (1)\n    "admin"' in report


def test_an_account_deleted_here_before_the_first_import_comes(legacy):
    names = {"username": "admin", "email": "admin@example.com"}
    delete_user(register_user(**names, password="s3cret-Horse!", by=None, now=NOW), by=None, now=NOW)
    there = legacy.add("users", **names)

    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        bring(legacy)
        bring(legacy, "--update")

    assert User.objects.filter(pk=there).exists()


@pytest.mark.parametrize(
    ("change", "is_ended"),
    [
        (f"password_hash = '{passlib_hash('another-horse')}'", True),
        ("is_active = 0", True),
        ("email = 'new@example.com'", False),
    ],
)
def test_a_new_password_or_a_deactivation_from_there_ends_all_tokens(legacy, change, is_ended):
    legacy.add("users", role="admin")
    user_id = legacy.add("users", username="tanaka")
    bring(legacy)
    legacy.run(f"UPDATE users SET {change}, updated_at = '2026-02-06' WHERE id = ?", user_id)  # noqa: S608

    bring(legacy, "--update")

    user = User.objects.get(pk=user_id)
    assert (user.token_version, user.tokens_valid_after) == ((2, NOW) if is_ended else (1, None))


@pytest.mark.parametrize("change", ["is_active = 0", "role = 'viewer'", "role = 'emperor'"])
def test_the_last_active_admin_stays_one(legacy, change):
    user_id = legacy.add("users", username="boss", role="admin")
    legacy.add("users", role="admin", is_active=0)
    bring(legacy)
    change += ", email = 'new@example.com', updated_at = '2026-02-06'"
    legacy.run(f"UPDATE users SET {change} WHERE id = ?", user_id)  # noqa: S608

    report = bring(legacy, "--update")

    user = User.objects.get(pk=user_id)
    assert (user.role, user.is_active, user.email) == ("admin", True, "new@example.com")
    assert "users: stays an active admin: there is no other one (1)" in report


def test_an_admin_may_go_where_another_one_came(legacy):
    gone = legacy.add("users", role="admin")
    bring(legacy)
    legacy.run("UPDATE users SET is_active = 0, updated_at = '2026-02-06 00:00:00'")
    fresh = legacy.add("users", role="admin")

    report = bring(legacy, "--update")

    assert not User.objects.get(pk=gone).is_active
    assert User.objects.get(pk=fresh).is_active
    assert "stays an active admin" not in report


# ---- categories and teams ---------------------------------------------------------------------


def test_a_seeded_category_takes_over_the_earlier_id(legacy):
    call_command("seed", stdout=io.StringIO())
    category_id = legacy.add("job_categories", slug="reports", name="Reports")

    bring(legacy)

    assert str(JobCategory.objects.get(slug="reports").pk) == category_id
    assert JobCategory.objects.filter(slug="general").count() == 1


def test_teams_of_one_name_and_an_odd_slug_keep_their_jobs(legacy):
    legacy.add("pic_teams", slug="DevOps_2", name="devops", slack_handle=None)
    job_id = legacy.add("jobs", pic_team="DevOps_2")

    report = bring(legacy)

    team = PicTeam.objects.get(slug="devops-2")
    assert team.name == "devops (devops-2)"
    assert Job.objects.get(pk=job_id).pic_team == team
    assert "the slug is spelled as slugs are here" in report


# ---- jobs -------------------------------------------------------------------------------------


def test_a_job_comes_as_it_was_with_its_next_run(legacy):
    owner = legacy.add("users")
    job_id = legacy.add(
        "jobs", name=" Nightly ", created_by=owner, job_metadata='{"a": [1, null]}',
        notification_emails="a@example.com, b@example.com,not one", enable_email_notifications=1,
    )  # fmt: skip

    report = bring(legacy)

    job = Job.objects.get(pk=job_id)
    assert (job.name, str(job.created_by_id), job.metadata) == ("Nightly", owner, {"a": [1, None]})
    assert job.notification_emails == ["a@example.com", "b@example.com"]
    assert job.end_date == date(2030, 12, 31)
    assert job.next_run_at == datetime(2026, 2, 7, 17, 0, tzinfo=UTC)
    assert job.updated_at == datetime(2026, 1, 15, 10, 30, 0, 123456, UTC)
    assert "no e-mail address" in report


def test_what_only_an_earlier_job_may_have_is_kept(legacy):
    legacy.add("pic_teams", slug="gone", name="Gone", is_active=0)
    old = legacy.add("jobs", pic_team="gone", end_date="2020-01-01")
    bare = legacy.add("jobs", pic_team=None, end_date=None)

    bring(legacy)

    job = Job.objects.get(pk=old)
    assert (job.pic_team.slug, job.is_active, job.paused_reason) == ("gone", False, "expired")
    job = Job.objects.get(pk=bare)
    assert (job.pic_team, job.end_date, job.is_active) == (None, None, True)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"cron_expression": "61 * * * *"}, "bad cron expression"),
        ({"cron_expression": "0 0 last * *"}, "bad cron expression"),
        ({"pic_team": "nobody"}, "unknown team"),
        ({"category": "nothing"}, "unknown category"),
        ({"target_url": None}, "no target"),
        ({"target_url": "http://hooks.example.com/run"}, "no target that can be called"),
        ({"target_url": None, "github_repo": "app"}, "no target"),
        ({"name": "JOB ONE"}, "its name cannot be had"),
        ({"job_metadata": "[1]"}, "its metadata are no JSON object"),
        ({"job_metadata": "{"}, "its metadata are no JSON object"),
        ({"end_date": "soon"}, "end_date"),
        ({"id": "17"}, "its id is no UUID"),
    ],
)
def test_a_job_that_could_not_run_is_left_out_with_its_history(legacy, values, told):
    legacy.add("jobs", name="Job one")
    job_id = legacy.add("jobs", **values)
    legacy.add("job_executions", job_id=job_id)

    report = bring(legacy)

    assert Job.objects.count() == 1
    assert not JobExecution.objects.exists()
    assert f"jobs: {told}" in report
    assert "their job was not taken" in report


def test_a_job_mended_there_comes_with_its_history_the_next_time(legacy):
    job_id = legacy.add("jobs", cron_expression="0 22-2 * * *")
    run_id = legacy.add("job_executions", job_id=job_id)
    assert "bad cron expression" in bring(legacy)

    legacy.run("UPDATE jobs SET cron_expression = '0 22,23,0-2 * * *'")
    bring(legacy)

    assert str(JobExecution.objects.get().pk) == run_id


def test_paused_jobs_wake_with_update(legacy):
    awake, asleep = legacy.add("jobs"), legacy.add("jobs", is_active=0)
    bring(legacy, "--paused")
    assert not Job.objects.active().exists()

    assert "still paused" in bring(legacy)
    bring(legacy, "--update")

    assert {str(job.pk) for job in Job.objects.active()} == {awake}
    assert Job.objects.get(pk=awake).next_run_at is not None
    assert Job.objects.get(pk=asleep).paused_reason == "by_hand"


def test_waking_a_job_leaves_alone_what_was_edited_here(legacy):
    job_id = legacy.add("jobs", name="Old", job_metadata='{"a": 1}')
    bring(legacy, "--paused")
    edited = {
        "name": "New", "name_key": "new", "cron_expression": "30 5 * * *", "metadata": {"b": 2},
        "timezone": "Europe/Berlin", "target_url": "https://new.example.com/", "managed_by": "infra",
        "updated_at": NOW, "notification_emails": ["new@example.com"],
    }  # fmt: skip
    Job.objects.filter(pk=job_id).update(**edited)
    before = Job.objects.values().get(pk=job_id)

    assert read_counts(bring(legacy, "--update"))["jobs"] == [1, 0, 0, 1, 0]

    after = Job.objects.values().get(pk=job_id)
    assert {name for name in after if after[name] != before[name]} == {
        "is_active", "paused_reason", "paused_note", "next_run_at", "planned_schedule", "schedule_version",
    }  # fmt: skip
    assert after["next_run_at"] == datetime(2026, 2, 8, 4, 30, tzinfo=UTC)
    assert after["planned_schedule"] == "30 5 * * *|Europe/Berlin"
    assert (after["paused_reason"], after["paused_note"]) == ("", "")


def test_a_job_whose_end_was_moved_here_into_the_past_does_not_wake(legacy):
    job_id = legacy.add("jobs")
    bring(legacy, "--paused")
    Job.objects.update(end_date=date(2026, 2, 6))

    bring(legacy, "--update")

    job = Job.objects.get(pk=job_id)
    assert (job.is_active, job.paused_reason, job.end_date) == (False, "expired", date(2026, 2, 6))


def test_what_was_changed_there_keeps_zone_and_set_that_the_job_has_here(legacy):
    job_id = legacy.add("jobs", cron_expression="0 9 * * *")
    bring(legacy, "--timezone=Europe/Berlin")
    Job.objects.update(managed_by="infra")
    legacy.run("UPDATE jobs SET name = 'Renamed', updated_at = '2026-02-06 00:00:00'")

    bring(legacy, "--update")

    job = Job.objects.get(pk=job_id)
    assert (job.name, job.timezone, job.managed_by) == ("Renamed", "Europe/Berlin", "infra")
    assert job.next_run_at == datetime(2026, 2, 8, 8, 0, tzinfo=UTC)
    assert job.planned_schedule == "0 9 * * *|Europe/Berlin"


@pytest.mark.parametrize("options", [(), ("--update",)])
def test_a_job_deleted_here_stays_deleted_with_its_history(legacy, options):
    job_id = legacy.add("jobs", name="Unwanted")
    for minute in (10, 11):
        legacy.add("job_executions", job_id=job_id, started_at=f"2026-01-20 17:{minute}:01")
    bring(legacy)
    delete_job(Job.objects.get(), by=None, now=NOW)
    legacy.run("UPDATE jobs SET updated_at = '2026-02-06 00:00:00'")

    report = bring(legacy, *options)

    assert not Job.objects.exists()
    assert not JobExecution.objects.exists()
    assert "Deleted here since they were taken" in report
    assert "jobs: the job (1)" in report
    assert "job_executions: their job was deleted here (2)" in report
    assert "Exit" not in report


def test_another_time_zone_stays_with_the_jobs(legacy):
    legacy.add("jobs", cron_expression="0 9 * * *")

    bring(legacy, "--timezone=Europe/Berlin")

    job = Job.objects.get()
    assert job.timezone == "Europe/Berlin"
    assert job.next_run_at == datetime(2026, 2, 8, 8, 0, tzinfo=UTC)


# ---- weekday numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "differs", "as_fired"),
    [
        ("0 9 * * *", False, "0 9 * * *"),
        ("0 9 * * mon-fri", False, "0 9 * * mon-fri"),
        ("0 9 * * 1-5", True, "0 9 * * TUE-SAT"),
        ("0 9 * * 0", True, "0 9 * * MON"),
        ("0 9 * * 6", True, "0 9 * * SUN"),
        ("0 9 * * 0,6", True, "0 9 * * SUN,MON"),
        ("0 9 * * 0-6", False, "0 9 * * *"),
        ("0 9 * * */2", True, "0 9 * * SUN,MON,WED,FRI"),
        ("0 9 * * 7", True, "0 9 * * 7"),
        ("0 9 13 * fri", True, "0 9 13 * fri"),
        ("*/5 8-18 * * *", False, "*/5 8-18 * * *"),
    ],
)
def test_runs_of_both_systems_are_compared(expression, differs, as_fired):
    found = cron.difference(expression, expression, zone="Asia/Tokyo", now=NOW)

    assert (found is not None) == differs
    assert cron.as_fired(expression) == as_fired
    if as_fired != expression:
        assert cron.difference(expression, as_fired, zone="Asia/Tokyo", now=NOW) is None


def test_weekday_numbers_keep_what_was_written_and_the_difference_is_told(legacy):
    job_id = legacy.add("jobs", name="Weekdays", cron_expression="0 9 * * 1-5")

    report = bring(legacy)

    assert Job.objects.get(pk=job_id).cron_expression == "0 9 * * 1-5"
    assert '"Weekdays" "0 9 * * 1-5": there Tue 2026-02-10 09:00, here Mon 2026-02-09 09:00' in report
    assert "TUE-SAT" in report
    assert "Exit" not in report


def test_weekday_numbers_may_keep_the_days_that_they_fired_on(legacy):
    legacy.add("jobs", cron_expression="0 9 * * 1-5")

    report = bring(legacy, "--weekdays=as-fired")

    job = Job.objects.get()
    assert job.cron_expression == "0 9 * * TUE-SAT"
    assert "runs at other times" not in report


# ---- history ----------------------------------------------------------------------------------


def test_runs_come_with_their_slots(legacy):
    job_id = legacy.add("jobs")
    run_id = legacy.add("job_executions", job_id=job_id)
    legacy.add("job_executions", job_id=job_id, trigger_type="manual", started_at="2026-01-21 05:00:30")

    bring(legacy)

    run = JobExecution.objects.get(pk=run_id)
    assert run.scheduled_for == datetime(2026, 1, 20, 17, 0, tzinfo=UTC)
    assert run.started_at == datetime(2026, 1, 20, 17, 0, 1, 250000, UTC)
    assert (run.status, run.duration_seconds, run.response_status) == ("success", 1.25, 200)
    assert run.output == '{"ok": true}'
    assert JobExecution.objects.get(trigger_type="manual").scheduled_for is None
    job = Job.objects.get()
    assert (job.last_execution_at, job.last_status) == (
        datetime(2026, 1, 21, 5, 0, 30, tzinfo=UTC),
        "success",
    )


def test_two_runs_of_one_minute_both_come(legacy):
    job_id = legacy.add("jobs")
    for second in ("01", "01", "02"):
        legacy.add("job_executions", job_id=job_id, started_at=f"2026-01-20 17:00:{second}")

    bring(legacy)
    legacy.add("job_executions", job_id=job_id, started_at="2026-01-20 17:00:01")
    bring(legacy)

    assert JobExecution.objects.count() == 4
    assert JobExecution.objects.filter(scheduled_for=datetime(2026, 1, 20, 17, 0, tzinfo=UTC)).count() == 1


def test_a_run_that_had_not_ended_is_interrupted_until_update_brings_its_end(legacy):
    job_id = legacy.add("jobs")
    run_id = legacy.add(
        "job_executions", job_id=job_id, status="running", completed_at=None, duration_seconds=None
    )
    bring(legacy)
    run = JobExecution.objects.get()
    assert (run.status, run.reason) == ("failed", "interrupted")
    assert "at the move" in run.error_message

    legacy.run("UPDATE job_executions SET status = 'success', completed_at = '2026-01-20 17:00:09'")
    assert "have ended since" in bring(legacy)
    bring(legacy, "--update")

    run = JobExecution.objects.get(pk=run_id)
    assert (run.status, run.reason, run.error_message) == ("success", "", "")


def test_the_end_of_a_run_shows_in_its_job(legacy):
    job_id = legacy.add("jobs")
    legacy.add("job_executions", job_id=job_id, status="running", completed_at=None, duration_seconds=None)
    bring(legacy)
    assert (Job.objects.get().last_status, Job.objects.get().consecutive_failures) == ("failed", 1)
    legacy.run("UPDATE job_executions SET status = 'success', completed_at = '2026-01-20 17:00:09'")

    bring(legacy, "--update")

    assert (Job.objects.get().last_status, Job.objects.get().consecutive_failures) == ("success", 0)


def test_an_unknown_status_is_told_as_it_was(legacy):
    job_id = legacy.add("jobs")
    legacy.add("job_executions", job_id=job_id, status="timeout", error_message="30 s")

    report = bring(legacy)

    run = JobExecution.objects.get()
    assert (run.status, run.error_message) == ("failed", 'The earlier system called this run "timeout". 30 s')
    assert 'the status "timeout" is told as failed' in report


def test_failures_in_a_row_are_counted(legacy):
    job_id = legacy.add("jobs")
    for day, status in enumerate(("failed", "success", "failed", "failed"), start=10):
        legacy.add("job_executions", job_id=job_id, status=status, started_at=f"2026-01-{day} 17:00:01")

    bring(legacy)

    assert (Job.objects.get().consecutive_failures, Job.objects.get().last_status) == (2, "failed")


def test_figures_that_were_counted_already_are_counted_anew(legacy):
    TallyMark.objects.create(pk=1, counted_until=NOW)
    legacy.add("job_executions", job_id=legacy.add("jobs"))

    bring(legacy)

    assert TallyMark.objects.get().counted_until == datetime(2026, 1, 20, 17, 0, tzinfo=UTC)


# ---- notices and Slack ------------------------------------------------------------------------


def test_notices_keep_their_state_and_links(legacy):
    user, job_id = legacy.add("users"), legacy.add("jobs")
    run_id = legacy.add("job_executions", job_id=job_id)
    read = legacy.add(
        "notifications",
        user_id=user,
        is_read=1,
        read_at=THEN,
        related_job_id=job_id,
        related_execution_id=run_id,
    )
    unread = legacy.add("notifications", user_id=user, type="odd", related_job_id=str(uuid.uuid4()))
    legacy.add("notifications", user_id=str(uuid.uuid4()))

    report = bring(legacy)

    notice = Notification.objects.get(pk=read)
    assert (notice.is_read, str(notice.related_job_id), str(notice.related_execution_id)) == (
        True,
        job_id,
        run_id,
    )
    assert notice.read_at == datetime(2026, 1, 15, 10, 30, 0, 123456, UTC)
    notice = Notification.objects.get(pk=unread)
    assert (notice.is_read, notice.type, notice.related_job_id) == (False, "info", None)
    assert "their user was not taken (1)" in report


def test_slack_comes_encrypted(legacy):
    legacy.add("slack_settings", channel="#jobs")

    bring(legacy)

    row = SlackSettings.objects.get()
    assert "hooks.slack.com" not in row.webhook_url
    assert decrypt(row.webhook_url).endswith("abcdefgh")
    assert (row.is_enabled, row.channel) == (True, "#jobs")


def test_slack_settings_made_here_stay(legacy):
    SlackSettings.objects.create(channel="#here")
    legacy.add("slack_settings", channel="#there")

    bring(legacy)

    assert SlackSettings.objects.get().channel == "#here"


# ---- as a whole -------------------------------------------------------------------------------


def fill(legacy: LegacyDatabase) -> None:
    user = legacy.add("users")
    legacy.add("user_notification_preferences", user_id=user)
    legacy.add("user_ui_preferences", user_id=user)
    for _ in range(3):
        job_id = legacy.add("jobs", created_by=user)
        for day in range(10, 20):
            legacy.add("job_executions", job_id=job_id, started_at=f"2026-01-{day} 17:00:01")
    legacy.add("notifications", user_id=user)
    legacy.add("slack_settings")


def stored() -> dict[str, int]:
    models = (User, Job, JobExecution, Notification, JobCategory, PicTeam, SlackSettings)
    return {model.__name__: model.objects.count() for model in models}


def test_a_second_run_brings_only_what_is_new(legacy):
    fill(legacy)
    first = read_counts(bring(legacy))
    before = stored()
    fresh = legacy.add("job_executions", job_id=str(Job.objects.first().pk), started_at="2026-02-01 17:00:01")

    again = read_counts(bring(legacy))

    assert first["job_executions"] == [30, 30, 0, 0, 0]
    assert again["job_executions"] == [31, 1, 30, 0, 0]
    assert all(counts[1] == 0 for table, counts in again.items() if table != "job_executions")
    assert stored() == {**before, "JobExecution": 31}
    assert JobExecution.objects.filter(pk=fresh).exists()


def test_a_dry_run_says_the_same_and_stores_nothing(legacy):
    fill(legacy)
    before = stored()

    dry = bring(legacy, "--dry-run")

    assert stored() == before
    assert "Dry run" in dry
    assert read_counts(dry) == read_counts(bring(legacy))


def test_changes_there_are_told_and_brought_with_update(legacy):
    fill(legacy)
    bring(legacy)
    job = Job.objects.first()
    legacy.run(
        "UPDATE jobs SET name = 'Renamed', updated_at = '2026-02-06 00:00:00' WHERE id = ?", str(job.pk)
    )
    legacy.run("UPDATE users SET role = 'viewer', updated_at = '2026-02-06 00:00:00'")
    legacy.run("UPDATE notifications SET is_read = 1")

    report = bring(legacy)
    assert "--update brings that over" in report
    assert User.objects.get().role == "user"

    assert read_counts(bring(legacy, "--update"))["jobs"] == [3, 0, 2, 1, 0]
    job.refresh_from_db()
    assert (job.name, job.schedule_version) == ("Renamed", 2)
    assert User.objects.get().role == "viewer"
    assert Notification.objects.get().is_read


def test_after_a_crash_the_same_import_ends_what_it_began(legacy, monkeypatch):
    fill(legacy)
    from cronsched.legacy import history

    monkeypatch.setattr(history, "PAGE", 7)
    calls = []

    def failing(batch: Any, outcomes: Any, original: Any = history._store) -> None:
        calls.append(len(batch))
        if len(calls) == 3:
            raise RuntimeError("power cut")
        original(batch, outcomes)

    monkeypatch.setattr(history, "_store", failing)
    with pytest.raises(RuntimeError):
        bring(legacy)
    assert JobExecution.objects.count() == 14

    bring(legacy)

    assert JobExecution.objects.count() == 30
    assert Notification.objects.count() == 1
    assert set(Job.objects.values_list("last_status", flat=True)) == {"success"}


def test_older_versions_lack_tables_and_columns(tmp_path):
    path = tmp_path / "old.db"
    database = sqlite_database(path)
    database.path = path
    job_id = database.add("jobs", pic_team=None)
    for table in ("pic_teams", "job_categories", "slack_settings", "user_ui_preferences", "notifications"):
        database.run(f"DROP TABLE {table}")
    for column in ("end_date", "pic_team", "notify_on_success", "job_metadata"):
        database.run(f"ALTER TABLE jobs DROP COLUMN {column}")
    call_command("seed", stdout=io.StringIO())

    report = bring(database)
    database.connection.close()

    assert "Exit" not in report
    assert Job.objects.get(pk=job_id).metadata == {}


def test_the_report_goes_to_a_file_too(legacy, tmp_path):
    legacy.add("jobs", name="=cmd", cron_expression="never")

    bring(legacy, f"--report={tmp_path / 'report.csv'}")

    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert rows[0] == "table,what,why,id,name,detail,rows"
    assert rows[1].startswith("jobs,left out,bad cron expression,")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "must look like"),
        ("sqlite:////nowhere/at/all.db", "There is no file"),
        ("postgres://localhost/x", "SQLite or MySQL"),
        ("oracle://x/y", "is not supported"),
    ],
)
def test_a_database_that_cannot_be_read_is_one_line(url, told):
    with pytest.raises(CommandError, match=told):
        call_command("import_legacy", f"--database={url}")


def test_other_databases_are_refused(tmp_path):
    import sqlite3

    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE users (id TEXT)")
    with pytest.raises(CommandError, match="has no table jobs"):
        call_command("import_legacy", f"--database=sqlite:///{path}")


def test_its_own_database_is_refused():
    if connection.vendor != "sqlite":
        pytest.skip("its own kind is tested with its server")
    with pytest.raises(CommandError, match="cronsched itself uses"):
        call_command("import_legacy", f"--database=sqlite:///{connection.settings_dict['NAME']}")


def test_a_scheduler_that_seems_alive_is_warned_of(legacy):
    legacy.add("job_executions", job_id=legacy.add("jobs"), started_at="2026-02-07 11:55:00")

    assert "Is it stopped?" in bring(legacy)
    assert "Is it stopped?" not in bring(legacy, "--paused")


def test_the_earlier_database_is_not_touched(legacy):
    fill(legacy)
    legacy.connection.close()
    before = legacy.path.read_bytes()

    bring(legacy)

    assert legacy.path.read_bytes() == before
    assert [path.name for path in legacy.path.parent.iterdir()] == ["cron_jobs.db"]


# ---- from MySQL -------------------------------------------------------------------------------


@pytest.fixture
def server() -> Any:
    """The MySQL server that the tests run on, with an empty database of the earlier system: (url, legacy)."""
    if connection.vendor != "mysql":
        pytest.skip("the tests' database is no MySQL or MariaDB: TEST_DATABASE_URL=mysql://…")
    import MySQLdb

    own = connection.settings_dict
    port, name = int(own["PORT"] or 3306), f"{own['NAME']}_legacy"
    place = {"host": own["HOST"], "port": port, "user": own["USER"], "password": own["PASSWORD"]}
    raw = MySQLdb.connect(**place, charset="utf8mb4")
    raw.query(f"DROP DATABASE IF EXISTS `{name}`")
    raw.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    raw.select_db(name)
    secret = f":{own['PASSWORD']}" if own["PASSWORD"] else ""
    yield f"mysql+pymysql://{own['USER']}{secret}@{own['HOST']}:{port}/{name}", LegacyDatabase(raw, "%s")
    raw.query(f"DROP DATABASE `{name}`")
    raw.close()


@pytest.mark.databases
def test_from_mysql_all_comes_as_from_sqlite(server):
    url, database = server
    database.add("job_categories", slug="general", name="General")
    database.add("pic_teams", slug="devops", name="DevOps")
    fill(database)
    database.run("UPDATE jobs SET name = 'データ 🎉' LIMIT 1")
    out = io.StringIO()

    call_command("import_legacy", f"--database={url}", stdout=out)
    again = io.StringIO()
    call_command("import_legacy", f"--database={url}", stdout=again)

    assert read_counts(out.getvalue())["job_executions"] == [30, 30, 0, 0, 0]
    assert read_counts(again.getvalue())["job_executions"] == [30, 0, 30, 0, 0]
    assert Job.objects.filter(name="データ 🎉", end_date=date(2030, 12, 31)).exists()
    assert JobExecution.objects.filter(started_at=datetime(2026, 1, 10, 17, 0, 1, tzinfo=UTC)).count() == 3
    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.databases
def test_its_own_mysql_database_is_refused(server):
    url, _ = server
    own = url.removesuffix("_legacy")

    with pytest.raises(CommandError, match="cronsched itself uses"):
        call_command("import_legacy", f"--database={own}")
