"""Jobs: what runs when, for everyone to read and for owners and admins to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.db.models import DateField, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from accounts.admin import AuditedAdmin, actor
from accounts.choices import AuditKind
from accounts.roles import is_admin, may_change_job, may_create_jobs
from cronsched.core import clock
from cronsched.core.admin_display import EMPTY, moment, preformatted
from jobs.admin import github_tools, job_page, job_tools
from jobs.admin.job_actions import JobActions
from jobs.admin.job_form import DateWidget, JobForm, pretty
from jobs.admin.job_list import JobColumns, state_badge
from jobs.admin.restore import RestoreMixin
from jobs.admin.upload import UploadMixin
from jobs.choices import ExecutionType
from jobs.models import Job
from jobs.services import lifecycle
from taxonomy.models import GENERAL, JobCategory

# What stands in the place of a field for an owner, who cannot give the job away, and for who only reads.
OWNER_SEES = {"created_by": "owner"}
# What of a job its workflow has a say in.
ASKS_GITHUB = {"metadata", "github_owner", "github_repo", "github_workflow_name", "github_correlation_input"}
GITHUB_TOOLS = ("repositories", "workflows", "branches", "inputs")
READER_SEES: dict[Any, str] = {
    **OWNER_SEES,
    "target_kind": "target_words",
    "metadata": "metadata_text",
    "test_run": "",
    "github_lists": "",
    "notification_emails": "email_text",
    ("new_signing_secret", "drop_signing_secret"): "",
}


class _AskGitHub(Exception):
    """Ends the transaction of a save: its workflow has to be asked about this job first."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.pk)
        self.job = job


