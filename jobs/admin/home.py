"""The home page: what matters at a glance, made of what the services know.

The page and the fragment that keeps it up to date show the same; no more than a fixed number of statements,
none of which reads the whole history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.roles import may_change_job, may_create_jobs, may_manage
from cronsched.core import clock
from cronsched.core.admin_display import duration
from jobs.admin.charts import Chart, bar_chart, line_chart
from jobs.admin.filters import MINUTE, UNDER_WAY, span_text
from jobs.choices import FINISHED
from jobs.engine.lease import standbys
from jobs.querysets import RunFilter
from jobs.services import dashboard, timeline
from jobs.services.overview import figures_between
from jobs.services.statistics import Figures, figures
from jobs.services.status import scheduler_status

DAYS: Final = 14
QUARTER: Final = timedelta(minutes=15)
HOUR: Final = timedelta(hours=1)
LABEL_HOURS: Final = 3
ROWS: Final = 8
RATE_STEP: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """One line of the table behind the charts."""

    on: date
    figures: Figures
    # To the lists of what is counted: "all", and each status.
    links: dict[str, str]

    @property
    def rate(self) -> float | None:
        """None where nothing ended: no day without runs is a day of failures."""
        return self.figures.rate if self.figures.success + self.figures.failed else None

    @property
    def average(self) -> str:
        return duration(self.figures.average)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hour:
    """One line of the table behind the timeline; `peak` is the most in one minute, `url` the jobs' list."""

    at: datetime
    runs: int
    peak: int
    url: str


def home_context(request: HttpRequest) -> dict[str, Any]:
    """All that the page shows, for whoever looks."""
    now, user = clock.now(), request.user
    since = now - dashboard.TROUBLED_FOR
    running, runs = dashboard.in_flight(limit=ROWS)
    troubles = dashboard.troubles(since=since, limit=ROWS)
    day = figures(RunFilter(start=since))
    totals = dashboard.totals(user=user, now=now)
    return {
        "now": now,
        "zone": timezone.localtime(now).tzname(),
        "totals": totals,
        "running": running,
        "is_running_capped": running >= dashboard.COUNT_MAX,
        "runs": runs,
        "day": day,
        "day_has_ended": bool(day.success + day.failed),
        "troubles": [(trouble, _may_run(user, trouble.job)) for trouble in troubles],
        "ending": dashboard.ending_soon(now=now, limit=ROWS),
        "repeatedly": [(job, _may_run(user, job)) for job in dashboard.failing_repeatedly(limit=ROWS)],
        "next_jobs": dashboard.next_jobs(limit=ROWS),
        "summary": _summary(running, day),
        "may_create": may_create_jobs(user),
        "links": _links(since),
        **_scheduler(user, now),
        **_timeline(now),
        **_history(now),
    }


def jobs_url(**query: Any) -> str:
    return _listed("jobs_job", query)


def runs_url(*, since: datetime | None = None, **query: Any) -> str:
    """The list of executions, narrowed; `since` in the viewer's own time, as the list reads it."""
    if since is not None:
        local = timezone.localtime(since)
        query |= {"started_at_from_0": f"{local:%Y-%m-%d}", "started_at_from_1": f"{local:%H:%M:%S}"}
    return _listed("jobs_jobexecution", query)


def _days_url(first: date, last: date, **query: Any) -> str:
    """The runs of these days of the viewer's calendar, both included."""
    days = {"started_at_from_0": first.isoformat(), "started_at_to_0": last.isoformat()}
    return _listed("jobs_jobexecution", {**query, **days})


def _due_url(first: datetime, until: datetime) -> str:
    return jobs_url(runs_at=span_text(first, until))


def _listed(model: str, query: dict[str, Any]) -> str:
    path = reverse(f"admin:{model}_changelist")
    return f"{path}?{urlencode(query)}" if query else path


