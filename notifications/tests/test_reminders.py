from __future__ import annotations

from datetime import date, timedelta

import pytest

from accounts.tests.factories import UserFactory
from jobs.tests.factories import NOON, JobFactory
from notifications.models import Notification
from notifications.reminders import send_end_date_reminders

pytestmark = pytest.mark.django_db
# NOON is 21:00 of 10 March in Tokyo.
TODAY = date(2026, 3, 10)


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
    JobFactory(end_date=TODAY + timedelta(days=days), **values)

    assert send_end_date_reminders(now=NOON) == int(reminded)
    assert Notification.objects.count() == int(reminded)


def test_the_day_is_the_schedulers():
    JobFactory(end_date=TODAY)

    assert send_end_date_reminders(now=NOON + timedelta(hours=3)) == 0


def test_a_deactivated_owner_is_not_told():
    JobFactory(end_date=TODAY, created_by=UserFactory(inactive=True))

    assert send_end_date_reminders(now=NOON) == 0


def test_the_reminder_names_the_job_and_the_day_and_is_brought_up_to_date():
    job = JobFactory(name="Backup", end_date=TODAY)

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
