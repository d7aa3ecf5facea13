from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from jobs.engine.tell import tell_changed, tell_finished
from jobs.models import Job, UntoldRun
from jobs.signals import job_changed
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications import handlers
from notifications.models import Notification

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
    assert message == "Slot 2026-03-10 21:00 (Asia/Tokyo). Answer: 500. Boom."


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
    Notification.objects.update(is_read=True)

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