def _links(since: datetime) -> dict[str, str]:
    return {
        "jobs": jobs_url(),
        "add": reverse("admin:jobs_job_add"),
        "active": jobs_url(state="active"),
        "running": runs_url(status__exact=UNDER_WAY),
        "failed": runs_url(status__exact="failed", since=since),
        "missed": runs_url(status__exact="missed", since=since),
        "day": runs_url(since=since),
        "ending": jobs_url(state="active", ends="30"),
        "repeatedly": jobs_url(state="active", failing="repeatedly"),
        "act": jobs_url(),
        "scheduler": reverse("admin:jobs_schedulerlease_changelist"),
    }


def _may_run(user: Any, job: Any) -> bool:
    return may_change_job(user, created_by_id=job.created_by_id)


def _summary(running: int, day: Figures) -> str:
    """What a screen reader is told when it changes."""
    return " ".join(
        (
            ngettext("%d run in progress.", "%d runs in progress.", running) % running,
            ngettext("%d failed in 24 hours.", "%d failed in 24 hours.", day.failed) % day.failed,
            ngettext("%d missed in 24 hours.", "%d missed in 24 hours.", day.missed) % day.missed,
        )
    )


def _scheduler(user: Any, now: datetime) -> dict[str, Any]:
    """Whether there is one, for everybody; who leads and how late it is, for those who manage it."""
    status = scheduler_status(now=now)
    details = {"standbys": [row.holder for row in standbys()]} if may_manage(user) else {}
    return {"scheduler": status, "may_manage": may_manage(user), **details}


# ---- the coming day ----------------------------------------------------------------------------


