from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from cronsched.core import clock
from cronsched.testing.fixtures_admin import Visitor, messages_of
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import Notification, NotificationType
from notifications.services.notices import UNREAD_SHOWN, count_unread
from notifications.services.preferences import get_preferences

pytestmark = pytest.mark.django_db

LIST, PAGE, OPEN = (f"notifications_notification_{name}" for name in ("changelist", "change", "open"))


def notice(user, **values) -> Notification:
    values = {"type": NotificationType.ERROR, "title": "Backup failed", "message": "500", **values}
    return Notification.objects.create(user=user, created_at=clock.now(), **values)


def is_read(row: Notification) -> bool:
    row.refresh_from_db()
    return bool(row.is_read)


def test_opening_a_notice_marks_it_read_and_leads_to_the_run(viewer_site: Visitor):
    run = ExecutionFactory()
    row = notice(viewer_site.user, related_job=run.job, related_execution=run)

    answer = viewer_site.open(OPEN, row.pk)

    assert answer.headers["Location"] == reverse("admin:jobs_jobexecution_change", args=[run.pk])
    assert is_read(row)


def test_without_a_run_it_leads_to_the_job_and_else_to_itself(viewer_site: Visitor):
    job = JobFactory()
    of_job, of_nothing = notice(viewer_site.user, related_job=job), notice(viewer_site.user)

    to_job, to_itself = viewer_site.open(OPEN, of_job.pk), viewer_site.open(OPEN, of_nothing.pk)
    assert to_job.headers["Location"] == reverse("admin:jobs_job_page", args=[job.pk])
    assert to_itself.headers["Location"] == reverse(f"admin:{PAGE}", args=[of_nothing.pk])


def test_reading_a_notices_own_page_marks_it_read(viewer_site: Visitor):
    row = notice(viewer_site.user)

    viewer_site.open(PAGE, row.pk)
    assert is_read(row)


@pytest.mark.parametrize("page", [OPEN, PAGE])
def test_anothers_notice_is_not_there(admin_site: Visitor, a_user, page):
    row = notice(a_user)

    assert admin_site.open(page, row.pk).status_code in {302, 404}
    assert not is_read(row)
    assert admin_site.open(OPEN, uuid4()).status_code == 404


def test_all_are_marked_read_by_a_post_of_ones_own(viewer_site: Visitor, an_admin):
    mine, another = notice(viewer_site.user), notice(an_admin)

    assert viewer_site.open("notifications_notification_mark_all_read").status_code == 405
    answer = viewer_site.send("notifications_notification_mark_all_read")

    assert messages_of(answer) == ["Marked as read: 1."]
    assert is_read(mine)
    assert not is_read(another)


def test_the_list_shows_the_reason_and_what_is_unread(viewer_site: Visitor):
    notice(viewer_site.user, message="<b>500 Internal Server Error</b>", count=3)
    notice(viewer_site.user, title="An old one", is_read=True)
    text = viewer_site.open(LIST).content.decode()

    assert "&lt;b&gt;500 Internal Server Error" in text
    assert "×3" in text
    assert text.count("cd-unread") == 1


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ({"unread": "1"}, {"new"}),
        ({"unread": "0"}, {"old"}),
        ({"type__exact": "error"}, {"new"}),
        ({"q": "ol"}, {"old"}),
    ],
)
def test_the_list_is_narrowed(viewer_site: Visitor, query, titles):
    notice(viewer_site.user, title="new")
    notice(viewer_site.user, title="old", is_read=True, type=NotificationType.INFO)

    assert {row.title for row in viewer_site.open(LIST, **query).context["cl"].result_list} == titles


def test_the_bell_counts_ones_own_unread_notices_up_to_a_bound(viewer_site: Visitor, an_admin):
    notice(an_admin)
    assert viewer_site.open("notifications_notification_unread").json() == {"unread": 0}
    assert 'aria-label="Inbox"' in _bell(viewer_site)
    for _ in range(3):
        notice(viewer_site.user)

    assert viewer_site.open("notifications_notification_unread").json() == {"unread": 3}
    assert 'aria-label="Inbox, unread: 3"' in _bell(viewer_site)


def test_nobody_counts_for_whoever_is_not_signed_in(client):
    answer = client.get(reverse("admin:notifications_notification_unread"))
    assert answer.status_code == 302


def test_a_full_inbox_is_not_counted_to_its_end(viewer_site: Visitor):
    rows = [
        Notification(
            user=viewer_site.user,
            type="info",
            title="t",
            message="m",
            created_at=clock.now() - timedelta(minutes=n),
        )
        for n in range(UNREAD_SHOWN + 5)
    ]
    Notification.objects.bulk_create(rows)

    assert count_unread(user=viewer_site.user) == UNREAD_SHOWN
    assert 'aria-label="Inbox, unread: 99+"' in _bell(viewer_site)


def test_the_inbox_costs_the_same_for_any_number(viewer_site: Visitor):
    costs = set()
    for _ in range(2):
        for _ in range(10):
            notice(viewer_site.user)
        with CaptureQueriesContext(connection) as caught:
            viewer_site.open(LIST)
        costs.add(len(caught))

    assert len(costs) == 1


def _bell(site: Visitor) -> str:
    page = site.open("notifications_notificationpreferences_change", site_preferences(site))
    text = str(page.content.decode())
    return text[text.index('class="cd-bell"') :][:500]


def site_preferences(site: Visitor):
    return get_preferences(site.user).pk
