"""The list of jobs: its columns, its filters, and the last runs of those on the page in two statements."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateFilter, RelatedDropdownFilter
from unfold.decorators import display

from cronsched.core import clock
from cronsched.core.admin import ListPage
from cronsched.core.admin_display import EMPTY, badge, relative_first
from cronsched.core.said import said
from jobs import schedule, schedule_ja
from jobs.admin.charts import sparkline
from jobs.admin.filters import (
    EndsFilter,
    FailingFilter,
    OwnerFilter,
    RunsAtFilter,
    StateFilter,
    TargetFilter,
)
from jobs.admin.home import jobs_url
from jobs.choices import ExecutionType, PausedReason
from jobs.models import Job
from jobs.services.dashboard import totals
from jobs.services.overview import last_runs

STATES = {
    "active": (_("active"), "success"),
    PausedReason.BY_HAND.value: (_("paused"), "default"),
    PausedReason.EXPIRED.value: (_("ended"), "warning"),
    PausedReason.BROKEN.value: (_("broken"), "danger"),
}


class JobsPage(ListPage):
    """Knows the last runs of the jobs it shows; a name leads to the job's page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        jobs: list[Any] = list(self.result_list)  # type: ignore[has-type]
        runs = last_runs(job.pk for job in jobs)
        for job in jobs:
            job.recent = runs.get(job.pk, [])
        self.result_list = jobs

    def url_for_result(self, result: Any) -> str:
        return reverse("admin:jobs_job_page", args=[result.pk])


class JobColumns:
    """Mixed in before a ModelAdmin."""

    list_display = ("title", "state", "recent_runs", "last_run", "next_run", "team")
    list_display_links = ("title",)
    list_filter = (
        StateFilter,
        OwnerFilter,
        ("pic_team", RelatedDropdownFilter),
        ("category", RelatedDropdownFilter),
        ("last_status", ChoicesDropdownFilter),
        FailingFilter,
        EndsFilter,
        TargetFilter,
        ("end_date", RangeDateFilter),
        RunsAtFilter,
    )
    search_fields = ("search_text",)
    search_help_text = _("Name, URL, repository or workflow")
    list_select_related = ("category", "pic_team", "created_by")
    list_fullwidth = True
    list_per_page = 50
    list_before_template = "admin/jobs/quick.html"

    def changelist_view(self: Any, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        quick = quick_links(request) if request.method == "GET" else []
        return super().changelist_view(request, {"quick": quick, **(extra_context or {})})  # type: ignore[misc]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[JobsPage]:
        return JobsPage

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return queryset.matching(search_term) if search_term.strip() else queryset, False  # type: ignore[attr-defined]

    @display(description=_("name"), ordering="name_key")
    def title(self, obj: Job) -> str:
        """What it calls and when stands below the name, so that the list needs no width for it."""
        return format_html(
            '{}<span class="cs-sub" title="{}">{} · <span class="cs-mono">{}</span></span>',
            obj.name,
            f"{schedule_words(obj)} ({obj.zone_name}); {obj.target}",
            ExecutionType(obj.execution_type).label,
            obj.cron_expression,
        )

    @display(description=_("state"), ordering="is_active")
    def state(self, obj: Job) -> str:
        return state_badge(obj)

    @display(description=_("last 20 runs"))
    def recent_runs(self, obj: Any) -> str:
        return sparkline(obj.recent)

    @display(description=_("last result"), ordering="last_execution_at")
    def last_run(self, obj: Job) -> str:
        if not obj.last_status:
            return EMPTY
        return format_html(
            '{} <span class="cs-sub">{}</span>',
            badge(obj.last_status, obj.get_last_status_display()),
            relative_first(obj.last_execution_at, now=clock.now(), is_short=True),
        )

    @display(description=_("next run"), ordering="next_run_at")
    def next_run(self, obj: Job) -> str:
        return relative_first(obj.next_run_at, now=clock.now())

    @display(description=_("team and owner"), ordering="pic_team__name")
    def team(self, obj: Job) -> str:
        owner = obj.created_by.username if obj.created_by else gettext("nobody")
        return format_html('{} <span class="cs-sub">{}</span>', obj.pic_team or EMPTY, owner)


def quick_links(request: HttpRequest) -> list[tuple[str, str, int, bool]]:
    """What people look for most, one click away: text, address, how many, whether it is what is shown."""
    count = totals(user=request.user, now=clock.now())
    wanted: list[tuple[str, dict[str, str], int]] = [
        (gettext("All"), {}, count.all),
        (gettext("Mine"), {"owner": "mine"}, count.mine),
        (gettext("Failing"), {"failing": "now"}, count.failing),
        (gettext("Paused"), {"state": "paused"}, count.all - count.active),
        (gettext("Ending within 30 days"), {"state": "active", "ends": "30"}, count.ending),
    ]
    shown = {name: value for name, value in request.GET.items() if name not in ("o", "p")}
    return [(text, jobs_url(**query), number, query == shown) for text, query, number in wanted]


def state_badge(job: Job) -> str:
    word = "active" if job.is_active else job.paused_reason or PausedReason.BY_HAND.value
    text, colour = STATES[word]
    return badge(word, text, colours={word: colour})


def schedule_words(job: Job) -> str:
    try:
        return words_of(job.cron_expression)
    except schedule.CronError as error:
        return said(error)


def words_of(expression: str | schedule.CronExpression) -> str:
    """When it fires, in the viewer's language."""
    describe = schedule_ja.describe if get_language() == "ja" else schedule.describe
    return describe(expression)
