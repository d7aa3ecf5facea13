"""Which runs are told by mail and Slack, and to whom."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from jobs.engine.tell import tell_finished
from jobs.models import Job
from jobs.signals import job_changed
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.facts import local_text
from notifications.models import EmailOptOut, JobAlert, Message, Notification, NotificationPreferences
from notifications.services.preferences import update_preferences
from notifications.services.slack_settings import update_slack_settings
from taxonomy.tests.factories import TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
HOUR = timedelta(hours=1)
URL = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"


@pytest.fixture(autouse=True)
def channels(settings):
    settings.MAIL_ENABLED = True
    update_slack_settings(data={"is_enabled": True, "webhook_url": URL}, by=None, now=NOON)


def make_job(**values: Any) -> Job:
    owner = values.pop("owner", None) or UserFactory(username="owner", email="owner@example.com")
    values.setdefault("enable_email_notifications", True)
    return JobFactory(name="Backup", created_by=owner, **values)


def end(job: Job, status: str, *, now=NOON, in_a_row: int = 1) -> None:
    """A run of the job ends so, as RECORD tells it."""
    job.consecutive_failures = 0 if status == "success" else in_a_row
    values = {"failed": True} if status == "failed" else {"status": status}
    tell_finished([ExecutionFactory(job=job, completed_at=now, **values)], now=now)


def told() -> list[tuple[str, str]]:
    """What was put into the outbox since the last look: event and recipient, Slack's as "slack"."""
    rows = Message.objects.order_by("id").values_list("event", "recipient")
    seen = [(event, recipient or "slack") for event, recipient in rows]
    Message.objects.all().delete()
    return sorted(seen)


BOTH = [("run_failed", "owner@example.com"), ("run_failed", "slack")]


@pytest.mark.parametrize(
    ("status", "values", "expected"),
    [
        ("success", {}, []),
        ("success", {"notify_on_success": True}, [("run_succeeded", "owner@example.com")]),
        (
            "success",
            {"notify_on_success": True, "notification_emails": ["ops@example.com"]},
            [("run_succeeded", "ops@example.com"), ("run_succeeded", "owner@example.com")],
        ),
        ("success", {"notify_on_success": True, "enable_email_notifications": False}, []),
        ("failed", {}, BOTH),
        ("failed", {"enable_email_notifications": False}, [("run_failed", "slack")]),
        ("failed", {"notification_emails": ["OWNER@example.com"]}, BOTH),
        (
            "missed",
            {"notification_emails": ["ops@example.com"]},
            [("run_missed", "ops@example.com"), ("run_missed", "owner@example.com"), ("run_missed", "slack")],
        ),
    ],
)
def test_who_is_told_of_a_run(status, values, expected):
    end(make_job(**values), status)

    assert told() == expected


@pytest.mark.parametrize(
    ("status", "values", "wish"),
    [
        ("failed", {}, "email_on_job_failure"),
        ("missed", {}, "email_on_job_failure"),
        ("success", {"notify_on_success": True}, "email_on_job_success"),
    ],
)
def test_an_owner_who_wants_no_mail_gets_none(status, values, wish):
    job = make_job(notification_emails=["ops@example.com"], **values)
    update_preferences(job.created_by, changes={wish: False}, now=NOON)

    end(job, status)

    assert {recipient for _, recipient in told()} - {"slack"} == {"ops@example.com"}


def test_an_owner_who_was_deactivated_gets_none():
    end(make_job(owner=UserFactory(inactive=True)), "failed")

    assert told() == [("run_failed", "slack")]


def test_nothing_is_put_for_channels_that_are_off(settings):
    settings.MAIL_ENABLED = False
    update_slack_settings(data={"is_enabled": False}, by=None, now=NOON)

    end(make_job(), "failed")

    assert told() == []


def test_an_address_that_unsubscribed_is_left_out():
    EmailOptOut.objects.create(address_key="ops@example.com", topic="email_on_job_failure", created_at=NOON)
    job = make_job(notification_emails=["Ops@example.com"], notify_on_success=True)

    end(job, "failed")
    assert told() == BOTH
    end(job, "success")
    assert ("run_succeeded", "Ops@example.com") in told()


