from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cronsched.core import crypto
from cronsched.core.errors import InvalidInput
from notifications.models import SlackSettings
from notifications.services.slack_settings import (
    get_slack_settings,
    masked_webhook_url,
    update_slack_settings,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
URL = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"


def update(**data):
    return update_slack_settings(data=data, by=None, now=NOW)


def test_the_first_read_makes_the_one_row_with_its_defaults():
    row = get_slack_settings()

    assert (row.is_enabled, row.webhook_url, row.channel) == (False, "", "")
    assert get_slack_settings().pk == row.pk
    assert SlackSettings.objects.count() == 1


def test_an_update_is_partial():
    update(is_enabled=True, webhook_url=URL, channel=" #ops ")

    row = update(channel=None)

    assert (row.is_enabled, row.channel) == (True, "")
    assert crypto.decrypt(row.webhook_url) == URL


@pytest.mark.parametrize("value", ["", "  ", None])
def test_a_blank_url_clears_it(value):
    update(webhook_url=URL)

    assert update(webhook_url=value).webhook_url == ""


def test_the_masked_url_stands_for_the_stored_one():
    row = update(webhook_url=URL)

    assert crypto.decrypt(update(webhook_url=masked_webhook_url(row)).webhook_url) == URL


@pytest.mark.parametrize(
    ("url", "mask"),
    [
        ("", ""),
        (URL, "https://hooks.slack.com/…mnop"),
        ("https://example.com:8443/short", "https://example.com:8443/…"),
        ("https://example.com/a/long/enough/path?token=secret", "https://example.com/…path"),
    ],
)
def test_the_mask_shows_where_to_and_no_secret(url, mask):
    assert masked_webhook_url(update(webhook_url=url)) == mask


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"is_enabled": True}, "Invalid settings", "webhook_url is required when Slack is enabled."),
        ({"is_enabled": "yes"}, "Invalid settings", "is_enabled must be true or false."),
        ({"channel": 5}, "Invalid settings", "channel must be text or null."),
        ({"channel": "a\x00"}, "Invalid settings", "channel must be text or null."),
        ({"channel": "x" * 256}, "Invalid settings", "channel has 256 characters; at most 255 are allowed."),
        ({"x": 1}, "No valid fields to update", "Send at least one of is_enabled, webhook_url and channel."),
    ],
)
def test_what_is_refused(data, error, message):
    with pytest.raises(InvalidInput) as refusal:
        update(**data)

    assert (refusal.value.error, refusal.value.message) == (error, message)
    assert get_slack_settings().is_enabled is False


def test_the_url_of_an_enabled_one_cannot_be_removed():
    update(is_enabled=True, webhook_url=URL)

    with pytest.raises(InvalidInput, match="required when Slack is enabled"):
        update(webhook_url="")

    assert update(is_enabled=False, webhook_url="").webhook_url == ""
