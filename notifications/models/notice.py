"""In-app notices: what one user was told, until they throw it away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField, LeanModel, uuid7

if TYPE_CHECKING:
    from django.db.models.manager import Manager


class NotificationType(models.TextChoices):
    SUCCESS = "success", _("success")
    ERROR = "error", _("error")
    WARNING = "warning", _("warning")
    INFO = "info", _("info")


class NotificationQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> NotificationQuerySet:
        """Whose notice exists anybody may ask; whose it is decides what may be done with it."""
        return self if getattr(user, "is_active", False) else self.none()

    def of(self, user: Any) -> NotificationQuerySet:
        return self.filter(user_id=user.pk)

    # IN where `=` would do: Django writes `is_read=False` as NOT is_read, for which SQLite finds no index.

    def unread(self) -> NotificationQuerySet:
        return self.filter(is_read__in=(False,))

    def read(self) -> NotificationQuerySet:
        return self.filter(is_read__in=(True,))


class Notification(LeanModel):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications", db_index=False
    )
    type = KeyField(_("type"), max_length=10, choices=NotificationType.choices)
    title = models.CharField(_("title"), max_length=255)
    message = models.TextField(_("message"))
    related_job = models.ForeignKey("jobs.Job", on_delete=models.SET_NULL, null=True, related_name="+")
    related_execution = models.ForeignKey(
        "jobs.JobExecution", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    # What the notice is about ("run_failed:<job>"): one unread notice of a kind is brought up to
    # date, its count grown, instead of stacking another.
    topic = KeyField(max_length=80, blank=True, default="")
    # "<user>:<topic>" while it is unread, null from then on: a plain unique key, because MariaDB
    # silently leaves out conditional ones.
    unread_key = KeyField(max_length=120, null=True, unique=True, editable=False)
    count = models.PositiveIntegerField(_("count"), default=1)
    is_read = models.BooleanField(_("read"), default=False)
    read_at = models.DateTimeField(_("read at"), null=True)
    created_at = models.DateTimeField(_("created"))

    objects: ClassVar[Manager[Any]] = NotificationQuerySet.as_manager()

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["user", "-created_at", "-id"], name="notification_newest"),
            # Unread ones, newest first, and their count; "mark all as read"; "delete what was read".
            models.Index(fields=["user", "is_read", "-created_at", "-id"], name="notification_by_state"),
            # Pruning.
            models.Index(fields=["created_at"], name="notification_created"),
        )
        constraints = (
            models.CheckConstraint(
                name="notification_read_has_no_key",
                condition=models.Q(is_read=False) | models.Q(unread_key__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return self.title