# ---- quiet while it keeps failing ------------------------------------------------------------------------


def test_a_job_that_keeps_failing_is_told_once_in_24_hours():
    job = make_job()

    for hours in (0, 1, 23.9, 24, 25, 47.9, 48):
        end(job, "failed", now=NOON + hours * HOUR, in_a_row=5)
        assert told() == (BOTH if hours in (0, 24, 48) else []), hours


def test_the_third_failure_is_told_where_the_job_says_so():
    job = make_job(alert_after=3)

    for in_a_row in (1, 2, 3, 4):
        end(job, "failed", in_a_row=in_a_row)
        assert told() == (BOTH if in_a_row == 3 else []), in_a_row


def test_a_failure_that_was_not_told_has_no_recovery():
    job = make_job(alert_after=2)
    end(job, "failed")
    end(job, "success")

    assert told() == []
    assert not Notification.objects.filter(title="Backup recovered").exists()


def test_a_recovery_is_told_once_to_those_who_were_told():
    job = make_job(notification_emails=["ops@example.com"])
    end(job, "failed")
    job.notification_emails = ["new@example.com"]
    job.save()
    told()

    end(job, "success")
    assert told() == [
        ("job_recovered", "ops@example.com"),
        ("job_recovered", "owner@example.com"),
        ("job_recovered", "slack"),
    ]
    assert Notification.objects.get(title="Backup recovered").user == job.created_by
    end(job, "success")
    assert told() == []


def test_slack_hears_of_a_recovery_only_if_it_heard_of_the_failure():
    job = make_job()
    update_slack_settings(data={"is_enabled": False}, by=None, now=NOON)
    end(job, "failed")
    update_slack_settings(data={"is_enabled": True}, by=None, now=NOON)
    told()

    end(job, "success")

    assert told() == [("job_recovered", "owner@example.com")]


def test_after_a_recovery_the_next_failure_is_told_at_once():
    job = make_job()
    for status in ("failed", "success", "failed"):
        end(job, status)

    assert Counter(event for event, _ in told()) == {"run_failed": 4, "job_recovered": 2}


def test_missed_runs_have_a_day_of_their_own_and_no_recovery():
    job = make_job()
    for status in ("missed", "missed", "failed"):
        end(job, status)
    assert Counter(event for event, _ in told()) == {"run_missed": 2, "run_failed": 2}
    JobAlert.objects.update(failed_mail_at=None, failed_slack_at=None)

    end(job, "success")

    assert told() == []


def test_a_success_does_not_make_the_next_missed_run_news():
    job = make_job()
    heard = []
    for hours, status in ((0, "missed"), (1, "failed"), (2, "success"), (3, "missed"), (24, "missed")):
        end(job, status, now=NOON + hours * HOUR)
        heard.append([event for event, to in told() if to == "slack"])

    assert heard == [["run_missed"], ["run_failed"], ["job_recovered"], [], ["run_missed"]]


def test_nothing_is_kept_of_trouble_that_is_over():
    job = make_job()
    end(job, "missed")
    end(job, "failed")
    end(job, "success", now=NOON + 25 * HOUR)

    assert not JobAlert.objects.exists()


@pytest.mark.parametrize("status", ["failed", "missed"])
def test_a_channel_that_is_switched_on_later_hears_of_the_next(status):
    job = make_job()
    update_slack_settings(data={"is_enabled": False}, by=None, now=NOON)
    end(job, status)
    update_slack_settings(data={"is_enabled": True}, by=None, now=NOON)
    assert told() == [(f"run_{status}", "owner@example.com")]

    end(job, status, now=NOON + HOUR)
    assert told() == [(f"run_{status}", "slack")]
    end(job, status, now=NOON + 24 * HOUR)
    assert told() == [(f"run_{status}", "owner@example.com")]
    end(job, status, now=NOON + 25 * HOUR)
    assert told() == [(f"run_{status}", "slack")]


