"""Categories and teams: everyone reads them, admins rename them and switch them on and off."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.decorators import display

from accounts.admin import AuditedAdmin, actor
from accounts.choices import AuditKind
from cronsched.core import clock
from cronsched.core.admin import ServiceForm
from cronsched.core.admin_display import moment
from taxonomy import services
from taxonomy.models import JobCategory, PicTeam, Taxon


class TaxonAdmin(AuditedAdmin):
    """Nothing is deleted here: what is disabled stays on its jobs and cannot be chosen any more."""

    form = ServiceForm
    ordering = ("name_key",)
    list_filter = (("is_active", BooleanRadioFilter),)
    search_fields = ("name_key", "slug")
    search_help_text = _("Name or slug")
    actions = ("enable", "disable")
    readonly_fields = ("slug", "jobs_link", "created", "updated")
    change_form_outer_before_template = "admin/taxonomy/followers.html"
    change_form_outer_after_template = "admin/_object_changes.html"
    # The query parameter by which the list of jobs shows those of one row.
    jobs_parameter = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Taxon]:
        rows: QuerySet[Taxon] = super().get_queryset(request)
        return rows.annotate(jobs_count=Count("jobs"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # A slug may be chosen for a new row; afterwards it follows the name.
        return self.readonly_fields if obj else self.readonly_fields[1:]

    @admin.action(permissions=["change"], description=_("Enable"))
    def enable(self, request: HttpRequest, queryset: QuerySet[Taxon]) -> None:
        self._set_active(request, queryset, True, gettext("Enabled"))

    @admin.action(permissions=["change"], description=_("Disable"))
    def disable(self, request: HttpRequest, queryset: QuerySet[Taxon]) -> None:
        self._set_active(request, queryset, False, gettext("Disabled"))

    def _set_active(self, request: HttpRequest, rows: QuerySet[Taxon], value: bool, done: str) -> None:
        self.apply_each(request, rows, lambda row: self.update(request, row, {"is_active": value}), done=done)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        if row is not None:
            context["jobs_url"] = self._jobs_url(row)
        return super().render_change_form(
            request, {**context, "audit_kind": self.audit_kind}, *args, **kwargs
        )

    def _tell_followers(self, request: HttpRequest, row: Taxon, count: int) -> None:
        """After a rename that moved the slug of jobs: how many, and to what."""
        if count:
            text = ngettext(
                "%(count)d job followed: it answers with %(slug)s now.",
                "%(count)d jobs followed: they answer with %(slug)s now.",
                count,
            )
            self.message_user(request, text % {"count": count, "slug": row.slug}, messages.INFO)

    def _jobs_url(self, row: Any) -> str:
        return f"{reverse('admin:jobs_job_changelist')}?{self.jobs_parameter}={row.pk}"

    @display(description=_("jobs"), ordering="jobs_count")
    def jobs_link(self, obj: Any) -> str:
        return format_html('<a class="text-link" href="{}">{}</a>', self._jobs_url(obj), obj.jobs_count)

    @display(description=_("created"), ordering="created_at")
    def created(self, obj: Taxon) -> str:
        return moment(obj.created_at, now=clock.now())

    @display(description=_("updated"), ordering="updated_at")
    def updated(self, obj: Taxon) -> str:
        return moment(obj.updated_at, now=clock.now())


@admin.register(JobCategory)
class CategoryAdmin(TaxonAdmin):
    list_display = ("name", "slug", "is_active", "jobs_link", "updated")
    add_fieldsets = ((None, {"fields": ("name", "slug")}),)
    fields = ("name", "slug", "is_active", "jobs_link", "created", "updated")
    jobs_parameter = "category__id__exact"
    audit_kind = AuditKind.CATEGORY.value
    empty_text = _("Categories sort the jobs: backups, reports, maintenance.")

    def create(self, request: HttpRequest, data: dict[str, Any]) -> JobCategory:
        return services.create_category(
            name=data.get("name", ""), slug=data.get("slug"), by=actor(request), now=clock.now(), via="admin"
        )

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> JobCategory:
        done = services.update_category(obj, data=data, by=actor(request), now=clock.now(), via="admin")
        self._tell_followers(request, done.category, done.jobs_updated)
        return done.category


@admin.register(PicTeam)
class TeamAdmin(TaxonAdmin):
    list_display = ("name", "slug", "slack_handle", "is_active", "jobs_link", "updated")
    add_fieldsets = ((None, {"fields": ("name", "slack_handle", "slug")}),)
    # Where the scheduler sends by itself there are no queues to choose from.
    queue_fields = ("send_queue",) if settings.SEND_BACKEND == "celery" else ()
    fields = (
        "name", "slug", "slack_handle", *queue_fields, "is_active", "jobs_link", "created", "updated",
    )  # fmt: skip
    jobs_parameter = "pic_team__id__exact"
    audit_kind = AuditKind.TEAM.value
    empty_text = _(
        "Every job belongs to a team, whose Slack handle is mentioned when it fails. Add yours first."
    )

    def create(self, request: HttpRequest, data: dict[str, Any]) -> PicTeam:
        return services.create_team(
            name=data.get("name", ""),
            slack_handle=data.get("slack_handle", ""),
            slug=data.get("slug"),
            by=actor(request),
            now=clock.now(),
            via="admin",
        )

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> PicTeam:
        done = services.update_team(obj, data=data, by=actor(request), now=clock.now(), via="admin")
        self._tell_followers(request, done.pic_team, done.jobs_updated)
        return done.pic_team
