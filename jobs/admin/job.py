"""Jobs: what runs when, for everyone to read and for owners and admins to change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateFilter, RelatedDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from accounts.admin import actor
from accounts.models import User
from accounts.roles import is_admin, may_change_job, may_create_jobs, may_manage
from cronsched.core import clock
from cronsched.core.admin import LinesField, ServiceAdmin, ServiceForm
from cronsched.core.admin_display import EMPTY, badge, moment, preformatted, relative, titled
from cronsched.core.said import said
from jobs import schedule
from jobs.admin.filters import OwnerFilter, StateFilter, TargetFilter
from jobs.choices import ExecutionType, PausedReason
from jobs.engine.slots import is_within
from jobs.models import Job
from jobs.services import lifecycle, manual
from taxonomy.models import GENERAL, JobCategory

PREVIEWED_RUNS = 5
STATES = {
    "active": (_("active"), "success"),
    PausedReason.BY_HAND.value: (_("paused"), "default"),
    PausedReason.EXPIRED.value: (_("ended"), "warning"),
    PausedReason.BROKEN.value: (_("broken"), "danger"),
}
# What stands in the place of a field for an owner, who cannot give the job away, and for who only reads.
OWNER_SEES = {"created_by": "owner"}
READER_SEES: dict[Any, str] = {
    **OWNER_SEES,
    "metadata": "metadata_text",
    "notification_emails": "email_text",
    ("new_signing_secret", "drop_signing_secret"): "",
}


class JobForm(ServiceForm):
    aliases = {"signing_secret": "new_signing_secret"}
    metadata = LinesField(
        label=_("Metadata"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false", "class": "cs-mono"}),
        help_text=_("A JSON object: the body of the webhook, or the inputs of the workflow."),
    )
    notification_emails = LinesField(
        label=_("E-mail to"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=_("Addresses, separated by commas or lines."),
    )

    new_signing_secret = forms.CharField(
        label=_("New signing secret"),
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "Signs the calls (Standard Webhooks). Empty: as it is. After a change both sign for a day."
        ),
    )
    drop_signing_secret = forms.BooleanField(
        label=_("Take the signing secret away"),
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
    )

    class Meta:
        model = Job
        fields: ClassVar[list[str]] = [
            "name",
            "category",
            "pic_team",
            "created_by",
            "is_active",
            "cron_expression",
            "timezone",
            "catch_up",
            "end_date",
            "target_url",
            "github_owner",
            "github_repo",
            "github_workflow_name",
            "timeout_seconds",
            "max_retries",
            "enable_email_notifications",
            "notify_on_success",
            "alert_after",
        ]
        help_texts: ClassVar[dict[str, Any]] = {
            "cron_expression": _(
                "Minute, hour, day of month, month, day of week: 0 9 * * 1-5 is 09:00 on weekdays."
            ),
            "timezone": format_lazy(
                _("An IANA name such as Europe/Berlin; empty: {zone}."), zone=settings.SCHEDULER_TIMEZONE
            ),
            "end_date": _("The last day on which it runs."),
            "github_repo": _("Its name, or owner/name."),
            "github_workflow_name": _("The file's name, such as nightly.yml."),
            "catch_up": _("Of the slots that came due while nobody could fire them."),
            "max_retries": _(
                "After the first attempt; a run keeps its id, so that a receiver can drop repeats."
            ),
            "alert_after": _(
                "Mail and Slack hear of the n-th failure in a row, then once a day, then of the recovery."
            ),
            "timeout_seconds": format_lazy(
                _("For one attempt; empty: {seconds}."), seconds=f"{settings.WEBHOOK_TIMEOUT_SECONDS:g}"
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["metadata"] = _pretty(self.instance.metadata)
        self.initial["notification_emails"] = ", ".join(self.instance.notification_emails)
        for name in ("category", "pic_team", "created_by"):
            if field := self.fields.get(name):
                present = getattr(self.instance, f"{name}_id")
                field.queryset = field.queryset.filter(Q(is_active=True) | Q(pk=present))  # type: ignore[attr-defined]

    def typed(self) -> dict[str, Any]:
        """A secret is never shown, so that an empty field says nothing: taking it away is said beside it."""
        typed = super().typed()
        is_dropped = typed.pop("drop_signing_secret", False)
        return {**typed, "signing_secret": None} if is_dropped else typed

    def as_input(self, name: str, value: Any) -> Any:
        if name in {"category", "pic_team"}:
            return getattr(value, "slug", value)
        if name == "metadata":
            return _parsed(value)
        if name == "notification_emails":
            return ",".join(value.splitlines())
        return super().as_input(name, value)


@admin.register(Job)
class JobAdmin(ServiceAdmin):
    form = JobForm
    list_display = (
        "name",
        "state",
        "last_result",
        "cron",
        "next_run",
        "last_run",
        "pic_team",
        "category",
        "created_by",
        "target_kind",
    )
    list_filter = (
        StateFilter,
        ("last_status", ChoicesDropdownFilter),
        ("pic_team", RelatedDropdownFilter),
        ("category", RelatedDropdownFilter),
        OwnerFilter,
        TargetFilter,
        ("end_date", RangeDateFilter),
    )
    search_fields = ("search_text",)
    search_help_text = _("Name, URL, repository or workflow")
    list_select_related = ("category", "pic_team", "created_by")
    list_fullwidth = True
    actions = ("enable", "disable", "run_now", "hand_over", "delete_selected")
    change_form_outer_before_template = "admin/jobs/job_toolbar.html"

    what = (_("What"), {"fields": ("name", ("category", "pic_team"), "created_by", "is_active")})
    when = (_("When"), {"fields": ("cron_expression", ("timezone", "end_date"), "catch_up")})
    preview = (_("Schedule"), {"fields": ("in_words", "coming_runs", ("last_run", "last_result"))})
    target = (
        _("Target"),
        {
            "description": _("A webhook, or a GitHub Actions workflow. If both are given GitHub is called."),
            "fields": (
                "target_url",
                ("github_owner", "github_repo", "github_workflow_name"),
                "metadata",
                ("timeout_seconds", "max_retries"),
                "signing",
                ("new_signing_secret", "drop_signing_secret"),
            ),
        },
    )
    notifications = (
        _("Notifications"),
        {
            "fields": (
                "enable_email_notifications",
                "notify_on_success",
                "notification_emails",
                "alert_after",
            )
        },
    )
    add_fieldsets = (what, when, target, notifications)
    fieldsets = (what, when, preview, target, notifications)

    # ---- who may do what: accounts.roles says it -------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        jobs: QuerySet[Job] = Job.objects.visible_to(request.user).without_secrets()
        return jobs

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_create_jobs(request.user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is None:
            return may_create_jobs(request.user)
        return may_change_job(request.user, created_by_id=obj.created_by_id)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Job | None = None) -> tuple[str, ...]:
        shown = filter(None, READER_SEES.values())
        return ("in_words", "coming_runs", "last_run", "last_result", "signing", *shown)

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if is_admin(request.user):
            return fieldsets
        if obj is None:
            # A new job of theirs is theirs.
            return _replaced(fieldsets, {"created_by": ""})
        may_change = self.has_change_permission(request, obj)
        return _replaced(fieldsets, OWNER_SEES if may_change else READER_SEES)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        general = JobCategory.objects.filter(slug=GENERAL).first()
        return {
            "created_by": request.user.pk,
            "category": general,
            **super().get_changeform_initial_data(request),
        }

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """`?focus=end_date`, as messages link it, opens the page with that field in focus.

        By a redirect: a fragment in the link itself would be lost on the way through the sign-in.
        """
        focus = request.GET.get("focus", "")
        if request.method == "GET" and focus in JobForm.base_fields:
            return HttpResponseRedirect(f"{request.path}#id_{focus}")
        return super().change_view(request, object_id, form_url, extra_context)

    # ---- writes ----------------------------------------------------------------------------------

    def create(self, request: HttpRequest, data: dict[str, Any]) -> Job:
        return lifecycle.create_job(data=data, by=actor(request), now=clock.now(), via="admin")

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> Job:
        return lifecycle.update_job(obj, data=data, by=actor(request), now=clock.now(), via="admin")

    def remove(self, request: HttpRequest, obj: Any) -> None:
        lifecycle.delete_job(obj, by=actor(request), now=clock.now(), via="admin")

    def get_deleted_objects(
        self, objs: Iterable[Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Say what goes with a job, before it is gone; it can be paused instead."""
        names, counts, missing, protected = super().get_deleted_objects(objs, request)
        warning = gettext("%s, and the whole history of its runs (disable it instead to keep that)")
        return [warning % name for name in names], counts, missing, protected

    @admin.action(permissions=["change"], description=_("Enable"))
    def enable(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()
        self.apply_each(
            request,
            queryset,
            lambda job: lifecycle.resume_job(job, by=by, now=now, via="admin"),
            done=gettext("Enabled"),
        )
        return self._back(request)

    @admin.action(permissions=["change"], description=_("Disable"))
    def disable(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()
        self.apply_each(
            request,
            queryset,
            lambda job: lifecycle.pause_job(job, by=by, now=now, via="admin"),
            done=gettext("Disabled"),
        )
        return self._back(request)

    @admin.action(permissions=["change"], description=_("Run now"))
    def run_now(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()
        self.apply_each(
            request,
            queryset,
            lambda job: manual.run_job_now(job, by=by, now=now),
            done=gettext("Queued, to be sent within a second or two"),
        )
        return self._back(request)

    @admin.action(permissions=["manage"], description=_("Hand over"))
    def hand_over(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Asks to whom, then gives them all to that user."""
        users = [user for user in User.objects.active().order_by("username_key") if may_create_jobs(user)]
        chosen = next((user for user in users if str(user.pk) == request.POST.get("to")), None)
        if chosen is None:
            if "to" in request.POST:
                self.message_user(request, gettext("Choose an active user."), messages.ERROR)
            return self._ask_for_owner(request, queryset, users)
        by, now, data = actor(request), clock.now(), {"created_by": str(chosen.pk)}
        self.apply_each(
            request,
            queryset,
            lambda job: lifecycle.update_job(job, data=data, by=by, now=now, via="admin"),
            done=gettext("Handed over to %s") % chosen.username,
        )
        return None

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return may_manage(request.user)

    def _ask_for_owner(
        self, request: HttpRequest, jobs: QuerySet[Job], users: list[User]
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Hand over"),
            "opts": self.opts,
            "jobs": jobs,
            "users": users,
            "list_url": self.url("changelist"),
        }
        return TemplateResponse(request, "admin/jobs/hand_over.html", context)

    def _back(self, request: HttpRequest) -> HttpResponse | None:
        """To the page of the job whose button was pressed; None means the list."""
        job_id = request.POST.get("back_to")
        return HttpResponseRedirect(self.url("change", job_id)) if job_id else None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return queryset.matching(search_term) if search_term.strip() else queryset, False  # type: ignore[attr-defined]

    # ---- columns ---------------------------------------------------------------------------------

    @display(description=_("state"), ordering="is_active")
    def state(self, obj: Job) -> str:
        word = "active" if obj.is_active else obj.paused_reason or PausedReason.BY_HAND.value
        text, colour = STATES[word]
        return badge(word, text, colours={word: colour})

    @display(description=_("target"))
    def target_kind(self, obj: Job) -> str:
        return titled(ExecutionType(obj.execution_type).label, obj.target)

    @display(description=_("cron"), ordering="cron_expression")
    def cron(self, obj: Job) -> str:
        return titled(obj.cron_expression, _words(obj), classes="cs-mono whitespace-nowrap")

    @display(description=_("next run"), ordering="next_run_at")
    def next_run(self, obj: Job) -> str:
        return moment(obj.next_run_at, now=clock.now())

    @display(description=_("last run"), ordering="last_execution_at")
    def last_run(self, obj: Job) -> str:
        return moment(obj.last_execution_at, now=clock.now())

    @display(description=_("last result"), ordering="last_status")
    def last_result(self, obj: Job) -> str:
        return badge(obj.last_status, obj.get_last_status_display())

    @display(description=_("owner"))
    def owner(self, obj: Job) -> str:
        return str(obj.created_by or EMPTY)

    @display(description=_("metadata"))
    def metadata_text(self, obj: Job) -> str:
        return preformatted(_pretty(obj.metadata))

    @display(description=_("signing secret"))
    def signing(self, obj: Job) -> str:
        if obj.signing_secret_changed_at is None:
            return gettext("none of its own")
        return format_html("{} {}", gettext("set"), moment(obj.signing_secret_changed_at, now=clock.now()))

    @display(description=_("e-mail to"))
    def email_text(self, obj: Job) -> str:
        return ", ".join(obj.notification_emails) or EMPTY

    @display(description=_("in words"))
    def in_words(self, obj: Job) -> str:
        return f"{_words(obj)} ({obj.zone_name})"

    @display(description=_("next runs"))
    def coming_runs(self, obj: Job) -> str:
        """The next slots in the job's zone, up to its end date; what a paused job would run at."""
        now = clock.now()
        try:
            zone = schedule.load_zone(obj.zone_name)
            slots = schedule.next_runs(obj.cron_expression, zone=zone, after=now, count=PREVIEWED_RUNS)
        except ValueError as error:
            return said(error)
        within = [slot for slot in slots if is_within(slot, obj.end_date)]
        if not within:
            return gettext("none before the end date")
        rows = ((f"{slot:%a %Y-%m-%d %H:%M %Z}", relative(slot, now=now)) for slot in within)
        listed = format_html_join("", '<li>{} <span class="text-subtle">{}</span></li>', rows)
        note = "" if obj.is_active else gettext("Paused. If it were not:")
        return format_html("{}<ul>{}</ul>", note, listed)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        job = context.get("original")
        if job is not None:
            history = reverse("admin:jobs_jobexecution_changelist")
            context["executions_url"] = f"{history}?job__id__exact={job.pk}"
            context["list_url"] = self.url("changelist")
        return super().render_change_form(request, context, *args, **kwargs)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _parsed(text: str) -> Any:
    """The JSON value; None for an empty text; what is no JSON stays text, for the service to refuse."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


def _words(job: Job) -> str:
    try:
        return schedule.describe(job.cron_expression)
    except schedule.CronError as error:
        return said(error)


def _replaced(fieldsets: Any, names: Mapping[Any, str]) -> list[Any]:
    """The fieldsets with other fields in the place of some; "" for none."""
    return [
        (
            title,
            {**options, "fields": tuple(new for name in options["fields"] if (new := names.get(name, name)))},
        )
        for title, options in fieldsets
    ]
