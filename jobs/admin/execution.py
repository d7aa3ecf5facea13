"""The history of runs: found by any of their traits, read in full, changed by nobody."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
)
from unfold.decorators import display

from accounts.admin import actor
from accounts.roles import may_change_job, may_create_jobs
from cronsched.core import clock
from cronsched.core.admin import ReadOnlyAdmin, in_words
from cronsched.core.admin_display import EMPTY, badge, duration, moment, titled
from cronsched.core.admin_filters import PeriodFilter
from cronsched.core.errors import DomainError
from cronsched.core.said import said
from jobs.admin.chips import chips
from jobs.admin.filters import OfJobsFilter, RunStatusFilter, WhenFilter
from jobs.admin.run_page import run_page
from jobs.choices import ExecutionType
from jobs.models import Job, JobExecution
from jobs.services.manual import run_job_now

ERROR_SHOWN = 60


@admin.register(JobExecution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = (
        "started",
        "job_link",
        "team",
        "status_label",
        "trigger_label",
        "took",
        "error_start",
    )
    list_filter = (
        WhenFilter,
        ("status", RunStatusFilter),
        ("job__pic_team", OfJobsFilter),
        ("job__category", OfJobsFilter),
        ("job", AutocompleteSelectFilter),
        ("trigger_type", ChoicesDropdownFilter),
        ("execution_type", ChoicesDropdownFilter),
        ("started_at", PeriodFilter),
    )
    search_fields = ("job",)
    search_help_text = _("Name, URL, repository or workflow of the job")
    list_select_related = ("job", "job__pic_team")
    ordering = ("-started_at", "-id")
    list_fullwidth = True
    # The one order that an index holds; any other would sort the whole history.
    sortable_by = ("started",)
    actions = ("run_again",)
    list_before_template = "admin/jobs/run_presets.html"
    change_form_outer_before_template = "admin/jobs/run.html"
    empty_text = _("A run appears here when a job's time has come, or when somebody runs one by hand.")
    empty_link = (_("Jobs"), "admin:jobs_job_changelist")
    # Named one by one: `overrides` (a token may be in it) and the claim's token are never shown.
    fieldsets = (
        (
            _("Origin"),
            {
                "fields": (
                    ("trigger_label", "triggered_by_name"),
                    ("type_label", "reason_code"),
                    ("sender", "number"),
                )
            },
        ),
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
            queryset = queryset.of_jobs(Job.objects.matching(search_term))  # type: ignore[attr-defined]
        return queryset, False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        run = context["original"]
        # As a text: the run's own name is its job's id and a time in UTC.
        name = f"{run.job.name}, {timezone.localtime(run.started_at):%Y-%m-%d %H:%M:%S}"
        page = run_page(run, now=clock.now(), may_run=self._may_run(request, run))
        context = {**context, **page, "original": name, "subtitle": name}
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description=_("started"), ordering="started_at")
    def started(self, obj: JobExecution) -> str:
        return moment(obj.started_at, now=clock.now(), seconds=True)

    @display(description=_("job"))
    def job_link(self, obj: JobExecution) -> str:
        url = reverse("admin:jobs_job_page", args=[obj.job_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, obj.job.name)

    @display(description=_("team"))
    def team(self, obj: JobExecution) -> str:
        return str(obj.job.pic_team or EMPTY)

    @display(description=_("status"))
    def status_label(self, obj: JobExecution) -> str:
        """The status, and below it what the endpoint answered."""
        label = badge(obj.status, obj.get_status_display())
        if obj.response_status is None:
            return label
        return format_html('{}<span class="cd-sub">HTTP {}</span>', label, obj.response_status)

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

    @display(description=_("reason"))
    def reason_code(self, obj: JobExecution) -> str:
        return obj.reason or EMPTY

    @display(description=_("sent by"))
    def sender(self, obj: JobExecution) -> str:
        return obj.claimed_by or EMPTY

    @display(description=_("triggered by"))
    def triggered_by_name(self, obj: JobExecution) -> str:
        return str(obj.triggered_by) if obj.triggered_by else EMPTY

    @display(description=_("id"))
    def number(self, obj: JobExecution) -> str:
        """The one that the receiver got as `webhook-id`."""
        return str(obj.pk)

    # ---- running again ---------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(require_POST(self.run_again_view))
        route = path("<uuid:object_id>/run-again/", view, name="jobs_jobexecution_run_again")
        return [route, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        above = {"chips": chips(request.GET, user=request.user)}
        return super().changelist_view(request, {**above, **(extra_context or {})})

    def has_run_permission(self, request: HttpRequest) -> bool:
        return may_create_jobs(request.user)

    @admin.action(permissions=["run"], description=_("Run again"))
    def run_again(self, request: HttpRequest, queryset: QuerySet[JobExecution]) -> None:
        """A new run of each job whose runs were chosen; once for each, however many of its runs failed."""
        first_of = {run.job_id: run for run in reversed(queryset.select_related("job"))}
        self.apply_each(
            request,
            [run.job for run in first_of.values()],
            lambda job: self._queue(request, job),
            done=gettext("Queued, to be sent within a second or two"),
            may=self._may_run_job,
        )

    def run_again_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """From the page of one run: to the page of the new one."""
        run = self.get_object(request, str(object_id))
        if run is None:
            raise Http404
        if not self._may_run(request, run):
            raise PermissionDenied
        try:
            new = self._queue(request, run.job)
        except DomainError as refusal:
            self.message_user(request, in_words(refusal), messages.ERROR)
            return HttpResponseRedirect(self.url("change", run.pk))
        self.message_user(request, gettext("Queued. This page shows the new run."), messages.SUCCESS)
        return HttpResponseRedirect(self.url("change", new.pk))

    def _queue(self, request: HttpRequest, job: Job) -> JobExecution:
        return run_job_now(job, by=actor(request), now=clock.now(), via="admin")

    def _may_run(self, request: HttpRequest, run: JobExecution) -> bool:
        return self._may_run_job(request, run.job)

    def _may_run_job(self, request: HttpRequest, job: Job) -> bool:
        return may_change_job(request.user, created_by_id=job.created_by_id)
