"""A line of the history for a person: fields by their names in the forms, values as words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.choices import AuditAction
from accounts.models import AuditEntry
from cronsched.core.masking import CHANGED, SET

EMPTY: Final = "–"
LONGEST: Final = 300

LABELS: Final = {
    "name": gettext_lazy("name"),
    "slug": gettext_lazy("slug"),
    "is_active": gettext_lazy("active"),
    "created_by": gettext_lazy("owner"),
    "cron_expression": gettext_lazy("cron expression"),
    "timezone": gettext_lazy("time zone"),
    "catch_up": gettext_lazy("catch up"),
    "end_date": gettext_lazy("end date"),
    "target_url": gettext_lazy("target URL"),
    "github_owner": gettext_lazy("GitHub owner"),
    "github_repo": gettext_lazy("GitHub repository"),
    "github_workflow_name": gettext_lazy("workflow file"),
    "metadata": gettext_lazy("metadata"),
    "timeout_seconds": gettext_lazy("timeout (s)"),
    "max_retries": gettext_lazy("retries"),
    "signing_secret": gettext_lazy("signing secret"),
    "follow_run": gettext_lazy("follow the run"),
    "follow_timeout_minutes": gettext_lazy("longest wait (min)"),
    "github_correlation_input": gettext_lazy("input for our id"),
    "owner": gettext_lazy("owner"),
    "repo": gettext_lazy("repository"),
    "kind": gettext_lazy("kind"),
    "secret": gettext_lazy("secret"),
    "app_id": gettext_lazy("App id"),
    "installation_id": gettext_lazy("installation id"),
    "category": gettext_lazy("category"),
    "pic_team": gettext_lazy("PIC team"),
    "enable_email_notifications": gettext_lazy("send e-mail"),
    "notification_emails": gettext_lazy("e-mail to"),
    "notify_on_success": gettext_lazy("also on success"),
    "alert_after": gettext_lazy("tell after n failures"),
    "team": gettext_lazy("team"),
    "expires_at": gettext_lazy("expires"),
    "username": gettext_lazy("username"),
    "email": gettext_lazy("e-mail"),
    "role": gettext_lazy("role"),
    "password": gettext_lazy("password"),
    "slack_handle": gettext_lazy("Slack handle"),
    "is_enabled": gettext_lazy("enabled"),
    "webhook_url": gettext_lazy("webhook URL"),
    "channel": gettext_lazy("channel"),
    "email_on_job_success": gettext_lazy("e-mail when a job succeeds"),
    "email_on_job_failure": gettext_lazy("e-mail when a job fails"),
    "email_on_job_disabled": gettext_lazy("e-mail when a job is disabled"),
    "browser_notifications": gettext_lazy("browser notifications"),
    "daily_digest": gettext_lazy("daily digest"),
    "weekly_report": gettext_lazy("weekly report"),
}
# What says nothing in a list of fields that all began, or ended, together.
_ONE_SIDE: Final = {AuditAction.CREATED.value: "old", AuditAction.DELETED.value: "new"}
_MARKS: Final = {SET: gettext_lazy("(set)"), CHANGED: gettext_lazy("(changed)")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One field, from what to what; of an object that came or went, one side is empty."""

    field: str
    label: str
    old: str
    new: str


def lines_of(entry: AuditEntry) -> list[Line]:
    """The fields of one entry, in the order of the forms; of metadata each key that differs."""
    order = {field: number for number, field in enumerate(LABELS)}
    fields = sorted(entry.changes, key=lambda field: order.get(field, len(order)))
    lines = [line for field in fields for line in field_lines(field, *entry.changes[field])]
    side = _ONE_SIDE.get(entry.action)
    return [replace(line, **{side: ""}) for line in lines] if side else lines


def field_lines(field: str, old: Any, new: Any) -> Iterator[Line]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                yield _line(field, f"{label_of(field)}: {key}", old.get(key), new.get(key))
    else:
        yield _line(field, label_of(field), old, new)


def _line(field: str, label: str, old: Any, new: Any) -> Line:
    return Line(field=field, label=label, old=in_words(old), new=in_words(new))


def label_of(field: str) -> str:
    return str(LABELS.get(field, field.replace("_", " ")))


def in_words(value: Any) -> str:
    """A value for a person: yes and no, a dash for nothing, lists with commas, the rest as JSON."""
    if value is None or value in ("", [], {}):
        return EMPTY
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    elif isinstance(value, list | Mapping):
        value = json.dumps(value, ensure_ascii=False)
    text = str(value)
    for mark, words in _MARKS.items():
        text = text.replace(mark, str(words))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
