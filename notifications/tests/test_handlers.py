from __future__ import annotations

import threading
from datetime import date

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.services import delete_user, register_user, update_user
from accounts.tests.factories import UserFactory
from jobs.engine.tell import tell_changed, tell_finished
from jobs.models import Job, UntoldRun
from jobs.services.maintenance import expire_jobs
from jobs.signals import job_changed
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications import handlers
from notifications.inapp import Notice, post
from notifications.models import Notification
from notifications.services.notices import mark_read
from notifications.services.slack_settings import update_slack_settings
from taxonomy.services import create_category, create_team, disable_category, update_team
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def told() -> set[tuple[str, str, str]]:
    rows = Notification.objects.values_list("user__username", "type", "title")
    return {(username, kind, title) for username, kind, title in rows}


@pytest.mark.parametrize(
    ("values", "people", "kind", "verb"),
    [
        ({"status": "success"}, {"owner"}, "success", "succeeded"),
        ({"status": "failed"}, {"owner", "boss"}, "error", "failed"),
        ({"status": "missed"}, {"owner", "boss"}, "warning", "was missed"),
    ],
)
def test_who_is_told_of_a_run(values, people, kind, verb):
    owner = UserFactory(username="owner")
    UserFactory(username="boss", admin=True)
    UserFactory(username="gone", admin=True, inactive=True)
    UserFactory(username="bystander")
    run = ExecutionFactory(job=JobFactory(name="Backup", created_by=owner), **values)

    tell_finished([run], now=NOON)

    assert told() == {(name, kind, f"Backup {verb}") for name in people}
    assert set(Notification.objects.values_list("related_execution_id", flat=True)) == {run.pk}


def test_the_message_names_slot_answer_and_reason():
    run = ExecutionFactory(scheduled_for=NOON, failed=True, response_status=500, error_message="Boom.")

    tell_finished([run], now=NOON)

    message = Notification.objects.get().message
    assert message == "Slot 2026-03-10 21:00 +09:00 (Asia/Tokyo). Answer: 500. Boom."


def test_an_admin_who_owns_the_job_is_told_once():
    boss = UserFactory(admin=True)

    tell_finished([ExecutionFactory(job=JobFactory(created_by=boss), failed=True)], now=NOON)

    assert Notification.objects.count() == 1


def test_one_unread_notice_per_job_is_brought_up_to_date():
    job = JobFactory()
    first, second, third = (ExecutionFactory(job=job, failed=True) for _ in range(3))
    tell_finished([first], now=NOON)
    tell_finished([second, third], now=NOON)

    notice = Notification.objects.get()
    assert (notice.count, notice.related_execution_id) == (3, third.pk)


def test_a_notice_that_was_read_stays_and_a_new_one_comes():
    job = JobFactory()
    tell_finished([ExecutionFactory(job=job, failed=True)], now=NOON)
    mark_read(user=job.created_by, now=NOON)

    tell_finished([ExecutionFactory(job=job, failed=True)], now=NOON)

    assert sorted(Notification.objects.values_list("is_read", "count")) == [(False, 1), (True, 1)]


def test_statements_do_not_grow_with_the_batch():
    def statements(count: int) -> int:
        runs = [ExecutionFactory(failed=True) for _ in range(count)]
        with CaptureQueriesContext(connection) as queries:
            tell_finished(runs, now=NOON)
        return len(queries)

    assert statements(1) == statements(30)


@pytest.mark.parametrize("action", ["created", "updated", "deleted", "enabled", "disabled"])
def test_everybody_hears_of_a_change(action):
    by = UserFactory(username="by")
    UserFactory(username="reader", viewer=True)
    UserFactory(username="gone", inactive=True)
    job = JobFactory(name="Backup", created_by=by)

    job_changed.send(sender=Job, job=job, action=action, by=by, now=NOON, changes={}, via="api")

    assert told() == {(name, "info", f"Backup was {action}") for name in ("by", "reader")}


@pytest.mark.parametrize("action", ["expired", "broken"])
def test_owner_and_admins_hear_that_the_scheduler_switched_a_job_off(action):
    UserFactory(username="boss", admin=True)
    UserFactory(username="bystander")
    job = JobFactory(created_by=UserFactory(username="owner"), paused=True, paused_note="Because.")

    job_changed.send(sender=Job, job=job, action=action, by=None, now=NOON, changes={}, via="scheduler")

    assert {name for name, *_ in told()} == {"owner", "boss"}
    assert set(Notification.objects.values_list("type", "message")) == {("warning", "Because.")}


