"""The page of a job: what it does, how it went, what was changed; with the buttons its reader may use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.roles import may_change_job
from cronsched.core import clock
from cronsched.core.admin_display import duration
from jobs.admin.charts import HEIGHT, LEAST, STEP, Bar, Chart, Part, outcome_words
from jobs.admin.home import runs_url
from jobs.admin.job_form import pretty
from jobs.admin.job_tools import preview_context
from jobs.choices import Status
from jobs.models import Job, JobExecution
from jobs.querysets import RunFilter
from jobs.services.statistics import figures

CHARTED: Final = 60
LISTED: Final = 15
FIGURES_OF: Final = timedelta(days=30)


def page_context(request: HttpRequest, job: Job) -> dict[str, Any]:
    """All that the page shows. A fixed number of statements, each over a bounded part of the job's runs."""
    now = clock.now()
    runs = _last_runs(job)
    return {
        "job": job,
        "now": now,
        "preview": preview_context(
            expression=job.cron_expression, zone_name=job.zone_name, end_date=job.end_date, now=now
        ),
        "figures": figures(RunFilter(job_id=job.pk, start=now - FIGURES_OF)),
        "runs": runs[::-1][:LISTED],
        "charted": len(runs),
        "chart": _chart(runs),
        "chart_words": outcome_words(run.status for run in runs),
        "chart_top": duration(max((run.duration_seconds or 0.0 for run in runs), default=0.0)),
        "metadata": pretty(job.metadata) if job.metadata else "",
        "may_change": may_change_job(request.user, created_by_id=job.created_by_id),
        "links": _links(job),
        # End dates are days of the scheduler's zone, whatever the viewer's is.
        "days_left": (job.end_date - clock.scheduler_date(now)).days if job.end_date else None,
    }


def show(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    return render(request, "admin/jobs/page.html", context)


def find(request: HttpRequest, job_id: Any) -> Job:
    jobs = Job.objects.visible_to(request.user).without_secrets()
    job: Job | None = jobs.select_related("category", "pic_team", "created_by").filter(pk=job_id).first()
    if job is None:
        raise Http404(_("There is no such job."))
    return job


def _last_runs(job: Job) -> list[JobExecution]:
    """Oldest first. By ids, which stand in the index of the job: their rows are read alone."""
    newest = JobExecution.objects.filter(job=job).order_by("-started_at", "-id")
    ids = list(newest.values_list("pk", flat=True)[:CHARTED])
    runs = JobExecution.objects.filter(pk__in=ids).defer("output", "overrides")
    return list(runs.order_by("started_at", "id"))


def _chart(runs: list[JobExecution]) -> Chart:
    """Durations as heights, the last at the right edge; what has none stands as a low mark in its colour."""
    top = max((run.duration_seconds or 0.0 for run in runs), default=0.0) or 1.0
    empty = CHARTED - len(runs)
    bars = [
        Bar(x=(empty + n) * STEP + 1, parts=[_part(run, top)], title=_run_words(run))
        for n, run in enumerate(runs)
    ]
    return Chart(bars=bars, top=top, columns=CHARTED)


def _part(run: JobExecution, top: float) -> Part:
    height = max(LEAST * 2, (run.duration_seconds or 0.0) / top * HEIGHT)
    return Part(kind=run.status, y=round(HEIGHT - height, 1), height=round(height, 1))


def _run_words(run: JobExecution) -> str:
    when = f"{timezone.localtime(run.started_at):%Y-%m-%d %H:%M}"
    return f"{when}: {Status(run.status).label}, {duration(run.duration_seconds)}"


def _links(job: Job) -> dict[str, str]:
    return {
        "list": reverse("admin:jobs_job_changelist"),
        "edit": reverse("admin:jobs_job_change", args=[job.pk]),
        "delete": reverse("admin:jobs_job_delete", args=[job.pk]),
        "test": reverse("admin:jobs_job_test", args=[job.pk]),
        "runs": runs_url(job__id__exact=job.pk),
        "failed": runs_url(job__id__exact=job.pk, status__exact=Status.FAILED.value),
        "end_date": f"{reverse('admin:jobs_job_change', args=[job.pk])}?focus=end_date",
    }
