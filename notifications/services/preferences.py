"""What a person wants to be told by mail and browser."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.choices import AuditKind
from cronsched.core.db import locked, retry_conflicts
from cronsched.core.errors import InvalidInput
from notifications.models import EmailOptOut, NotificationPreferences

PREFERENCES = (
    "email_on_job_success",
    "email_on_job_failure",
    "email_on_job_disabled",
    "browser_notifications",
    "daily_digest",
    "weekly_report",
)


def get_preferences(user: Any) -> NotificationPreferences:
    """What the user wants mail for, made with its defaults on first read."""
    return NotificationPreferences.objects.get_or_create(user=user)[0]


@retry_conflicts
@transaction.atomic
def update_preferences(
    user: Any, *, changes: Mapping[str, Any], now: datetime, by: Any = None, via: str = "api"
) -> NotificationPreferences:
    """Change the given wishes; unknown keys are ignored, and nothing but those is refused.

    `by` is left out where it is the user themself.
    """
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
    differing = {name: (old, new) for name, new in known.items() if (old := getattr(row, name)) != new}
    for name, value in known.items():
        setattr(row, name, value)
    row.save(update_fields=[*known, "updated_at"])
    if differing:
        _record(user, differing, by=by or user, now=now, via=via)
    # Who asks for it again is not unsubscribed any more.
    wanted = [name for name, value in known.items() if value]
    EmailOptOut.objects.filter(address_key=user.email_key, topic__in=wanted).delete()
    return row


def _record(user: Any, changes: audit.Changes, *, by: Any, now: datetime, via: str) -> None:
    audit.record(
        kind=AuditKind.PREFERENCES,
        object_id=user.pk,
        name=user.username,
        action="updated",
        changes=changes,
        by=by,
        now=now,
        via=via,
    )
