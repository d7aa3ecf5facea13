"""The history of runs: found by any of their traits, read in full, changed by nobody."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    RelatedDropdownFilter,
)
from unfold.decorators import display

from cronsched.core import clock
from cronsched.core.admin import ReadOnlyAdmin
from cronsched.core.admin_display import EMPTY, badge, duration, moment, preformatted, titled
from cronsched.core.admin_filters import PeriodFilter
from cronsched.core.said import said
from jobs.choices import ExecutionType
from jobs.models import Job, JobExecution

# Up to so many jobs, their runs are looked up job by job; beyond, along the whole history.
MATCHING_JOBS = 200
ERROR_SHOWN = 60


@admin.register(JobExecution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = (
        "started",
        "job_link",
        "status_label",
        "trigger_label",
        "type_label",
        "response_status",
        "took",
        "error_start",
    )
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("trigger_type", ChoicesDropdownFilter),
        ("execution_type", ChoicesDropdownFilter),
        ("job__pic_team", RelatedDropdownFilter),
        ("job__category", RelatedDropdownFilter),
        ("job", AutocompleteSelectFilter),
        ("started_at", PeriodFilter),
    )
    search_fields = ("job",)
    search_help_text = _("Name, URL, repository or workflow of the job")
    list_select_related = ("job",)
    ordering = ("-started_at", "-id")
    # The one order that an index holds; any other would sort the whole history.
    sortable_by = ("started",)
    actions = None
    # Named one by one: `overrides` (a token may be in it) and the claim's token are never shown.
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("job_link", "status_label"),
                    ("type_label", "target"),
                    ("response_status", "reason"),
                    "error",
                )
            },
        ),
        (
            _("Times"),
            {
                "fields": (
                    ("scheduled", "started"),
                    ("completed", "took"),
                    ("attempt", "available"),
                    "deadline",
                )
            },
        ),
        (
            _("Origin"),
            {
                "fields": (
                    ("trigger_label", "triggered_by_name"),
                    ("missed_count", "missed_last"),
                    "claimed_by",
                )
            },
        ),
        (_("Answer"), {"fields": ("output_text",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobExecution]:
        # An output has up to 64 KiB: the page of one run reads it, the list does not.
        runs: QuerySet[JobExecution] = JobExecution.objects.visible_to(request.user)
        return runs.defer("output", "overrides")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[JobExecution], search_term: str
    ) -> tuple[QuerySet[JobExecution], bool]:
        """By the jobs that match, whose runs are one index away; not by a join over the whole history."""
        if search_term.strip():
            matching = Job.objects.matching(search_term).order_by().values_list("pk", flat=True)
            few = list(matching[: MATCHING_JOBS + 1])
            queryset = queryset.filter(job_id__in=few if len(few) <= MATCHING_JOBS else matching)
        return queryset, False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        run = context["original"]
        # As a text: the run's own name is its job's id and a time in UTC.
        name = f"{run.job.name}, {timezone.localtime(run.started_at):%Y-%m-%d %H:%M:%S}"
        context = {**context, "original": name, "subtitle": name}
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description=_("started"), ordering="started_at")
    def started(self, obj: JobExecution) -> str:
        return moment(obj.started_at, now=clock.now(), seconds=True)

    @display(description=_("job"))
    def job_link(self, obj: JobExecution) -> str:
        url = reverse("admin:jobs_job_change", args=[obj.job_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, obj.job.name)

    @display(description=_("status"))
    def status_label(self, obj: JobExecution) -> str:
        return badge(obj.status, obj.get_status_display())

    @display(description=_("trigger"))
    def trigger_label(self, obj: JobExecution) -> str:
        return obj.get_trigger_type_display()

    @display(description=_("type"))
    def type_label(self, obj: JobExecution) -> str:
        return str(ExecutionType(obj.execution_type).label)

    @display(description=_("took"))
    def took(self, obj: JobExecution) -> str:
        return duration(obj.duration_seconds)

    @display(description=_("error"))
    def error_start(self, obj: JobExecution) -> str:
        text = said(obj.error_message)
        if not text:
            return EMPTY
        return titled(text if len(text) <= ERROR_SHOWN else f"{text[:ERROR_SHOWN]}…", text)

    @display(description=_("error"))
    def error(self, obj: JobExecution) -> str:
        return preformatted(said(obj.error_message))

    @display(description=_("answer"))
    def output_text(self, obj: JobExecution) -> str:
        return preformatted(obj.output)

    @display(description=_("scheduled for"))
    def scheduled(self, obj: JobExecution) -> str:
        return moment(obj.scheduled_for, now=clock.now())

    @display(description=_("completed"))
    def completed(self, obj: JobExecution) -> str:
        return moment(obj.completed_at, now=clock.now(), seconds=True)

    @display(description=_("not sent before"))
    def available(self, obj: JobExecution) -> str:
        return moment(obj.available_at, now=clock.now(), seconds=True)

    @display(description=_("given up for lost at"))
    def deadline(self, obj: JobExecution) -> str:
        return moment(obj.deadline_at, now=clock.now(), seconds=True)

    @display(description=_("last missed slot"))
    def missed_last(self, obj: JobExecution) -> str:
        return moment(obj.missed_last_at, now=clock.now())

    @display(description=_("triggered by"))
    def triggered_by_name(self, obj: JobExecution) -> str:
        return str(obj.triggered_by) if obj.triggered_by else EMPTY
