"""The words of the history of changes: what was changed, what was done, and which way."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class AuditKind(models.TextChoices):
    JOB = "job", _("job")
    USER = "user", _("user")
    CATEGORY = "category", _("category")
    TEAM = "team", _("team")
    SLACK = "slack", _("Slack settings")
    GITHUB_TOKEN = "github_token", _("GitHub token")
    PREFERENCES = "preferences", _("preferences")
    API_KEY = "api_key", _("API key")
    INSTALLATION = "installation", _("installation")


class AuditAction(models.TextChoices):
    CREATED = "created", _("created")
    UPDATED = "updated", _("updated")
    DELETED = "deleted", _("deleted")
    ENABLED = "enabled", _("enabled")
    DISABLED = "disabled", _("disabled")
    EXPIRED = "expired", _("ended")
    BROKEN = "broken", _("switched off")
    HANDED_OVER = "handed_over", _("handed over")
    RESTORED = "restored", _("restored")
    ROLE = "role", _("role changed")
    PASSWORD = "password", _("password changed")
    REVOKED = "revoked", _("revoked")
    IMPORTED = "imported", _("imported")


class Via(models.TextChoices):
    """The way in. The services' `via` carries these words; `jobs.signals` hands them on."""

    API = "api", _("API")
    ADMIN = "admin", _("admin site")
    CSV = "csv", _("CSV upload")
    COMMAND = "command", _("command line")
    SCHEDULER = "scheduler", _("scheduler")
    MAIL = "mail", _("link in a mail")