def test_mail_that_is_switched_on_later_hears_of_the_next():
    job = make_job(enable_email_notifications=False)
    end(job, "failed")
    job.enable_email_notifications = True
    assert told() == [("run_failed", "slack")]

    end(job, "failed", now=NOON + HOUR)

    assert told() == [("run_failed", "owner@example.com")]


@pytest.mark.parametrize("fate", ["deactivated", "deleted", "unwilling", "unsubscribed"])
def test_a_recovery_spares_an_owner_who_is_gone_or_wants_none(fate):
    job = make_job(notification_emails=["ops@example.com"])
    owner = job.created_by
    end(job, "failed")
    told()

    if fate == "deactivated":
        owner.is_active = False
        owner.save()
    elif fate == "deleted":
        owner.delete()
        job.refresh_from_db()
    elif fate == "unwilling":
        update_preferences(owner, changes={"email_on_job_failure": False}, now=NOON)
    else:
        EmailOptOut.objects.create(
            address_key="owner@example.com", topic="email_on_job_failure", created_at=NOON
        )
    end(job, "success")

    assert told() == [("job_recovered", "ops@example.com"), ("job_recovered", "slack")]


def test_a_recovery_finds_who_was_told_where_they_are_now():
    job = make_job()
    earlier = job.created_by
    end(job, "failed")
    told()
    earlier.email = "moved@example.com"
    earlier.save()
    job.created_by = UserFactory()
    job.save()

    end(job, "success")

    assert told() == [("job_recovered", "moved@example.com"), ("job_recovered", "slack")]


def test_an_address_that_is_not_listed_any_more_may_unsubscribe_from_the_recovery():
    job = make_job(notification_emails=["ops@example.com"])
    end(job, "failed")
    told()
    job.notification_emails = []
    EmailOptOut.objects.create(address_key="ops@example.com", topic="email_on_job_failure", created_at=NOON)

    end(job, "success")

    assert ("job_recovered", "ops@example.com") not in told()


def test_a_recovery_is_not_mailed_where_the_job_sends_no_mail_any_more():
    job = make_job()
    end(job, "failed")
    told()
    job.enable_email_notifications = False

    end(job, "success")

    assert told() == [("job_recovered", "slack")]


def test_runs_of_one_batch_count_in_the_order_they_ended():
    job = make_job()
    runs = [
        ExecutionFactory(job=job, completed_at=NOON + timedelta(seconds=2)),
        ExecutionFactory(job=job, completed_at=NOON + timedelta(seconds=1), failed=True),
    ]
    job.consecutive_failures = 1

    tell_finished(runs, now=NOON)

    message = Message.objects.get(recipient="owner@example.com")
    assert message.event == "summary"
    assert [fact["event"] for fact in message.payload["facts"]] == ["run_failed", "job_recovered"]


# ---- what a row holds ------------------------------------------------------------------------------------


def test_a_fact_names_what_a_person_on_call_needs():
    job = make_job(pic_team=TeamFactory(name="Ops", slack_handle="@ops"), timezone="Europe/Berlin")
    run = ExecutionFactory(
        job=job,
        failed=True,
        scheduled_for=NOON,
        response_status=500,
        error_message="Boom.",
        output="\n".join(f"line {number}" for number in range(20)),
    )
    job.consecutive_failures = 4

    tell_finished([run], now=NOON)

    (fact,) = Message.objects.get(recipient="").payload["facts"]
    assert fact["slot"] == "2026-03-10 13:00 +01:00 (Europe/Berlin)"
    assert (fact["response_status"], fact["error"], fact["in_a_row"]) == (500, "Boom.", 4)
    assert fact["answer"].splitlines() == [f"line {number}" for number in range(8)]
    assert (fact["owner"], fact["team"], fact["handle"]) == ("owner", "Ops", "@ops")
    assert (fact["job_id"], fact["execution_id"]) == (str(job.pk), str(run.pk))


