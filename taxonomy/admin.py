"""Categories and teams: everyone reads them, admins rename them and switch them on and off."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.decorators import display

from accounts.admin import actor
from cronsched.core import clock
from cronsched.core.admin import ServiceAdmin, ServiceForm
from cronsched.core.admin_display import moment
from taxonomy import services
from taxonomy.models import JobCategory, PicTeam, Taxon


class TaxonAdmin(ServiceAdmin):
    """Nothing is deleted here: what is disabled stays on its jobs and cannot be chosen any more."""

    form = ServiceForm
    ordering = ("name_key",)
    list_filter = (("is_active", BooleanRadioFilter),)
    search_fields = ("name_key", "slug")
    search_help_text = _("Name or slug")
    actions = ("enable", "disable")
    readonly_fields = ("slug", "jobs_link", "created", "updated")
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

    @display(description=_("jobs"), ordering="jobs_count")
    def jobs_link(self, obj: Any) -> str:
        url = f"{reverse('admin:jobs_job_changelist')}?{self.jobs_parameter}={obj.pk}"
        return format_html('<a class="text-link" href="{}">{}</a>', url, obj.jobs_count)

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

    def create(self, request: HttpRequest, data: dict[str, Any]) -> JobCategory:
        return services.create_category(
            name=data.get("name", ""), slug=data.get("slug"), by=actor(request), now=clock.now(), via="admin"
        )

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> JobCategory:
        return services.update_category(
            obj, data=data, by=actor(request), now=clock.now(), via="admin"
        ).category


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
        return services.update_team(obj, data=data, by=actor(request), now=clock.now(), via="admin").pic_team
