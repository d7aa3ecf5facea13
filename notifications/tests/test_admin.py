from __future__ import annotations

import pytest

from cronsched.core import clock, crypto
from cronsched.testing.fixtures_admin import errors_of
from notifications.models import Notification, NotificationPreferences, SlackSettings
from notifications.services.slack_settings import masked_webhook_url

pytestmark = pytest.mark.django_db

NOTES, WISHES, SLACK = (
    "notifications_notification",
    "notifications_notificationpreferences",
    "notifications_slacksettings",
)
URL = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"


def notice(user, **values):
    return Notification.objects.create(
        user=user, type="error", title="Job failed", message="why", created_at=clock.now(), **values
    )


def test_notices_are_ones_own_for_every_role(admin_site, user_site):
    mine, theirs = notice(admin_site.user), notice(user_site.user)

    assert list(admin_site.open(f"{NOTES}_changelist").context["cl"].result_list) == [mine]
    assert admin_site.open(f"{NOTES}_change", theirs.pk).status_code == 302
    admin_site.act("mark_read", f"{NOTES}_changelist", mine.pk, theirs.pk)
    admin_site.act("delete_selected", f"{NOTES}_changelist", mine.pk, theirs.pk, post="yes")

    assert list(Notification.objects.all()) == [theirs]
    assert not Notification.objects.get().is_read


def test_mark_as_read_keeps_when(user_site):
    row = notice(user_site.user)

    user_site.act("mark_read", f"{NOTES}_changelist", row.pk)

    row.refresh_from_db()
    assert row.is_read
    assert row.read_at is not None


def test_a_notice_is_escaped_and_not_edited(user_site):
    row = notice(user_site.user)
    Notification.objects.update(title="<script>alert(1)</script>", message="<script>alert(2)</script>")

    assert "<script>alert(" not in user_site.open(f"{NOTES}_changelist").content.decode()
    assert "<script>alert(" not in user_site.open(f"{NOTES}_change", row.pk).content.decode()
    assert user_site.send(f"{NOTES}_change", row.pk, title="x").status_code == 403


def test_the_preferences_page_is_ones_own(user_site, admin_site):
    page = user_site.get(user_site.open(f"{WISHES}_changelist").url)
    row = NotificationPreferences.objects.get(user=user_site.user)

    assert page.status_code == 200
    user_site.submit(f"{WISHES}_change", row.pk, daily_digest="on")
    assert admin_site.open(f"{WISHES}_change", row.pk).status_code == 302, "as if it were not there"
    row.refresh_from_db()
    assert row.daily_digest
    assert row.email_on_job_failure


# ---- Slack -----------------------------------------------------------------------------------------


@pytest.fixture
def slack(admin_site):
    """The address of the one row's page."""
    admin_site.open(f"{SLACK}_changelist")
    return SlackSettings.objects.get().pk


def test_the_webhook_url_is_stored_encrypted_and_shown_masked(admin_site, slack):
    admin_site.submit(f"{SLACK}_change", slack, is_enabled="on", webhook_url=f" {URL} ", channel="#ops")

    row = SlackSettings.objects.get()
    page = admin_site.open(f"{SLACK}_change", slack).content.decode()
    assert crypto.decrypt(row.webhook_url) == URL
    assert masked_webhook_url(row) == "https://hooks.slack.com/…mnop"
    assert "https://hooks.slack.com/…mnop" in page
    assert "abcdefgh" not in page
    assert row.webhook_url not in page


def test_saving_the_masked_url_keeps_the_stored_one(admin_site, slack):
    admin_site.submit(f"{SLACK}_change", slack, is_enabled="on", webhook_url=URL)

    admin_site.submit(f"{SLACK}_change", slack, channel="#other")

    row = SlackSettings.objects.get()
    assert (row.channel, row.is_enabled) == ("#other", True)
    assert crypto.decrypt(row.webhook_url) == URL


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"is_enabled": "on"}, "Webhook URL is required when Slack is enabled."),
        ({"webhook_url": "http://hooks.slack.com/x"}, "https://"),
        ({"webhook_url": "https://127.0.0.1/x"}, "not public"),
        ({"webhook_url": "https://user:pw@hooks.slack.com/x"}, "user name or a password"),
        ({"webhook_url": "nonsense"}, "https://"),
    ],
)
def test_a_url_that_may_not_be_called_is_refused_on_its_field(admin_site, slack, values, words):
    errors = errors_of(admin_site.submit(f"{SLACK}_change", slack, **values))

    assert list(errors) == ["webhook_url"]
    assert words in errors["webhook_url"][0]
    assert SlackSettings.objects.get().webhook_url == ""


def test_a_url_of_lost_keys_can_be_entered_again(admin_site, slack):
    SlackSettings.objects.update(webhook_url="written under another key")

    assert "cannot be read" in admin_site.open(f"{SLACK}_change", slack).content.decode()
    admin_site.submit(f"{SLACK}_change", slack, webhook_url=URL)

    assert crypto.decrypt(SlackSettings.objects.get().webhook_url) == URL


def test_slack_settings_are_for_admins(admin_site, user_site, viewer_site, slack):
    for site in (user_site, viewer_site):
        assert site.open(f"{SLACK}_changelist").status_code == 403
        assert site.open(f"{SLACK}_change", slack).status_code == 403
        assert site.send(f"{SLACK}_change", slack, channel="#mine").status_code == 403
    assert admin_site.open(f"{SLACK}_add").status_code == 403
    assert admin_site.send(f"{SLACK}_delete", slack, post="yes").status_code == 403
