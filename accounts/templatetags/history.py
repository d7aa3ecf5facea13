"""The history of one object, for its page: `{% object_changes "job" job.pk %}`."""

from __future__ import annotations

from collections.abc import Iterable
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
def object_changes(kind: str, object_id: UUID | str, restore: str = "", whole: str = "") -> dict[str, Any]:
    """Who, when, what, from what to what; the newest first, and a link to the rest. One query.

    `restore` is the address, by name, of the page that puts the object back to an entry; it is given
    the ids of the object and of the entry. Leave it empty for whoever may not. `whole` is that of the
    page with all of them; without one that is the list of all changes, which admins read.
    """
    entries = list(changes_of(AuditKind(kind), object_id)[: SHOWN + 1])
    everything = f"{reverse('admin:accounts_auditentry_changelist')}?kind__exact={kind}&of={object_id}"
    more_url = reverse(whole, args=[object_id]) if whole else everything
    return {
        "rows": change_rows(entries[:SHOWN], restore=restore),
        "more_url": more_url if len(entries) > SHOWN else "",
    }


def change_rows(
    entries: Iterable[AuditEntry], *, restore: str = "", has_newest: bool = True
) -> list[dict[str, Any]]:
    """What `admin/_changes.html` shows of these. The newest of all is how the object is: no way back."""
    now = clock.now()
    return [
        {
            "entry": entry,
            "when": moment(entry.at, now=now),
            "restore_url": reverse(restore, args=[entry.object_id, entry.pk])
            if restore and not (has_newest and number == 0)
            else "",
        }
        for number, entry in enumerate(entries)
    ]


@register.filter
def lines(entry: AuditEntry) -> list[Line]:
    return lines_of(entry)
