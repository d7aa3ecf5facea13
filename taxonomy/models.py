"""What jobs are sorted by: categories, and the teams in charge (PIC)."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField, Timestamped
from cronsched.core.text import clean_name, name_key

GENERAL = "general"


class TaxonQuerySet(models.QuerySet[Any]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def visible_to(self, user: Any) -> Self:
        """Every role reads every row, the disabled ones too: those still stand on jobs."""
        return self if getattr(user, "is_active", False) else self.none()

    def matching(self, text: str) -> Self:
        """The rows whose slug or name is `text` (a spreadsheet has either)."""
        key = name_key(text)
        return self.filter(models.Q(slug=key) | models.Q(name_key=key))


class Taxon(Timestamped):
    """A named, soft-deletable label. The API speaks slugs; jobs hold foreign keys."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = KeyField(_("slug"), max_length=100, unique=True)
    name = models.CharField(_("name"), max_length=255)
    name_key = KeyField(max_length=765, unique=True, editable=False)
    is_active = models.BooleanField(_("active"), default=True)

    objects: ClassVar[models.Manager[Any]] = TaxonQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ("name_key",)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.name = clean_name(self.name)
        self.name_key = name_key(self.name)
        super().save(*args, **kwargs)


class JobCategory(Taxon):
    class Meta(Taxon.Meta):
        verbose_name = _("category")
        verbose_name_plural = _("categories")


class PicTeam(Taxon):
    slack_handle = models.CharField(
        _("Slack handle"),
        max_length=255,
        help_text=_("@name, a user group <!subteam^ID> or a member <@U…>: mentioned when a run fails"),
    )

    # Empty: the default queue. Asked for only where SEND_BACKEND=celery.
    send_queue = KeyField(
        _("send queue"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("its runs are sent by workers of this queue: those inside the team's network, say"),
    )

    class Meta(Taxon.Meta):
        verbose_name = _("PIC team")
        verbose_name_plural = _("PIC teams")