def test_a_batch_is_one_row_for_each_recipient():
    owner = UserFactory()
    jobs = [JobFactory(created_by=owner, enable_email_notifications=True) for _ in range(150)]
    runs = [ExecutionFactory(job=job, failed=True) for job in jobs]
    for run in runs:
        run.job.consecutive_failures = 1

    tell_finished(runs, now=NOON)

    assert Message.objects.count() == 2
    for message in Message.objects.all():
        assert message.payload["counts"] == {"run_failed": 150}
        assert len(message.payload["facts"]) == 100
        assert message.payload["handles"] == ["@team"]


def test_the_hour_that_comes_twice_is_told_apart():
    job = JobFactory(timezone="Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    assert local_text(first, job) == "2026-10-25 02:30 +02:00 (Europe/Berlin)"
    assert local_text(first + HOUR, job) == "2026-10-25 02:30 +01:00 (Europe/Berlin)"


@pytest.mark.parametrize("status", ["failed", "missed", "success"])
def test_statements_do_not_grow_with_the_batch(status):
    def statements(count: int) -> int:
        """As PLAN tells it: jobs of which only the schedule was read."""
        for _ in range(count):
            job = JobFactory(enable_email_notifications=True, notify_on_success=True)
            NotificationPreferences.objects.create(user=job.created_by)
            JobAlert.objects.create(job=job, failed_mail_at=NOON - 25 * HOUR)
            ExecutionFactory(job=job, status=status)
        runs = list(Job.objects.none())
        for job in Job.objects.only("id", "name", "timezone"):
            for run in job.executions.all():
                run.job = job
                runs.append(run)
        with CaptureQueriesContext(connection) as queries:
            tell_finished(runs, now=NOON)
        Job.objects.all().delete()
        return len(queries)

    assert statements(1) == statements(20)


# ---- jobs that are switched off --------------------------------------------------------------------------


def change(job: Job, action: str, by: Any = None) -> None:
    job_changed.send(sender=Job, job=job, action=action, by=by, now=NOON, changes={}, via="api")


@pytest.mark.parametrize("action", ["expired", "broken"])
@pytest.mark.parametrize(("wants", "addresses"), [(True, ["owner@example.com"]), (False, [])])
def test_a_job_that_the_scheduler_switched_off(action, wants, addresses):
    job = make_job(enable_email_notifications=False, paused=True, paused_note="Because.")
    update_preferences(job.created_by, changes={"email_on_job_disabled": wants}, now=NOON)

    change(job, action)

    assert told() == [(f"job_{action}", address) for address in (*addresses, "slack")]


@pytest.mark.parametrize(
    ("by_owner", "wants", "expected"),
    [
        (False, True, [("job_disabled", "owner@example.com")]),
        (False, False, []),
        (True, True, []),
    ],
)
def test_an_owner_whose_job_was_disabled_by_another(by_owner, wants, expected):
    job = make_job(enable_email_notifications=False)
    update_preferences(job.created_by, changes={"email_on_job_disabled": wants}, now=NOON)

    change(job, "disabled", by=job.created_by if by_owner else UserFactory(admin=True))

    assert told() == expected


@pytest.mark.parametrize("action", ["created", "updated", "deleted", "enabled"])
def test_other_changes_leave_by_no_channel(action):
    change(make_job(), action, by=UserFactory(admin=True))

    assert told() == []


def test_a_failure_that_nobody_could_be_told_spares_nobody_the_next():
    job = make_job(enable_email_notifications=False)
    update_slack_settings(data={"is_enabled": False}, by=None, now=NOON)
    end(job, "failed")
    update_slack_settings(data={"is_enabled": True}, by=None, now=NOON)
    assert told() == []

    end(job, "failed")

    assert told() == [("run_failed", "slack")]


def test_where_mail_was_switched_off_no_recovery_waits_for_it(settings):
    job = make_job()
    end(job, "failed")
    told()
    settings.MAIL_ENABLED = False

    end(job, "success")

    assert told() == [("job_recovered", "slack")]
