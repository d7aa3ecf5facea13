"""The history of changes, for admins to read and to take away as CSV; written and deleted by nobody here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from accounts.audit_words import lines_of
from accounts.choices import AuditAction, AuditKind
from accounts.models import AuditEntry
from accounts.roles import is_admin
from cronsched.core import cells, clock
from cronsched.core.admin import ReadOnlyAdmin
from cronsched.core.admin_display import EMPTY, badge, moment
from cronsched.core.admin_export import CHUNK, CsvExport
from cronsched.core.admin_filters import PeriodFilter
from cronsched.core.said import said

COLOURS = {
    AuditAction.CREATED.value: "success",
    AuditAction.DELETED.value: "danger",
    AuditAction.DISABLED.value: "warning",
    AuditAction.EXPIRED.value: "warning",
    AuditAction.BROKEN.value: "danger",
    AuditAction.ENABLED.value: "success",
    AuditAction.RESTORED.value: "primary",
    AuditAction.HANDED_OVER.value: "info",
    AuditAction.ROLE.value: "info",
}
# Where an entry's object has its page; by name, since the apps above are not to be known here.
PAGES = {
    AuditKind.JOB.value: "admin:jobs_job_page",
    AuditKind.USER.value: "admin:accounts_user_change",
    AuditKind.CATEGORY.value: "admin:taxonomy_jobcategory_change",
    AuditKind.TEAM.value: "admin:taxonomy_picteam_change",
    AuditKind.SLACK.value: "admin:notifications_slacksettings_change",
    AuditKind.GITHUB_TOKEN.value: "admin:jobs_githubtoken_change",
    AuditKind.PREFERENCES.value: "admin:accounts_user_change",
    AuditKind.API_KEY.value: "admin:accounts_apikey_change",
}
LINES_SHOWN = 3
EXPORTED = ("when", "who", "via", "kind", "name", "action", "field", "from", "to", "note", "id")


class ObjectFilter(SimpleListFilter):
    """One object's lines, as the page of the object links them; there is nothing to choose from."""

    title = _("object")
    parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        value = str(self.used_parameters.get(self.parameter_name) or "")
        if not value:
            return []
        newest = AuditEntry.objects.filter(kind__in=AuditKind.values, object_id=value).first()
        return [(value, newest.object_name if newest else value)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # With the kinds named, the index by object serves.
        value = self.value()
        return queryset.filter(kind__in=AuditKind.values, object_id=value) if value else queryset


@admin.register(AuditEntry)
class AuditAdmin(CsvExport, ReadOnlyAdmin):
    list_display = ("when", "who_and_way", "what", "action_label", "summary")
    list_display_links = ("when",)
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("action", ChoicesDropdownFilter),
        ("via", ChoicesDropdownFilter),
        ("actor", AutocompleteSelectFilter),
        ("at", PeriodFilter),
        ObjectFilter,
    )
    search_fields = ("object_name",)
    search_help_text = _("Name of the job, user, category or team")
    list_fullwidth = True
    empty_text = _("Every change to jobs, users, teams, categories and settings is written down here.")
    sortable_by = ("when",)
    actions = None
    list_before_template = "admin/_list_export.html"
    export_name = "history-of-changes"
    fields = ("when", ("who", "way"), ("kind_label", "object_link"), "action_label", "note_text", "details")

    def has_view_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Admins read everything; what was done to a job whoever may read jobs, which is everybody."""
        if is_admin(request.user):
            return True
        return obj is not None and obj.kind == AuditKind.JOB and bool(request.user.is_active)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

    def export_lines(self, rows: QuerySet[Any]) -> Iterator[str]:
        entries = rows.iterator(chunk_size=CHUNK)
        return cells.csv_lines(EXPORTED, (row for entry in entries for row in _exported(entry)))

    @display(description=_("when"), ordering="at")
    def when(self, obj: AuditEntry) -> str:
        return moment(obj.at, now=clock.now(), seconds=True)

    @display(description=_("who"))
    def who(self, obj: AuditEntry) -> str:
        return obj.actor_name

    @display(description=_("by way of"))
    def way(self, obj: AuditEntry) -> str:
        return str(obj.get_via_display())

    @display(description=_("who"))
    def who_and_way(self, obj: AuditEntry) -> str:
        return format_html('{}<span class="cd-sub">{}</span>', obj.actor_name, obj.get_via_display())

    @display(description=_("what"))
    def what(self, obj: AuditEntry) -> str:
        return format_html('{}<span class="cd-sub">{}</span>', self.object_link(obj), obj.get_kind_display())

    @display(description=_("kind"))
    def kind_label(self, obj: AuditEntry) -> str:
        return str(obj.get_kind_display())

    @display(description=_("name"))
    def object_link(self, obj: AuditEntry) -> str:
        page = PAGES.get(obj.kind)
        if page is None or obj.action == AuditAction.DELETED:
            return obj.object_name
        try:
            url = reverse(page, args=[obj.object_id])
        except NoReverseMatch:
            return obj.object_name
        return format_html('<a class="text-link" href="{}">{}</a>', url, obj.object_name)

    @display(description=_("action"))
    def action_label(self, obj: AuditEntry) -> str:
        return badge(obj.action, obj.get_action_display(), colours=COLOURS)

    @display(description=_("changes"))
    def summary(self, obj: AuditEntry) -> str:
        return _changes_html(obj, limit=LINES_SHOWN)

    @display(description=_("changes"))
    def details(self, obj: AuditEntry) -> str:
        return _changes_html(obj)

    @display(description=_("note"))
    def note_text(self, obj: AuditEntry) -> str:
        return said(obj.note) or EMPTY


def _changes_html(entry: AuditEntry, limit: int | None = None) -> str:
    lines = lines_of(entry)
    context = {"lines": lines[:limit], "more": len(lines) - limit if limit else 0, "note": entry.note}
    return render_to_string("admin/_change_lines.html", context) if lines or entry.note else EMPTY


def _exported(entry: AuditEntry) -> Iterator[list[str]]:
    """One row for each field, so that a spreadsheet can filter them; one without where nothing changed."""
    head = [entry.at.isoformat(), entry.actor_name, entry.via, entry.kind, entry.object_name, entry.action]
    for field, (old, new) in entry.changes.items() or {"": (None, None)}.items():
        yield [*head, field, _cell(old), _cell(new), entry.note, entry.object_id]


def _cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
