"""The first steps on an empty installation, for the home page: what is done is ticked.

It goes by itself once all is done or a handful of jobs is there, and for a browser that hid it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.roles import may_create_jobs, may_manage

COOKIE = "cronsched_guide_hidden"
YEAR_S = 365 * 24 * 60 * 60
# With so many jobs nobody is at the beginning any more.
FEW_JOBS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """`url` is empty where the reader's role may not do it; `who` then says whose it is."""

    title: str
    text: str
    is_done: bool
    url: str = ""
    link: str = ""
    who: str = ""


def guide(request: HttpRequest) -> dict[str, Any] | None:
    """The steps, for `admin/_guide.html`; None where there is nothing to guide through. Few statements."""
    if request.COOKIES.get(COOKIE) or not may_create_jobs(request.user):
        return None
    # Imported here: the site, which shows this, must be whole before the apps' pages are.
    from jobs.models import Job

    jobs = list(Job.objects.order_by("created_at").values_list("pk", flat=True)[:FEW_JOBS])
    if len(jobs) == FEW_JOBS:
        return None
    steps = [_team(request), _channel(request), _job(jobs), _run(jobs)]
    done = sum(step.is_done for step in steps)
    if done == len(steps):
        return None
    first = next(step for step in steps if not step.is_done)
    return {"steps": steps, "done": done, "next": first, "hide_url": reverse("admin:hide_guide")}


def hide_guide(request: HttpRequest) -> HttpResponse:
    answer = HttpResponseRedirect(reverse("admin:index"))
    answer.set_cookie(
        COOKIE,
        "1",
        max_age=YEAR_S,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
        path=reverse("admin:index"),
    )
    return answer


def _team(request: HttpRequest) -> Step:
    from taxonomy.models import PicTeam

    return Step(
        title=_("Add your team"),
        text=_("Every job belongs to a team, and its Slack handle is mentioned when a run fails."),
        is_done=PicTeam.objects.active().exists(),
        **_for_admins(request, "admin:taxonomy_picteam_add", _("Add a team")),
    )


def _channel(request: HttpRequest) -> Step:
    from notifications.models import SlackSettings

    is_done = settings.MAIL_ENABLED or SlackSettings.objects.filter(is_enabled=True).exists()
    return Step(
        title=_("Say where failures are told"),
        text=_("By Slack: put an incoming webhook into the settings and send a test. By mail: MAIL_ENABLED."),
        is_done=is_done,
        **_for_admins(request, "admin:notifications_slacksettings_changelist", _("Open the Slack settings")),
    )


def _job(jobs: list[Any]) -> Step:
    return Step(
        title=_("Create the first job"),
        text=_("A schedule, and a webhook or a GitHub workflow to call; the form shows when it would run."),
        is_done=bool(jobs),
        url=reverse("admin:jobs_job_add"),
        link=_("Create a job"),
    )


def _run(jobs: list[Any]) -> Step:
    from jobs.models import JobExecution

    url = reverse("admin:jobs_job_page", args=[jobs[0]]) if jobs else ""
    return Step(
        title=_("See it run"),
        text=_("Wait for its time, or press Run now on its page; the answer is there a moment later."),
        is_done=bool(jobs)
        and JobExecution.objects.filter(job_id__in=jobs, completed_at__isnull=False).exists(),
        url=url,
        link=_("Open the job") if url else "",
    )


def _for_admins(request: HttpRequest, address: str, link: str) -> dict[str, str]:
    if may_manage(request.user):
        return {"url": reverse(address), "link": link}
    return {"who": _("An admin does this.")}