def _timeline(now: datetime) -> dict[str, Any]:
    coming = timeline.coming(now=now)
    begins = coming.begins_at.replace(minute=coming.begins_at.minute // 15 * 15)
    count = int((coming.ends_at - begins) / QUARTER) + 1
    quarters: list[list[int]] = [[] for _ in range(count)]
    for slot, jobs in coming.counts.items():
        quarters[int((slot - begins) / QUARTER)].append(jobs)
    starts = [begins + n * QUARTER for n in range(count)]
    columns = [
        (_quarter_words(at, counts), _quarter_parts(counts))
        for at, counts in zip(starts, quarters, strict=True)
    ]
    urls = [
        _coming_url(coming, at, QUARTER) if counts else ""
        for at, counts in zip(starts, quarters, strict=True)
    ]
    return {
        "timeline": coming,
        "timeline_chart": bar_chart(columns, urls=urls),
        "timeline_hours": _hour_labels(begins, count),
        "hours": _hours(coming),
        "busiest": [(minute, jobs_url(runs_at=f"{minute.at:{MINUTE}}")) for minute in coming.busiest],
    }


def _coming_url(coming: timeline.Timeline, begins_at: datetime, span: timedelta) -> str:
    """The jobs due in that span, as far as the timeline has it: its first minute is the next one."""
    return _due_url(max(begins_at, coming.begins_at), min(begins_at + span, coming.ends_at))


def _hours(coming: timeline.Timeline) -> list[Hour]:
    """Those in which something is due, by the viewer's clock: half an hour apart from UTC's in some zones."""
    by_hour: dict[datetime, list[int]] = {}
    for slot, jobs in coming.counts.items():
        hour = timezone.localtime(slot).replace(minute=0).astimezone(UTC)
        by_hour.setdefault(hour, []).append(jobs)
    return [
        Hour(at=at, runs=sum(counts), peak=max(counts), url=_coming_url(coming, at, HOUR))
        for at, counts in by_hour.items()
    ]


def _quarter_parts(counts: Sequence[int]) -> list[tuple[str, float]]:
    """The fullest minute below, the rest of the quarter of an hour above it."""
    peak = max(counts, default=0)
    return [("peak", peak), ("soft", sum(counts) - peak)]


def _quarter_words(begins_at: datetime, counts: Sequence[int]) -> str:
    if not counts:
        return ""
    runs, at = sum(counts), f"{timezone.localtime(begins_at):%H:%M}"
    text = ngettext("%(at)s: %(runs)d run", "%(at)s: %(runs)d runs", runs)
    peak = _("at most %d in one minute") % max(counts)
    return f"{text % {'at': at, 'runs': runs}}, {peak}"


def _hour_labels(begins: datetime, quarters: int) -> list[tuple[str, str]]:
    """The local hours below the chart, with where each stands, in percent."""
    labels = []
    for n in range(quarters):
        local = timezone.localtime(begins + n * QUARTER)
        # None at the very end, where it has no room.
        if local.minute == 0 and local.hour % LABEL_HOURS == 0 and n < quarters - 4:
            labels.append((f"{local:%H:%M}", f"{n / quarters * 100:.2f}"))
    return labels


# ---- the days behind ---------------------------------------------------------------------------


def _history(now: datetime) -> dict[str, Any]:
    days = _days(now)
    total = _sum(days)
    urls = [day.links["all"] for day in days]
    return {
        "days": days[::-1],
        "fortnight": total,
        "fortnight_average": duration(total.average) if total else "",
        "runs_chart": bar_chart([(_day_words(day), _day_parts(day.figures)) for day in days], urls=urls),
        "rate_chart": _rate_chart(days, urls),
        "latency_chart": _latency_chart(days, urls),
        "fortnight_url": _days_url(days[0].on, days[-1].on),
        "first_day": days[0].on,
        "last_day": days[-1].on,
    }


def _days(now: datetime) -> list[Day]:
    """The last days of the viewer's own calendar, today included."""
    zone, today = timezone.get_current_timezone(), timezone.localtime(now).date()
    dates = [today + timedelta(days=n - DAYS + 1) for n in range(DAYS + 1)]
    bounds = [datetime.combine(day, time.min, zone).astimezone(UTC) for day in dates]
    found = figures_between(bounds)
    return [
        Day(on=day, figures=of_day, links=_day_links(day))
        for (day, _next), of_day in zip(pairwise(dates), found, strict=True)
    ]


def _day_links(day: date) -> dict[str, str]:
    of_status = {status.value: _days_url(day, day, status__exact=status.value) for status in FINISHED}
    return {"all": _days_url(day, day), **of_status}


def _sum(days: Sequence[Day]) -> Any:
    return None if not any(day.figures.total for day in days) else _added([day.figures for day in days])


def _added(parts: Sequence[Figures]) -> Figures:
    success, failed = (sum(getattr(part, name) for part in parts) for name in ("success", "failed"))
    timed = [(part.average, part.success + part.failed) for part in parts if part.average is not None]
    weight = sum(runs for _average, runs in timed)
    return Figures(
        total=sum(part.total for part in parts),
        success=success,
        failed=failed,
        running=sum(part.running for part in parts),
        missed=sum(part.missed for part in parts),
        rate=round(100 * success / (success + failed), 1) if success + failed else 0.0,
        average=round(sum(average * runs for average, runs in timed) / weight, 3) if weight else None,
    )


def _day_parts(of_day: Figures) -> list[tuple[str, float]]:
    return [("failed", of_day.failed), ("missed", of_day.missed), ("success", of_day.success)]


def _day_words(day: Day) -> str:
    of_day = day.figures
    return _("%(day)s: %(success)d success, %(failed)d failed, %(missed)d missed") % {
        "day": date_format(day.on, "SHORT_DATE_FORMAT"),
        "success": of_day.success,
        "failed": of_day.failed,
        "missed": of_day.missed,
    }


def _rate_chart(days: Sequence[Day], urls: Sequence[str]) -> Chart:
    """From the last round percentage below them all: 97 and 99 are far apart to who is called at night."""
    rates = [day.rate for day in days if day.rate is not None]
    lowest = min(rates, default=0.0)
    bottom = max(0.0, (lowest - 1) // RATE_STEP * RATE_STEP)
    points = [(f"{date_format(day.on, 'SHORT_DATE_FORMAT')}: {_percent(day.rate)}", day.rate) for day in days]
    return line_chart(points, top=100.0, bottom=bottom, urls=urls)


def _latency_chart(days: Sequence[Day], urls: Sequence[str]) -> Chart:
    averages = [day.figures.average for day in days]
    top = max((average for average in averages if average is not None), default=0.0)
    titles = [f"{date_format(day.on, 'SHORT_DATE_FORMAT')}: {day.average}" for day in days]
    return line_chart(zip(titles, averages, strict=True), top=top or 1.0, urls=urls)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate} %"
