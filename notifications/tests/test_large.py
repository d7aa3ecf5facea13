"""A hundred thousand notices of one user: each of the calls finds its rows by an index."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from accounts.tests.factories import UserFactory
from jobs.tests.factories import NOON
from notifications.models import Notification

pytestmark = [pytest.mark.django_db, pytest.mark.databases, pytest.mark.slow]
ROWS = 100_000
WEEK = {"created_at__gte": NOON + timedelta(minutes=1000), "created_at__lt": NOON + timedelta(minutes=2000)}
CALLS: dict[str, Any] = {
    "list": lambda own: own[:20],
    "list of a range": lambda own: own.filter(**WEEK)[:20],
    "unread only": lambda own: own.unread()[:20],
    "unread of a range": lambda own: own.unread().filter(**WEEK)[:20],
    "unread count": lambda own: own.unread().order_by().values("pk"),
    "delete read of a range": lambda own: own.read().filter(**WEEK).order_by(),
}


@pytest.fixture
def own() -> Any:
    """The notices of a user who has read 95 of 100; another has as many."""
    users = UserFactory.create_batch(2)
    Notification.objects.bulk_create(
        [
            Notification(
                user=users[number % 2],
                type="info",
                title="t",
                message="m",
                is_read=number % 20 != 0 and number % 20 != 1,
                created_at=NOON + timedelta(minutes=number / 20),
            )
            for number in range(2 * ROWS)
        ],
        batch_size=2000,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "ANALYZE TABLE notifications_notification" if connection.vendor == "mysql" else "ANALYZE"
        )
    return Notification.objects.of(users[0])


def test_every_call_has_its_index(own: Any) -> None:
    plans = {name: call(own).explain() for name, call in CALLS.items()}

    indexes = ("notification_newest", "notification_by_state", "notification_created")
    assert {name: plan for name, plan in plans.items() if not any(index in plan for index in indexes)} == {}
    # PostgreSQL may walk newest first where many are unread; the others never have a reason to.
    if connection.vendor != "postgresql":
        assert all("notification_by_state" in plans[name] for name in ("unread only", "unread count"))
