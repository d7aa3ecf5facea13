"""Pages whose changes the history keeps: it is asked who was there before."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.audit import changes_of
from accounts.audit_words import field_lines
from accounts.choices import AuditKind
from cronsched.core.admin import ServiceAdmin

# Lines of the history that are looked through for the last change of one field.
LOOKED_THROUGH = 50


class AuditedAdmin(ServiceAdmin):
    def audited_id(self, obj: Any) -> Any:
        """What the history calls the row."""
        return obj.pk

    def who_changed(self, obj: Any, name: str) -> str:
        if not self.audit_kind:
            return ""
        entries = changes_of(AuditKind(self.audit_kind), self.audited_id(obj))[:LOOKED_THROUGH]
        entry = next((entry for entry in entries if name in entry.changes), None)
        if entry is None:
            return ""
        lines = field_lines(name, *entry.changes[name])
        return _("%(who)s changed this at %(when)s: %(what)s.") % {
            "who": entry.actor_name,
            "when": f"{timezone.localtime(entry.at):%Y-%m-%d %H:%M:%S}",
            "what": ", ".join(f"{line.label} {line.old} → {line.new}" for line in lines),
        }
