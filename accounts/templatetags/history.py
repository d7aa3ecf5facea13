"""The history of one object, for its page: `{% object_changes "job" job.pk %}`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import template
from django.urls import reverse

from accounts.audit import changes_of
from accounts.audit_words import Line, lines_of
from accounts.choices import AuditKind
from accounts.models import AuditEntry
from cronsched.core import clock
from cronsched.core.admin_display import moment

register = template.Library()

SHOWN = 10


@register.inclusion_tag("admin/_changes.html")
def object_changes(kind: str, object_id: UUID | str, restore: str = "", limit: int = SHOWN) -> dict[str, Any]:
    """Who, when, what, from what to what; newest first. One query.

    `restore` is the address, by name, of the page that puts the object back to an entry; it is given
    the ids of the object and of the entry. Leave it empty for whoever may not.
    """
    entries = list(changes_of(AuditKind(kind), object_id)[: limit + 1])
    now = clock.now()
    shown = [
        {
            "entry": entry,
            "when": moment(entry.at, now=now),
            "restore_url": _restore_url(restore, object_id, entry, is_present=number == 0),
        }
        for number, entry in enumerate(entries[:limit])
    ]
    url = reverse("admin:accounts_auditentry_changelist")
    more_url = f"{url}?kind__exact={kind}&of={object_id}" if len(entries) > limit else ""
    return {"rows": shown, "more_url": more_url}


def _restore_url(name: str, object_id: UUID | str, entry: AuditEntry, *, is_present: bool) -> str:
    """ "" for the newest: that version is the present one."""
    return reverse(name, args=[object_id, entry.pk]) if name and not is_present else ""


@register.filter
def lines(entry: AuditEntry) -> list[Line]:
    return lines_of(entry)
