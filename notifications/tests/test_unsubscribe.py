"""Ending mail by the link of a mail: signed, without a login, and never by a GET."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client

from accounts.tests.factories import UserFactory
from jobs.tests.factories import NOON, JobFactory
from notifications.models import Channel, EmailOptOut, Event, Notification, NotificationPreferences
from notifications.outbox import make_message
from notifications.services.preferences import update_preferences
from notifications.unsubscribe import (
    Subscription,
    read_token,
    subscribe_again,
    topics_of,
    unsubscribe,
    unsubscribe_url,
)

pytestmark = pytest.mark.django_db
FAILURES, DIGEST = "email_on_job_failure", "daily_digest"


def path_for(address: str, *topics: str) -> str:
    return urlsplit(unsubscribe_url(address, topics)).path


@pytest.fixture
def visitor() -> Client:
    """A mail program: no session, no token against forgery."""
    return Client(enforce_csrf_checks=True)


@pytest.mark.parametrize("method", ["get", "head"])
def test_opening_the_link_changes_nothing(visitor: Client, method: str) -> None:
    user = UserFactory(email="uma@example.com")

    page = getattr(visitor, method)(path_for("uma@example.com", FAILURES))

    assert page.status_code == 200
    assert not EmailOptOut.objects.exists()
    assert not NotificationPreferences.objects.filter(user=user, email_on_job_failure=False).exists()


def test_the_page_has_a_button_and_no_outside_host(visitor: Client) -> None:
    page = visitor.get(path_for("uma@example.com", FAILURES, DIGEST)).content.decode()

    assert "No more mail to uma@example.com about failed and missed runs, the daily digest?" in page
    assert '<form method="post"><button>' in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_button_ends_it_for_the_user_and_for_lists(visitor: Client) -> None:
    user = UserFactory(email="Uma@example.com")

    for _ in range(2):
        page = visitor.post(path_for("uma@example.com", FAILURES))
        assert page.status_code == 200
        assert "gets no more mail about failed and missed runs" in page.content.decode()

    assert NotificationPreferences.objects.get(user=user).email_on_job_failure is False
    assert NotificationPreferences.objects.get(user=user).email_on_job_success is True
    assert list(EmailOptOut.objects.values_list("address_key", "topic")) == [("uma@example.com", FAILURES)]


def test_one_click_of_a_mail_program(visitor: Client) -> None:
    """RFC 8058: `List-Unsubscribe=One-Click` as a form, without cookies."""
    page = visitor.post(path_for("ops@example.com", FAILURES), {"List-Unsubscribe": "One-Click"})

    assert page.status_code == 200
    assert EmailOptOut.objects.get().address_key == "ops@example.com"


def test_who_asks_for_it_again_gets_it_again(visitor: Client) -> None:
    user = UserFactory(email="uma@example.com")
    visitor.post(path_for("uma@example.com", FAILURES, DIGEST))

    update_preferences(user, changes={FAILURES: True}, now=NOON)

    assert list(EmailOptOut.objects.values_list("topic", flat=True)) == [DIGEST]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("token", ["x", "WyJ4Il0:1:forged", "%00", "日本", "a" * 3000])
def test_a_link_that_was_not_made_here(visitor: Client, method: str, token: str) -> None:
    page = getattr(visitor, method)(f"/unsubscribe/{token}")

    assert page.status_code == 404
    assert "This link is not valid" in page.content.decode()
    assert not EmailOptOut.objects.exists()


def test_other_methods_are_refused(visitor: Client) -> None:
    assert visitor.put(path_for("uma@example.com", FAILURES)).status_code == 405


@pytest.mark.parametrize(
    ("event", "counts", "topics"),
    [
        (Event.RUN_FAILED, {"run_failed": 1}, [FAILURES]),
        (Event.SUMMARY, {"run_failed": 2, "run_succeeded": 1}, [FAILURES, "email_on_job_success"]),
        (Event.DAILY_DIGEST, {}, [DIGEST]),
    ],
)
def test_a_link_names_what_its_mail_was_about(
    event: Event, counts: dict[str, int], topics: list[str]
) -> None:
    message = make_message(Channel.EMAIL, "a@example.com", event, {"counts": counts}, now=NOON)

    subscription: Any = read_token(path_for("a@example.com", *topics_of(message)).rsplit("/", 1)[1])

    assert (subscription.address, subscription.topics) == ("a@example.com", topics)


@pytest.mark.parametrize(("days", "status"), [(29, 200), (31, 404)])
def test_a_link_is_good_for_thirty_days(visitor: Client, days: int, status: int) -> None:
    with time_machine.travel(NOON, tick=False):
        path = path_for("ops@example.com", FAILURES)

    with time_machine.travel(NOON + timedelta(days=days), tick=False):
        page = visitor.post(path)

    assert page.status_code == status
    assert EmailOptOut.objects.exists() is (status == 200)
    assert ("older than 30 days" in page.content.decode()) is (status == 404)


# ---- who hears of it -------------------------------------------------------------------------------------


def end_mail_to(address: str, *topics: str) -> None:
    unsubscribe(Subscription(address=address, topics=topics), now=NOON)


def test_owners_hear_that_an_address_of_their_jobs_is_deaf() -> None:
    uma, bob = UserFactory(username="uma"), UserFactory(username="bob")
    for name, owner, addresses in (
        ("Backup", uma, ["OPS@example.com"]),
        ("Reports", uma, ["x@example.com", "ops@example.com"]),
        ("Other", uma, ["x@example.com"]),
        ("Sync", bob, ["ops@example.com"]),
        ("Lone", None, ["ops@example.com"]),
        ("Left", UserFactory(inactive=True), ["ops@example.com"]),
    ):
        JobFactory(name=name, created_by=owner, notification_emails=addresses)

    end_mail_to("ops@example.com", FAILURES)
    end_mail_to("ops@example.com", FAILURES)

    notices = Notification.objects.order_by("user__username")
    assert [notice.user.username for notice in notices] == ["bob", "uma"]
    assert notices[1].type == "warning"
    assert notices[1].title == "ops@example.com gets no more mail about failed and missed runs"
    assert "list it: Backup, Reports. An admin" in notices[1].message


def test_nobody_is_told_of_their_own_doing_or_of_a_digest() -> None:
    uma = UserFactory(email="uma@example.com")
    JobFactory(created_by=uma, notification_emails=["uma@example.com"])
    JobFactory(notification_emails=["ops@example.com"])

    end_mail_to("uma@example.com", FAILURES)
    end_mail_to("ops@example.com", DIGEST)

    assert not Notification.objects.exists()


def test_a_notice_names_ten_jobs_and_counts_the_rest() -> None:
    owner = UserFactory()
    for number in range(12):
        JobFactory(name=f"Job {number:02}", created_by=owner, notification_emails=["ops@example.com"])

    end_mail_to("ops@example.com", FAILURES)

    message = Notification.objects.get().message
    assert "Job 09 and 2 more." in message
    assert "Job 10" not in message


def test_subscribing_again_undoes_it_for_lists_and_for_accounts() -> None:
    user = UserFactory(email="uma@example.com")
    end_mail_to("uma@example.com", FAILURES, DIGEST)
    end_mail_to("ops@example.com", FAILURES)
    ids = EmailOptOut.objects.filter(topic=FAILURES).values_list("pk", flat=True)

    assert subscribe_again(ids=list(ids), by=UserFactory(admin=True), now=NOON) == 2

    assert list(EmailOptOut.objects.values_list("address_key", "topic")) == [("uma@example.com", DIGEST)]
    wishes = NotificationPreferences.objects.get(user=user)
    assert (wishes.email_on_job_failure, wishes.daily_digest) == (True, False)


PAGE = "notifications_emailoptout"


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("user", 403), ("viewer", 403)])
def test_who_sees_what_was_unsubscribed(request: pytest.FixtureRequest, role: str, status: int) -> None:
    end_mail_to("<b>ops</b>@example.com", FAILURES)
    entry = EmailOptOut.objects.get()
    site = request.getfixturevalue(f"{role}_site")

    page = site.open(f"{PAGE}_changelist")
    assert page.status_code == status
    assert site.open(f"{PAGE}_change", entry.pk).status_code == status
    assert site.open(f"{PAGE}_add").status_code == 403
    assert site.act("subscribe_again", f"{PAGE}_changelist", entry.pk).status_code == (
        302 if status == 200 else 403
    )
    if status == 200:
        assert "failed and missed runs" in page.content.decode()
        assert "<b>ops" not in page.content.decode()
    assert EmailOptOut.objects.exists() is (status != 200)