@admin.register(Job)
class JobAdmin(UploadMixin, RestoreMixin, JobColumns, JobActions, AuditedAdmin):
    form = JobForm
    formfield_overrides = {**AuditedAdmin.formfield_overrides, DateField: {"widget": DateWidget}}
    change_form_outer_before_template = "admin/jobs/job_toolbar.html"
    audit_kind = AuditKind.JOB.value

    what = (_("What"), {"fields": ("name", ("category", "pic_team"), "created_by", "is_active")})
    when = (
        _("When"),
        {"fields": (("cron_expression", "timezone"), "preview", ("end_date", "catch_up"))},
    )
    target = (
        _("Target"),
        {
            "fields": (
                "target_kind",
                "target_url",
                ("github_owner", "github_repo", "github_workflow_name"),
                "github_lists",
                "metadata",
                "test_run",
                ("follow_run", "follow_timeout_minutes", "github_correlation_input"),
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
    fieldsets = (what, when, target, notifications)

    class Media:
        css = {"all": ("cronsched/home.css", "cronsched/jobs.css")}
        js = ("cronsched/jobs.js", "cronsched/github.js")

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
        return ("preview", "test_run", "github_lists", "signing", *shown)

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

    # ---- pages -----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        own = [
            path("tools/preview/", guarded(job_tools.preview), name="jobs_job_preview"),
            path("tools/metadata/", guarded(job_tools.metadata), name="jobs_job_metadata"),
            path("tools/trial/", guarded(job_tools.trial), name="jobs_job_trial"),
            *(
                path(f"tools/github/{name}/", guarded(getattr(github_tools, name)), name=f"jobs_job_{name}")
                for name in GITHUB_TOOLS
            ),
            path("<uuid:job_id>/", guarded(self.page_view), name="jobs_job_page"),
            path("<uuid:job_id>/test/", guarded(job_tools.test_job), name="jobs_job_test"),
        ]
        return own + super().get_urls()

    def page_view(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        job = job_page.find(request, job_id)
        context = {
            **self.admin_site.each_context(request),
            **job_page.page_context(request, job),
            "opts": self.opts,
            "title": job.name,
            "is_fullwidth": "1",
            "state": state_badge(job),
            "kind": ExecutionType(job.execution_type).label,
        }
        request.current_app = self.admin_site.name
        return job_page.show(request, context)

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

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django saves within a transaction, and GitHub is not to be asked within one.

        So a job that its workflow has a say in is first judged and given up, GitHub is asked, and then it
        is saved, or refused with what GitHub would refuse.
        """
        try:
            answer = super().changeform_view(request, object_id, form_url, extra_context)
        except _AskGitHub as question:
            request.github_check = github_tools.ask_about(question.job)  # type: ignore[attr-defined]
            answer = super().changeform_view(request, object_id, form_url, extra_context)
            if answer.status_code == HTTPStatus.FOUND:
                github_tools.warn_of_inputs(request, request.github_check)  # type: ignore[attr-defined]
        return answer

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(self.url("page", obj.pk))

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(self.url("page", obj.pk))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        job = context.get("original")
        if job is not None:
            context["page_url"] = self.url("page", job.pk)
            context["list_url"] = self.url("changelist")
        return super().render_change_form(request, context, *args, **kwargs)

    # ---- writes ----------------------------------------------------------------------------------

    def create(self, request: HttpRequest, data: dict[str, Any]) -> Job:
        job = lifecycle.create_job(data=data, by=actor(request), now=clock.now(), via="admin")
        self._ask_github(request, job)
        return job

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> Job:
        job = lifecycle.update_job(obj, data=data, by=actor(request), now=clock.now(), via="admin")
        if ASKS_GITHUB & data.keys():
            self._ask_github(request, job)
        return job

    def _ask_github(self, request: HttpRequest, job: Job) -> None:
        """Raises InvalidInput for what GitHub would refuse, once it was asked; _AskGitHub before."""
        if job.execution_type != ExecutionType.GITHUB_ACTIONS:
            return
        check = getattr(request, "github_check", None)
        if check is None:
            raise _AskGitHub(job)
        github_tools.refuse_inputs(check)

    def remove(self, request: HttpRequest, obj: Any) -> None:
        lifecycle.delete_job(obj, by=actor(request), now=clock.now(), via="admin")

    def get_deleted_objects(
        self, objs: Iterable[Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Say what goes with a job, before it is gone; it can be paused instead."""
        names, counts, missing, protected = super().get_deleted_objects(objs, request)
        warning = gettext("%s, and the whole history of its runs (disable it instead to keep that)")
        return [warning % name for name in names], counts, missing, protected

    # ---- what the form shows beside its fields -----------------------------------------------------

    @display(description=_("next runs"))
    def preview(self, obj: Job) -> str:
        """Of the schedule as it is stored; a script keeps it in step with what is typed."""
        preview = job_tools.preview_context(
            expression=obj.cron_expression, zone_name=obj.timezone, end_date=obj.end_date, now=clock.now()
        )
        context = {
            "preview": preview,
            "url": reverse("admin:jobs_job_preview"),
            "is_paused": not obj.is_active,
        }
        return render_to_string("admin/jobs/preview_field.html", context)

    @display(description=_("test run"))
    def test_run(self, obj: Job) -> str:
        own = "" if obj._state.adding else f"?job={obj.pk}"
        urls = {
            "url": f"{reverse('admin:jobs_job_trial')}{own}",
            "metadata_url": reverse("admin:jobs_job_metadata"),
        }
        return render_to_string("admin/jobs/trial_field.html", urls)

    @display(description=_("at GitHub"))
    def github_lists(self, obj: Job) -> str:
        urls = {name: reverse(f"admin:jobs_job_{name}") for name in GITHUB_TOOLS}
        context = {"urls": urls, "default_ref": settings.GITHUB_DEFAULT_REF}
        return render_to_string("admin/jobs/github_field.html", context)

    @display(description=_("calls"))
    def target_words(self, obj: Job) -> str:
        return str(ExecutionType(obj.execution_type).label)

    @display(description=_("owner"))
    def owner(self, obj: Job) -> str:
        return str(obj.created_by or EMPTY)

    @display(description=_("metadata"))
    def metadata_text(self, obj: Job) -> str:
        return preformatted(pretty(obj.metadata))

    @display(description=_("signing secret"))
    def signing(self, obj: Job) -> str:
        if obj.signing_secret_changed_at is None:
            return gettext("none of its own")
        since = moment(obj.signing_secret_changed_at, now=clock.now())
        return format_html("{} {}", gettext("set"), since)

    @display(description=_("e-mail to"))
    def email_text(self, obj: Job) -> str:
        return ", ".join(obj.notification_emails) or EMPTY


def _replaced(fieldsets: Any, names: Mapping[Any, str]) -> list[Any]:
    """The fieldsets with other fields in the place of some; "" for none."""
    return [
        (
            title,
            {**options, "fields": tuple(new for name in options["fields"] if (new := names.get(name, name)))},
        )
        for title, options in fieldsets
    ]
