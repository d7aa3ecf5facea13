"""Who is told what: notices, each user's wishes, where Slack is, and the messages on their way."""

from __future__ import annotations

from notifications.models.notice import Notification, NotificationQuerySet, NotificationType
from notifications.models.outbox import (
    OPEN,
    Channel,
    Event,
    JobAlert,
    Message,
    MessageQuerySet,
    MessageState,
    Occasion,
    UntoldChange,
)
from notifications.models.wishes import EmailOptOut, NotificationPreferences, SlackSettings

__all__ = [
    "OPEN",
    "Channel",
    "EmailOptOut",
    "Event",
    "JobAlert",
    "Message",
    "MessageQuerySet",
    "MessageState",
    "Notification",
    "NotificationPreferences",
    "NotificationQuerySet",
    "NotificationType",
    "Occasion",
    "SlackSettings",
    "UntoldChange",
]
