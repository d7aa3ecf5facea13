"""What is done to many jobs at once, in batches; each is judged on its own, and refusals are told by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
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
from cronsched.core.admin import CappedPaginator
from cronsched.core.errors import InvalidInput
from jobs.admin.home import runs_url
from jobs.admin.job_form import DateWidget
from jobs.models import Job, JobExecution
from jobs.services.bulk_edit import Done, edit_jobs, run_jobs_now
from taxonomy.models import PicTeam

# Jobs that a question names, and runs that an answer links; the rest are counted.
NAMED: Final = 50
LINKED: Final = 10
DAYS_MAX: Final = 3_660

# What is done to the jobs of these ids, with the answered question; None where nothing was asked.
Work = Callable[[Sequence[UUID], Any], Done]


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

    list_disable_select_all = False
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
        return self._after_confirming(
            request,
            queryset,
            title=gettext("Enable"),
            work=self._editing(request, lambda job, form: {"is_active": True}),
            done=gettext("Enabled"),
        )

    @admin.action(permissions=["change"], description=_("Disable"))
    def disable(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._after_confirming(
            request,
            queryset,
            title=gettext("Disable"),
            work=self._editing(request, lambda job, form: {"is_active": False}),
            done=gettext("Disabled"),
        )

    @admin.action(permissions=["change"], description=_("Run now"))
    def run_now(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        by, now = actor(request), clock.now()
        return self._after_confirming(
            request,
            queryset,
            title=gettext("Run now"),
            work=lambda ids, form: run_jobs_now(ids, by=by, now=now, via="admin"),
            done=gettext("Queued, to be sent within a second or two"),
        )

    @admin.action(permissions=["change"], description=_("Extend end date"))
    def extend_end_date(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        now = clock.now()
        return self._after_asking(
            request,
            queryset,
            EndDateQuestion,
            title=gettext("Extend end date"),
            work=self._editing(request, lambda job, form: {"end_date": _extended(job, form, now)}),
            done=gettext("Extended"),
        )

    @admin.action(permissions=["change"], description=_("Change team"))
    def change_team(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._after_asking(
            request,
            queryset,
            TeamQuestion,
            title=gettext("Change team"),
            work=self._editing(request, lambda job, form: {"pic_team": form.cleaned_data["team"].slug}),
            done=gettext("Moved to the team"),
        )

    @admin.action(permissions=["manage"], description=_("Hand over"))
    def hand_over(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Asks to whom, then gives them all to that user."""

        def done(form: Any) -> str:
            return gettext("Handed over to %s") % form.users[form.cleaned_data["to"]].username

        return self._after_asking(
            request,
            queryset,
            OwnerQuestion,
            title=gettext("Hand over"),
            work=self._editing(request, lambda job, form: {"created_by": form.cleaned_data["to"]}),
            done=done,
        )

    @admin.action(permissions=["delete"], description=_("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self: Any, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Only those that were ticked: with each goes its whole history, which no batch makes cheap."""
        if _is_across(request):
            text = gettext("Jobs are deleted a page at a time: tick the ones to delete.")
            self.message_user(request, text, messages.ERROR)
            return None
        return super().delete_selected(request, queryset)  # type: ignore[misc]

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return may_manage(request.user)

    def _editing(self, request: HttpRequest, values: Callable[[Job, Any], Mapping[str, Any]]) -> Work:
        """An edit of each: by what `values` makes of the job and of the answered question."""
        by, now = actor(request), clock.now()
        return lambda ids, form: edit_jobs(ids, lambda job: values(job, form), by=by, now=now, via="admin")

    def _after_confirming(
        self, request: HttpRequest, jobs: QuerySet[Job], *, title: str, work: Work, done: str
    ) -> HttpResponse | None:
        """At once where the jobs were ticked; where all of a filter were chosen, they are shown first."""
        if _is_across(request):
            return self._after_asking(request, jobs, forms.Form, title=title, work=work, done=done)
        return self._do(request, _ids_of(jobs), None, work, done)

    def _after_asking(
        self,
        request: HttpRequest,
        jobs: QuerySet[Job],
        question: type[forms.Form],
        *,
        title: str,
        work: Work,
        done: str | Callable[[Any], str],
    ) -> HttpResponse | None:
        """Ask what the action needs, and do it once that is answered well."""
        form = question(request.POST) if "answered" in request.POST else question()
        # Read once: what is compared with what was shown is what is changed.
        ids = _ids_of(jobs)
        if not form.is_valid():
            return self._question(request, jobs, ids, form, title)
        if _is_across(request) and request.POST.get("shown") != _digest(ids):
            text = gettext("The filter finds other jobs now than were shown: look again, then confirm.")
            self.message_user(request, text, messages.WARNING)  # type: ignore[attr-defined]
            return self._question(request, jobs, ids, form, title)
        return self._do(request, ids, form, work, done(form) if callable(done) else done)

    def _do(
        self: Any, request: HttpRequest, ids: Sequence[UUID], form: Any, work: Work, done: str
    ) -> HttpResponse | None:
        if len(ids) > CappedPaginator.cap:
            text = gettext("Those are more than %d jobs: narrow the filters.") % CappedPaginator.cap
            self.message_user(request, text, messages.ERROR)
            return _back(request)
        result = work(ids, form)
        self.tell_each(request, result.count, result.refused, done=done)
        if result.runs:
            self.message_user(request, _links_to(result.runs), messages.INFO)
        return _back(request)

    def _question(
        self: Any,
        request: HttpRequest,
        jobs: QuerySet[Job],
        ids: Sequence[UUID],
        form: forms.Form,
        title: str,
    ) -> HttpResponse:
        # Of a choice across all pages the filters are sent again, not thousands of ids.
        is_across = _is_across(request)
        names = list(jobs.values_list("name", flat=True)[:NAMED])
        count = jobs.count()
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "form": form,
            "media": form.media,
            "names": names,
            "count": count,
            "more": count - len(names),
            "ids": request.POST.getlist("_selected_action")[:1]
            if is_across
            else request.POST.getlist("_selected_action"),
            "is_across": is_across,
            "shown": _digest(ids) if is_across else "",
            "action": request.POST["action"],
            "back_to": request.POST.get("back_to", ""),
            "url": request.get_full_path(),
            "list_url": self.url("changelist"),
        }
        return TemplateResponse(request, "admin/jobs/question.html", context)


def _is_across(request: HttpRequest) -> bool:
    """All jobs of the filter were chosen, not only those of a page: as Unfold's form reads the field."""
    return bool(forms.BooleanField(required=False).to_python(request.POST.get("select_across", "0")))


def _ids_of(jobs: QuerySet[Job]) -> list[UUID]:
    """One more than may be changed at once, where there are more."""
    return list(jobs.order_by().values_list("pk", flat=True)[: CappedPaginator.cap + 1])


def _digest(ids: Sequence[UUID]) -> str:
    """Tells whether the jobs are those that were shown."""
    return hashlib.sha256(b"".join(sorted(pk.bytes for pk in ids))).hexdigest()


def _extended(job: Job, form: Any, now: datetime) -> str:
    """The later end date. A job that runs as long already, or without end, is refused: never shortened."""
    chosen: date | None = form.cleaned_data["end_date"]
    today = clock.scheduler_date(now)
    if job.end_date is None:
        text = gettext("it has no end date and runs on; to give it one, edit the job.")
        raise InvalidInput(text)
    later: date = chosen or max(job.end_date, today) + timedelta(days=form.cleaned_data["days"])
    # A day that has gone by is refused by the rule for end dates.
    if today <= later <= job.end_date:
        raise InvalidInput(gettext("it runs until %s already.") % job.end_date)
    return later.isoformat()


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
