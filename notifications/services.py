"""The writes of notifications: where Slack is, and what a person has read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import transaction

from cronsched.core import crypto
from cronsched.core.db import locked, retry_conflicts
from cronsched.core.errors import InvalidInput
from cronsched.core.http.guard import AddressPolicy, check_url
from cronsched.core.text import is_storable
from notifications.models import Notification, NotificationPreferences, SlackSettings

PREFERENCES = (
    "email_on_job_success",
    "email_on_job_failure",
    "email_on_job_disabled",
    "browser_notifications",
    "daily_digest",
    "weekly_report",
)
SLACK_FIELDS = ("is_enabled", "webhook_url", "channel")
CHANNEL_MAX = 255
URL_MAX = 500
UNREADABLE = "(cannot be read with the present ENCRYPTION_KEYS: enter it again)"


def get_slack_settings() -> SlackSettings:
    """The one row, made with its defaults (off, no URL, no channel) on first read."""
    return SlackSettings.objects.get_or_create(only=1)[0]


def masked_webhook_url(row: SlackSettings) -> str:
    """The URL as it may be shown ("https://hooks.slack.com/…abcd"); "" where there is none.

    Sent back as it is, it stands for the stored one: see `update_slack_settings`.
    """
    if not row.webhook_url:
        return ""
    try:
        url = crypto.decrypt(row.webhook_url)
    except crypto.SecretUnreadable:
        return UNREADABLE
    parts = urlsplit(url)
    # The last letters tell two URLs apart; of a short path they would be the secret itself.
    tail = parts.path[-4:] if len(parts.path) >= 16 else ""
    return f"{parts.scheme}://{parts.netloc}/…{tail}"


@retry_conflicts
def update_slack_settings(*, data: Mapping[str, Any], by: Any, now: datetime) -> SlackSettings:
    """Change the given fields. Texts are trimmed, "" and None clear; a masked URL keeps the stored one."""
    if not any(name in data for name in SLACK_FIELDS):
        raise InvalidInput(
            "Send at least one of is_enabled, webhook_url and channel.", error="No valid fields to update"
        )
    get_slack_settings()
    with transaction.atomic():
        row: SlackSettings = locked(SlackSettings.objects.filter(only=1)).get()
        if "is_enabled" in data:
            row.is_enabled = _flag(data["is_enabled"])
        if "channel" in data:
            row.channel = _text(data["channel"], "channel", CHANNEL_MAX)
        if "webhook_url" in data:
            url = _text(data["webhook_url"], "webhook_url", URL_MAX)
            if not url or url != masked_webhook_url(row):
                row.webhook_url = _encrypted(url)
        if row.is_enabled and not row.webhook_url:
            raise InvalidInput(
                "webhook_url is required when Slack is enabled.",
                error="Invalid settings",
                field="webhook_url",
            )
        row.updated_at = now
        row.save()
    return row


def mark_read(*, user: Any, ids: list[UUID] | None = None, now: datetime) -> int:
    """Mark the user's unread notices as read, or those of `ids` among them. The count of changed ones."""
    unread = Notification.objects.of(user).unread()
    if ids is not None:
        unread = unread.filter(pk__in=ids)
    return int(unread.update(is_read=True, read_at=now))


def get_preferences(user: Any) -> NotificationPreferences:
    """What the user wants mail for, made with its defaults on first read."""
    return NotificationPreferences.objects.get_or_create(user=user)[0]


@retry_conflicts
@transaction.atomic
def update_preferences(user: Any, *, changes: Mapping[str, Any], now: datetime) -> NotificationPreferences:
    """Change the given wishes; unknown keys are ignored, and nothing but those is refused."""
    known = {name: changes[name] for name in PREFERENCES if name in changes}
    if not known:
        raise InvalidInput(
            f"Send at least one of: {', '.join(PREFERENCES)}.", error="No valid fields to update"
        )
    wrong = {name: ["Must be true or false."] for name, value in known.items() if not isinstance(value, bool)}
    if wrong:
        raise InvalidInput(f"{next(iter(wrong))} must be true or false.", details=wrong)
    stored = NotificationPreferences.objects.filter(pk=get_preferences(user).pk)
    row: NotificationPreferences = locked(stored).get()
    for name, value in known.items():
        setattr(row, name, value)
    row.save(update_fields=[*known, "updated_at"])
    return row


def _encrypted(url: str) -> str:
    if not url:
        return ""
    policy = AddressPolicy(
        allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
        allowed_networks=settings.WEBHOOK_ALLOWED_NETWORKS,
    )
    fault = check_url(url, policy, allow_http=settings.WEBHOOK_ALLOW_HTTP)
    if fault:
        raise InvalidInput(fault, error="Invalid settings", field="webhook_url")
    return crypto.encrypt(url)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("is_enabled must be true or false.", error="Invalid settings", field="is_enabled")
    return value


def _text(value: Any, field: str, longest: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not is_storable(value):
        raise InvalidInput(f"{field} must be text or null.", error="Invalid settings", field=field)
    text = value.strip()
    if len(text) > longest:
        raise InvalidInput(
            f"{field} has {len(text)} characters; at most {longest} are allowed.",
            error="Invalid settings",
            field=field,
        )
    return text
