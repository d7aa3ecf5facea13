"""What could not be told is told later, by a sweep; nothing of a batch is lost with one notice."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from accounts.tests.factories import UserFactory
from jobs.engine.tell import tell_changed, tell_finished
from jobs.models import JobExecution, UntoldRun
from jobs.services.maintenance import expire_jobs
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications import handlers, inapp, untold
from notifications.handlers import tell_changed_jobs
from notifications.models import Message, Notification, UntoldChange
from notifications.services.preferences import update_preferences
from notifications.untold import sweep_changes

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`post` fails until `mend` is called."""

    class Broken:
        def __init__(self) -> None:
            self.patch = pytest.MonkeyPatch()
            self.patch.setattr(handlers, "post", self.post)

        def post(self, *args: Any, **kwargs: Any) -> None:
            raise ValueError("no")

        def mend(self) -> None:
            self.patch.undo()

    made = Broken()
    yield made
    made.mend()


def swept() -> int:
    return sweep_changes(tell_changed_jobs, now=NOON)


@pytest.mark.parametrize(
    ("action", "title"),
    [
        ("expired", "Backup was paused: its end date has gone by"),
        ("broken", "Backup was switched off: its schedule cannot be read"),
        ("disabled", "Backup was disabled"),
    ],
)
def test_a_stop_that_could_not_be_told_is_told_later_once(broken, settings, action, title):
    settings.MAIL_ENABLED = True
    owner, boss = UserFactory(), UserFactory(admin=True)
    update_preferences(owner, changes={"email_on_job_disabled": True}, now=NOON)
    job = JobFactory(name="Backup", created_by=owner, paused=True)

    tell_changed(job, action, by=boss if action == "disabled" else None, now=NOON)
    assert (UntoldChange.objects.count(), Notification.objects.count(), Message.objects.count()) == (1, 0, 0)
    assert swept() == 0
    broken.mend()

    assert [swept(), swept()] == [1, 0]
    assert set(Notification.objects.values_list("user", "title")) == {(owner.pk, title), (boss.pk, title)}
    assert list(Message.objects.values_list("event", "recipient")) == [(f"job_{action}", owner.email)]


def test_a_batch_of_expired_jobs_is_kept_job_by_job(broken):
    JobFactory.create_batch(3, end_date=NOON.date().replace(day=1))

    assert expire_jobs(now=NOON) == 3
    broken.mend()

    assert swept() == 3


def test_one_that_cannot_be_told_is_given_up_after_ten_attempts(broken):
    tell_changed(JobFactory(), "broken", now=NOON)

    for _ in range(untold.MAX_ATTEMPTS):
        assert UntoldChange.objects.exists()
        swept()

    assert not UntoldChange.objects.exists()


def test_other_changes_are_only_logged(broken, caplog):
    tell_changed(JobFactory(), "updated", now=NOON)

    assert not UntoldChange.objects.exists()
    assert "a handler failed" in caplog.text


# ---- somebody is deleted meanwhile -----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_user_deleted_meanwhile_costs_the_others_nothing(monkeypatch, close_thread_connections):
    """PostgreSQL would find the missing user at the commit, and undo the record of the runs with it."""
    if connection.vendor == "sqlite":
        pytest.skip("one writer: nobody deletes meanwhile")
    boss, gone = UserFactory(username="boss", admin=True), UserFactory(admin=True)
    run = ExecutionFactory(failed=True)
    read = inapp._unread
    deleted: list[threading.Thread] = []

    def delete():
        User.objects.filter(pk=gone.pk).delete()
        connection.close()

    def unread(keys):
        found = read(keys)
        if not deleted:
            deleted.append(threading.Thread(target=delete))
            deleted[0].start()
            deleted[0].join()
        return found

    monkeypatch.setattr(inapp, "_unread", unread)
    with transaction.atomic():
        JobExecution.objects.filter(pk=run.pk).update(error_message="recorded")
        tell_finished([run], now=NOON)

    run.refresh_from_db()
    assert run.error_message == "recorded"
    assert not UntoldRun.objects.exists()
    users = set(Notification.objects.values_list("user__username", flat=True))
    assert users == {boss.username, run.job.created_by.username}
