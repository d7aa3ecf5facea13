"""What people want to be told, and where Slack is."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField, Timestamped


class NotificationPreferences(Timestamped):
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notification_preferences"
    )
    email_on_job_success = models.BooleanField(_("e-mail when a job succeeds"), default=True)
    email_on_job_failure = models.BooleanField(_("e-mail when a job fails"), default=True)
    email_on_job_disabled = models.BooleanField(_("e-mail when a job is disabled"), default=False)
    browser_notifications = models.BooleanField(_("browser notifications"), default=False)
    daily_digest = models.BooleanField(_("daily digest"), default=False)
    weekly_report = models.BooleanField(_("weekly report"), default=False)

    class Meta:
        verbose_name = _("notification preferences")
        verbose_name_plural = _("notification preferences")
        ordering = ("user",)

    def __str__(self) -> str:
        return f"Notification preferences of {self.user}"


class SlackSettings(Timestamped):
    """The one row of Slack settings: `only` is always 1, and unique."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    only = models.PositiveSmallIntegerField(default=1, unique=True, editable=False)
    is_enabled = models.BooleanField(_("enabled"), default=False)
    # Whoever has this URL may post: encrypted (cronsched.core.crypto), shown masked.
    webhook_url = models.TextField(_("webhook URL"), blank=True, default="")
    channel = models.CharField(_("channel"), max_length=255, blank=True, default="")

    class Meta:
        verbose_name = _("Slack settings")
        verbose_name_plural = _("Slack settings")

    def __str__(self) -> str:
        return "Slack settings"


class EmailOptOut(models.Model):
    """An address that wants no more mail of a topic (a field of NotificationPreferences).

    For addresses that jobs list: nobody's preferences speak for those.
    """

    address_key = KeyField(_("address"), max_length=360)
    topic = KeyField(max_length=40)
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("unsubscribed address")
        verbose_name_plural = _("unsubscribed addresses")
        ordering = ("address_key", "topic")
        constraints = (models.UniqueConstraint(fields=["address_key", "topic"], name="opt_out_once"),)

    def __str__(self) -> str:
        return f"{self.address_key}: {self.topic}"
