"""Who leads, and what the chores did; for admins to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, CharField, Q, QuerySet, Value, When
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_apscheduler.models import DjangoJob, DjangoJobExecution
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import display

from cronsched.core import clock
from cronsched.core.admin import AdminsOnly, ReadOnlyAdmin
from cronsched.core.admin_display import EMPTY, badge, duration, moment, preformatted
from cronsched.core.admin_filters import PeriodFilter
from cronsched.core.db import DatabaseNow
from jobs.engine.lease import standbys
from jobs.models import ChoreState, SchedulerLease

# Their pages are called by these. The models are another package's, which calls them "django jobs".
for _model, _one, _many in (
    (DjangoJob, _("chore of the timetable"), _("chore timetable")),
    (DjangoJobExecution, _("chore run"), _("chore runs")),
):
    _model._meta.verbose_name, _model._meta.verbose_name_plural = _one, _many

RESULTS = {
    DjangoJobExecution.SUCCESS: _("success"),
    DjangoJobExecution.ERROR: _("failed"),
    DjangoJobExecution.MISSED: _("missed"),
    DjangoJobExecution.MAX_INSTANCES: _("still running"),
    DjangoJobExecution.SENT: _("started"),
}
RESULT_COLOURS = {
    DjangoJobExecution.SUCCESS: "success",
    DjangoJobExecution.ERROR: "danger",
    DjangoJobExecution.MISSED: "warning",
    DjangoJobExecution.MAX_INSTANCES: "warning",
    DjangoJobExecution.SENT: "info",
}
RUNNING, SILENT = "running", "silent"
_ALIVE = ~Q(holder="") & Q(expires_at__gt=DatabaseNow())


@admin.register(SchedulerLease)
class LeaseAdmin(AdminsOnly, ReadOnlyAdmin):
    """The lease, judged by the database's clock, as the schedulers do."""

    empty_text = _("No scheduler has led yet: start one with `manage.py runscheduler`, or ./start.sh.")
    list_display = ("state", "holder", "term", "leads_since", "heartbeat", "expiry", "lag", "standing_by")
    list_display_links = None
    fields = list_display
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[SchedulerLease]:
        state = Case(When(_ALIVE, then=Value(RUNNING)), default=Value(SILENT), output_field=CharField())
        return SchedulerLease.objects.annotate(state=state)

    @display(description=_("scheduler"))
    def state(self, obj: Any) -> str:
        text = _("running") if obj.state == RUNNING else _("silent")
        return badge(obj.state, text, colours={RUNNING: "success", SILENT: "danger"})

    @display(description=_("leads since"))
    def leads_since(self, obj: SchedulerLease) -> str:
        return moment(obj.acquired_at, now=clock.now(), seconds=True)

    @display(description=_("last heartbeat"))
    def heartbeat(self, obj: SchedulerLease) -> str:
        return moment(obj.renewed_at, now=clock.now(), seconds=True)

    @display(description=_("tick lag"))
    def lag(self, obj: SchedulerLease) -> str:
        if obj.tick_lag_ms is None:
            return EMPTY
        worst = {"last": obj.tick_lag_ms, "worst": obj.tick_lag_worst_ms}
        return gettext("%(last)d ms, at worst %(worst)d ms in a minute") % worst

    @display(description=_("standbys"))
    def standing_by(self, obj: SchedulerLease) -> str:
        return ", ".join(row.holder for row in standbys()) or EMPTY

    @display(description=_("expires"))
    def expiry(self, obj: SchedulerLease) -> str:
        return moment(obj.expires_at, now=clock.now(), seconds=True)


@admin.register(ChoreState)
class ChoreAdmin(AdminsOnly, ReadOnlyAdmin):
    empty_text = _("The scheduler that leads notes here what each chore did last.")
    list_display = ("name", "health", "started", "success")
    fields = ("name", "health", "started", "success", "error")
    actions = None

    @display(description=_("last run"))
    def health(self, obj: ChoreState) -> str:
        if obj.last_error:
            return badge("failed", _("failed"))
        return badge("success", _("ok")) if obj.last_success_at else badge("never", _("not yet run"))

    @display(description=_("last started"), ordering="last_started_at")
    def started(self, obj: ChoreState) -> str:
        return moment(obj.last_started_at, now=clock.now(), seconds=True)

    @display(description=_("last success"), ordering="last_success_at")
    def success(self, obj: ChoreState) -> str:
        return moment(obj.last_success_at, now=clock.now(), seconds=True)

    @display(description=_("last error"))
    def error(self, obj: ChoreState) -> str:
        return preformatted(obj.last_error)


@admin.register(DjangoJob)
class ChoreTimetableAdmin(AdminsOnly, ReadOnlyAdmin):
    """django-apscheduler's page without its "run selected", which would run in the web process."""

    empty_text = _("A scheduler that leads writes its chores here: none has led yet.")
    list_display = ("chore", "next_run")
    list_display_links = None
    search_fields = ("id",)
    # Never `job_state`: it is a pickle.
    fields = list_display
    actions = None

    @display(description=_("chore"), ordering="id")
    def chore(self, obj: DjangoJob) -> str:
        return str(obj.pk)

    @display(description=_("next run"), ordering="next_run_time")
    def next_run(self, obj: DjangoJob) -> str:
        return moment(obj.next_run_time, now=clock.now(), seconds=True)


@admin.register(DjangoJobExecution)
class ChoreRunAdmin(AdminsOnly, ReadOnlyAdmin):
    empty_text = _("The chores of the scheduler that leads are listed here for two days.")
    list_display = ("started", "chore", "result", "took")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("job", RelatedDropdownFilter),
        ("run_time", PeriodFilter),
    )
    ordering = ("-run_time", "-id")
    fields = (*list_display, "error", "traceback_text")
    actions = None

    @display(description=_("started"), ordering="run_time")
    def started(self, obj: DjangoJobExecution) -> str:
        return moment(obj.run_time, now=clock.now(), seconds=True)

    @display(description=_("chore"), ordering="job")
    def chore(self, obj: DjangoJobExecution) -> str:
        return str(obj.job_id)

    @display(description=_("result"), ordering="status")
    def result(self, obj: DjangoJobExecution) -> str:
        return badge(obj.status, RESULTS.get(obj.status, obj.status), colours=RESULT_COLOURS)

    @display(description=_("took"), ordering="duration")
    def took(self, obj: DjangoJobExecution) -> str:
        return duration(None if obj.duration is None else float(obj.duration))

    @display(description=_("error"))
    def error(self, obj: DjangoJobExecution) -> str:
        return obj.exception or EMPTY

    @display(description=_("traceback"))
    def traceback_text(self, obj: DjangoJobExecution) -> str:
        return preformatted(obj.traceback or "")
