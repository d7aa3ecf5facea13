"""Messages that are to leave by mail or Slack: rows first, sent later, kept for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.db import DatabaseNow
from cronsched.core.models import KeyField, uuid7

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models.manager import Manager


class Channel(models.TextChoices):
    EMAIL = "email", _("e-mail")
    SLACK = "slack", _("Slack")


class Event(models.TextChoices):
    """What a message tells; mail has a pair of templates for each."""

    RUN_SUCCEEDED = "run_succeeded", _("run succeeded")
    RUN_FAILED = "run_failed", _("run failed")
    RUN_MISSED = "run_missed", _("run missed")
    JOB_RECOVERED = "job_recovered", _("job recovered")
    JOB_EXPIRED = "job_expired", _("job ended")
    JOB_BROKEN = "job_broken", _("job broken")
    JOB_DISABLED = "job_disabled", _("job disabled")
    SUMMARY = "summary", _("several in one")
    END_DATE_REMINDER = "end_date_reminder", _("end dates near")
    DAILY_DIGEST = "daily_digest", _("daily digest")
    WEEKLY_REPORT = "weekly_report", _("weekly report")


class MessageState(models.TextChoices):
    QUEUED = "queued", _("queued")
    SENDING = "sending", _("being sent")
    SENT = "sent", _("sent")
    MERGED = "merged", _("told in another")
    FAILED = "failed", _("given up")


OPEN = (MessageState.QUEUED, MessageState.SENDING)


class MessageQuerySet(models.QuerySet[Any]):
    def due(self, channel: str, now: datetime) -> Self:
        """To be sent now, or claimed by a sender that has not been heard of since."""
        due = self.filter(channel=channel, state__in=OPEN, next_attempt_at__lte=now)
        return due.order_by("next_attempt_at", "id")


class Message(models.Model):
    """One message for one recipient. `payload` holds facts; words are made when it is sent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    channel = KeyField(_("channel"), max_length=10, choices=Channel.choices)
    event = KeyField(_("event"), max_length=30, choices=Event.choices)
    # An address; empty for Slack, which has one place.
    recipient = models.CharField(_("recipient"), max_length=320, blank=True, default="")
    # What may be gathered into one message ("email:<address>", "slack"); empty: it stands alone.
    group_key = KeyField(max_length=370, blank=True, default="")
    payload = models.JSONField(_("facts"), default=dict)
    state = KeyField(_("state"), max_length=10, choices=MessageState.choices, default=MessageState.QUEUED)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    # For one that is being sent: when its sender is given up for lost.
    next_attempt_at = models.DateTimeField(_("next attempt"))
    claim_token = models.UUIDField(null=True, editable=False)
    last_error = models.TextField(_("last error"), blank=True, default="")
    # Since when it waits to be sent: what waits too long is given up.
    queued_at = models.DateTimeField(db_default=DatabaseNow())
    # It waits for its channel, not for itself: it goes as soon as the channel answers.
    is_held = models.BooleanField(default=False, db_default=False)
    # The left part of the Message-ID: the same on every attempt with the same content.
    message_id = KeyField(max_length=64, editable=False)
    merged_into = models.UUIDField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"))
    sent_at = models.DateTimeField(_("sent"), null=True)

    objects: ClassVar[Manager[Any]] = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ("-created_at", "-id")
        indexes = (
            # The claim.
            models.Index(fields=["channel", "state", "next_attempt_at"], name="message_queue"),
            # What waits for a recipient, and when they were last told.
            models.Index(fields=["group_key", "state", "sent_at"], name="message_group"),
            # The list, and pruning.
            models.Index(fields=["-created_at", "-id"], name="message_newest"),
            # What was told in one that is given up.
            models.Index(fields=["merged_into"], name="message_merged"),
        )

    def __str__(self) -> str:
        return f"{self.get_event_display()} to {self.recipient or self.get_channel_display()}"


class JobAlert(models.Model):
    """What was told of a job's trouble, by which channel and when; of failures until it recovers."""

    job = models.OneToOneField("jobs.Job", on_delete=models.CASCADE, primary_key=True, related_name="+")
    failed_mail_at = models.DateTimeField(null=True)
    failed_slack_at = models.DateTimeField(null=True)
    missed_mail_at = models.DateTimeField(null=True)
    missed_slack_at = models.DateTimeField(null=True)
    # Who heard of the failure by mail: address -> the id of the user who owned the job, "" for an
    # address that the job lists.
    readers = models.JSONField(default=dict, db_default={})

    class Meta:
        verbose_name = _("told trouble")
        verbose_name_plural = _("told troubles")

    def __str__(self) -> str:
        return str(self.pk)


class UntoldChange(models.Model):
    """A job that fires no more, of which the handlers failed to tell: swept up later."""

    job: Any = models.ForeignKey("jobs.Job", on_delete=models.CASCADE, related_name="+")
    # "expired", "broken" or "disabled", and by whom: see jobs.signals.
    action = KeyField(max_length=10)
    by: Any = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    since = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("since", "id")

    def __str__(self) -> str:
        return f"{self.job_id} {self.action}"


class Occasion(models.Model):
    """Something told once: "daily_digest:<user>:<day>". Inserted together with what it stands for."""

    key = KeyField(max_length=120, primary_key=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("occasion")
        verbose_name_plural = _("occasions")

    def __str__(self) -> str:
        return str(self.key)
