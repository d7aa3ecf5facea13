"""Where Slack is: the one row of its settings, and the secret in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.choices import AuditKind
from cronsched.core import crypto
from cronsched.core.db import locked, retry_conflicts
from cronsched.core.errors import InvalidInput
from cronsched.core.http.guard import check_url
from cronsched.core.signals import tell
from cronsched.core.text import is_storable
from jobs.services.fields import address_policy
from notifications.models import SlackSettings
from notifications.signals import slack_changed

SLACK_FIELDS = ("is_enabled", "webhook_url", "channel")
CHANNEL_MAX = 255
URL_MAX = 500
NEEDS_URL = "webhook_url is required when Slack is enabled."
UNREADABLE = "(cannot be read with the present ENCRYPTION_KEYS: enter it again)"


def get_slack_settings() -> SlackSettings:
    """The one row, made with its defaults (off, no URL, no channel) on first read."""
    return SlackSettings.objects.get_or_create(only=1)[0]


def readable_webhook_url(row: SlackSettings) -> str:
    """The URL itself, for admins and for calling it; "" where there is none, or none that can be read."""
    try:
        return crypto.decrypt(row.webhook_url) if row.webhook_url else ""
    except crypto.SecretUnreadable:
        return ""


def masked_webhook_url(row: SlackSettings) -> str:
    """The URL as it may be shown ("https://hooks.slack.com/…abcd"); "" where there is none.

    Sent back as it is, it stands for the stored one: see `update_slack_settings`.
    """
    if not row.webhook_url:
        return ""
    url = readable_webhook_url(row)
    if not url:
        return UNREADABLE
    parts = urlsplit(url)
    # The last letters tell two URLs apart; of a short path they would be the secret itself.
    tail = parts.path[-4:] if len(parts.path) >= 16 else ""
    return f"{parts.scheme}://{parts.netloc}/…{tail}"


@retry_conflicts
def update_slack_settings(
    *, data: Mapping[str, Any], by: Any, now: datetime, via: str = "api"
) -> SlackSettings:
    """Change the given fields. Texts are trimmed, "" and None clear; a masked URL keeps the stored one."""
    if not any(name in data for name in SLACK_FIELDS):
        raise InvalidInput(
            "Send at least one of is_enabled, webhook_url and channel.", error="No valid fields to update"
        )
    get_slack_settings()
    with transaction.atomic():
        row: SlackSettings = locked(SlackSettings.objects.filter(only=1)).get()
        before = _shown(row)
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
                NEEDS_URL,
                error="Invalid settings",
                field="webhook_url",
            )
        row.updated_at = now
        row.save()
        _tell(row, before, by, now, via)
    return row


def _shown(row: SlackSettings) -> dict[str, Any]:
    """The settings as a history of changes may show them: the secret masked."""
    return {"is_enabled": row.is_enabled, "webhook_url": masked_webhook_url(row), "channel": row.channel}


def _tell(row: SlackSettings, before: Mapping[str, Any], by: Any, now: datetime, via: str) -> None:
    after = _shown(row)
    changes = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
    if changes:
        audit.record(
            kind=AuditKind.SLACK,
            object_id=row.pk,
            name=str(row),
            action="updated",
            changes=changes,
            by=by,
            now=now,
            via=via,
        )
        tell(
            slack_changed,
            what="slack_changed",
            sender=SlackSettings,
            settings=row,
            by=by,
            now=now,
            changes=changes,
        )


def _encrypted(url: str) -> str:
    if not url:
        return ""
    fault = check_url(url, address_policy(), allow_http=settings.WEBHOOK_ALLOW_HTTP)
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