def test_a_notice_that_fails_undoes_no_change(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(handlers, "post", fail)
    job = JobFactory()

    tell_changed(job, "updated", now=NOON)

    assert Job.objects.filter(pk=job.pk).exists()


def test_a_run_that_could_not_be_told_is_kept(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(handlers, "post", fail)
    run = ExecutionFactory(failed=True)

    tell_finished([run], now=NOON)

    assert UntoldRun.objects.get().pk == run.pk


# ---- what admins hear of -----------------------------------------------------------------------------

URL = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"


@pytest.mark.parametrize(
    ("change", "title", "message"),
    [
        (
            lambda by: create_category(name="Reports", by=by, now=NOON),
            "Category Reports was created",
            "By boss.",
        ),
        (
            lambda by: create_team(name="Ops", slack_handle="@ops", by=None, now=NOON),
            "PIC team Ops was created",
            "By a command.",
        ),
        (
            lambda by: update_team(TeamFactory(name="Ops"), data={"slack_handle": "@dev"}, by=by, now=NOON),
            "PIC team Ops was updated",
            "By boss. slack_handle: @team → @dev",
        ),
        (
            lambda by: disable_category(CategoryFactory(slug="old", name="Old"), by=by, now=NOON),
            "Category Old was disabled",
            "By boss. is_active: yes → no",
        ),
        (
            lambda by: register_user(
                username="new", email="new@example.com", password="secret1", by=by, now=NOON
            ),
            "User new was created",
            "By boss.",
        ),
        (
            lambda by: update_user(
                UserFactory(username="uma", email="a@example.com"),
                changes={"email": "b@example.com", "password": "secret1"},
                by=by,
                now=NOON,
            ),
            "User uma was updated",
            "By boss. email: a@example.com → b@example.com; password: *** → ***",
        ),
        (
            lambda by: delete_user(UserFactory(username="uma", admin=True), by=by, now=NOON),
            "User uma was deleted",
            "By boss.",
        ),
        (
            lambda by: update_slack_settings(data={"webhook_url": URL, "channel": "#ops"}, by=by, now=NOON),
            "Slack settings were changed",
            "By boss. webhook_url: – → https://hooks.slack.com/…mnop; channel: – → #ops",
        ),
    ],
)
def test_admins_hear_what_changes_the_installation(change, title, message):
    boss = UserFactory(username="boss", admin=True)
    UserFactory(username="second", admin=True)
    UserFactory(username="gone", admin=True, inactive=True)
    UserFactory(username="reader", viewer=True)

    change(boss)

    assert told() == {(name, "info", title) for name in ("boss", "second")}
    assert set(Notification.objects.values_list("message", flat=True)) == {message}


def test_nobody_hears_of_an_update_that_changes_nothing():
    boss = UserFactory(admin=True, email="boss@example.com")
    update_slack_settings(data={"channel": ""}, by=boss, now=NOON)
    update_user(boss, changes={"email": "boss@example.com"}, by=boss, now=NOON)

    assert not Notification.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_who_post_of_one_topic_at_once_leave_one_notice(close_thread_connections):
    user = UserFactory()
    notice = Notice(user_id=user.pk, type="info", topic="of this", title="t", message="m")
    together = threading.Barrier(2)

    def tell() -> None:
        together.wait()
        with transaction.atomic():
            post([notice], now=NOON)

    threads = [threading.Thread(target=lambda: (tell(), connection.close())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [row.count for row in Notification.objects.all()] == [2]


def test_jobs_that_expire_together_are_told_together():
    """At midnight hundreds may end: statements are per batch, and once is enough."""

    def statements(count: int) -> int:
        JobFactory.create_batch(count, end_date=date(2026, 3, 9))
        with CaptureQueriesContext(connection) as queries:
            assert expire_jobs(now=NOON) == count
        return len(queries)

    UserFactory(username="boss", admin=True)
    assert statements(1) == statements(30)
    assert expire_jobs(now=NOON) == 0
    assert Notification.objects.filter(user__username="boss", type="warning").count() == 31
    assert set(Notification.objects.values_list("count", flat=True)) == {1}


@pytest.mark.parametrize(
    "leave",
    [
        lambda user, by: delete_user(user, by=by, now=NOON),
        lambda user, by: update_user(user, changes={"is_active": False}, by=by, now=NOON),
    ],
)
def test_admins_hear_how_many_jobs_somebody_leaves_behind(leave):
    boss, uma = UserFactory(admin=True), UserFactory(username="uma")
    JobFactory.create_batch(2, created_by=uma)

    leave(uma, boss)

    assert Notification.objects.get(user=boss).title.endswith(", owner of 2 jobs")
