"""A file of jobs on its way: checked first, stored once somebody has seen what it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField, uuid7

if TYPE_CHECKING:
    from django.db.models.manager import Manager


class UploadPhase(models.TextChoices):
    CHECKING = "checking", _("being checked")
    CHECKED = "checked", _("checked, nothing stored yet")
    STORING = "storing", _("being stored")
    DONE = "done", _("done")


class JobUpload(models.Model):
    """The file in the database, so that any web process takes the next step of it; gone after a day."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    filename = models.CharField(max_length=255, blank=True, default="")
    # Compressed and encrypted (cronsched.core.crypto): a file may hold signing secrets.
    content = models.TextField(blank=True, default="")
    default_github_owner = models.CharField(max_length=255, blank=True, default="")
    phase = KeyField(max_length=10, choices=UploadPhase.choices, default=UploadPhase.CHECKING)
    entry_count = models.PositiveIntegerField(default=0)
    empty_count = models.PositiveIntegerField(default=0)
    unknown_columns = models.JSONField(default=list)
    # How many entries this phase has behind it, and what it found: jobs.services.bulk_upload.staged.
    position = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=dict)
    # One request works on it at a time; one that died is waited for no longer than this.
    busy_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_index=True)

    objects: ClassVar[Manager[Any]] = models.Manager()

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.filename or str(self.pk)
