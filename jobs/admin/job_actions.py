"""What is done to many jobs at once. Each job is asked and changed on its own; refusals are told by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from accounts.admin import actor
from accounts.models import User
from accounts.roles import may_create_jobs, may_manage
from cronsched.core import clock
from jobs.admin.home import runs_url
from jobs.admin.job_form import DateWidget
from jobs.models import Job, JobExecution
from jobs.services import lifecycle, manual
from taxonomy.models import PicTeam

# Jobs that a question names, and runs that an answer links; the rest are counted.
NAMED: Final = 50
LINKED: Final = 10
DAYS_MAX: Final = 3_660


class OwnerQuestion(forms.Form):
    to = forms.ChoiceField(label=_("New owner"), widget=UnfoldAdminSelectWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        users = [user for user in User.objects.active().order_by("username_key") if may_create_jobs(user)]
        self.users = {str(user.pk): user for user in users}
        self.fields["to"].choices = [("", "–"), *((key, user.username) for key, user in self.users.items())]  # type: ignore[attr-defined]


class TeamQuestion(forms.Form):
    team = forms.ModelChoiceField(
        label=_("New team"),
        queryset=PicTeam.objects.none(),
        empty_label="–",
        widget=UnfoldAdminSelectWidget(),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"].queryset = PicTeam.objects.filter(is_active=True)  # type: ignore[attr-defined]


class EndDateQuestion(forms.Form):
    end_date = forms.DateField(label=_("To this day"), required=False, widget=DateWidget())
    days = forms.IntegerField(
        label=_("Or by so many days"),
        required=False,
        min_value=1,
        max_value=DAYS_MAX,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=_("Counted from each job's own end date, or from today where that has gone by."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and bool(cleaned.get("end_date")) == bool(cleaned.get("days")):
            raise forms.ValidationError(gettext("Give either a day or a number of days."))
        return cleaned


class JobActions:
    """Mixed in before a ServiceAdmin."""

    actions: tuple[str, ...] = (
        "enable",
        "disable",
        "run_now",
        "extend_end_date",
        "change_team",
        "hand_over",
        "delete_selected",
    )

    @admin.action(permissions=["change"], description=_("Enable"))
    def enable(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._each(request, queryset, lifecycle.resume_job, done=gettext("Enabled"))

    @admin.action(permissions=["change"], description=_("Disable"))
    def disable(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._each(request, queryset, lifecycle.pause_job, done=gettext("Disabled"))

    @admin.action(permissions=["change"], description=_("Run now"))
    def run_now(self: Any, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()
        runs: list[JobExecution] = self.apply_each(
            request,
            queryset,
            lambda job: manual.run_job_now(job, by=by, now=now, via="admin"),
            done=gettext("Queued, to be sent within a second or two"),
        )
        if runs:
            self.message_user(request, _links_to(runs), messages.INFO)
        return _back(request)

    @admin.action(permissions=["change"], description=_("Extend end date"))
    def extend_end_date(self: Any, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()

        def extend(form: Any) -> Callable[[Job], object]:
            return lambda job: lifecycle.update_job(
                job, data={"end_date": _extended(job, form, now)}, by=by, now=now, via="admin"
            )

        return self._after_asking(
            request,
            queryset,
            EndDateQuestion,
            title=gettext("Extend end date"),
            service=extend,
            done=gettext("Extended"),
        )

    @admin.action(permissions=["change"], description=_("Change team"))
    def change_team(self: Any, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()

        def move(form: Any) -> Callable[[Job], object]:
            data = {"pic_team": form.cleaned_data["team"].slug}
            return lambda job: lifecycle.update_job(job, data=data, by=by, now=now, via="admin")

        return self._after_asking(
            request,
            queryset,
            TeamQuestion,
            title=gettext("Change team"),
            service=move,
            done=gettext("Moved to the team"),
        )

    @admin.action(permissions=["manage"], description=_("Hand over"))
    def hand_over(self: Any, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Asks to whom, then gives them all to that user."""
        by, now = actor(request), clock.now()

        def give(form: Any) -> Callable[[Job], object]:
            data = {"created_by": form.cleaned_data["to"]}
            return lambda job: lifecycle.update_job(job, data=data, by=by, now=now, via="admin")

        def done(form: Any) -> str:
            return gettext("Handed over to %s") % form.users[form.cleaned_data["to"]].username

        return self._after_asking(
            request, queryset, OwnerQuestion, title=gettext("Hand over"), service=give, done=done
        )

    def _each(
        self: Any, request: HttpRequest, jobs: QuerySet[Job], service: Callable[..., object], *, done: str
    ) -> HttpResponse | None:
        by, now = actor(request), clock.now()
        self.apply_each(request, jobs, lambda job: service(job, by=by, now=now, via="admin"), done=done)
        return _back(request)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return may_manage(request.user)

    def _after_asking(
        self: Any,
        request: HttpRequest,
        jobs: QuerySet[Job],
        question: type[forms.Form],
        *,
        title: str,
        service: Callable[[Any], Callable[[Job], object]],
        done: str | Callable[[Any], str],
    ) -> HttpResponse | None:
        """Ask what the action needs, and do it once that is answered well."""
        form = question(request.POST) if "answered" in request.POST else question()
        if not form.is_valid():
            return self._question(request, jobs, form, title)
        self.apply_each(request, jobs, service(form), done=done(form) if callable(done) else done)
        return _back(request)

    def _question(
        self: Any, request: HttpRequest, jobs: QuerySet[Job], form: forms.Form, title: str
    ) -> HttpResponse:
        # Of a choice across all pages the filters are sent again, not thousands of ids.
        is_across = request.POST.get("select_across") == "1"
        names = list(jobs.values_list("name", flat=True)[: NAMED + 1])
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "form": form,
            "media": form.media,
            "names": names[:NAMED],
            "more": max(0, jobs.count() - NAMED) if len(names) > NAMED else 0,
            "ids": request.POST.getlist("_selected_action")[:1]
            if is_across
            else request.POST.getlist("_selected_action"),
            "is_across": is_across,
            "action": request.POST["action"],
            "back_to": request.POST.get("back_to", ""),
            "url": request.get_full_path(),
            "list_url": self.url("changelist"),
        }
        return TemplateResponse(request, "admin/jobs/question.html", context)


def _extended(job: Job, form: Any, now: Any) -> str:
    chosen: date | None = form.cleaned_data["end_date"]
    today = clock.scheduler_date(now)
    begins = max(job.end_date or today, today)
    return (chosen or begins + timedelta(days=form.cleaned_data["days"])).isoformat()


def _links_to(runs: list[JobExecution]) -> str:
    """The runs that were queued, each by the name of its job."""
    links = format_html_join(
        ", ",
        '<a class="underline" href="{}">{}</a>',
        ((reverse("admin:jobs_jobexecution_change", args=[run.pk]), run.job.name) for run in runs[:LINKED]),
    )
    if len(runs) <= LINKED:
        return format_html("{} {}", gettext("See how it goes:"), links)
    every = format_html(
        '<a class="underline" href="{}">{}</a>',
        runs_url(trigger_type__exact="manual"),
        gettext("all of them"),
    )
    return format_html("{} {}, {}", gettext("See how it goes:"), links, every)


def _back(request: HttpRequest) -> HttpResponse | None:
    """To the page whose button was pressed: home, or a job's; None means the list."""
    back_to = request.POST.get("back_to", "")
    if back_to == "home":
        return HttpResponseRedirect(reverse("admin:index"))
    try:
        return HttpResponseRedirect(reverse("admin:jobs_job_page", args=[UUID(back_to)]))
    except ValueError:
        return None
