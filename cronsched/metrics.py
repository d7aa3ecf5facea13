"""GET /metrics: what Prometheus is told of the whole installation, whichever web process is asked.

Everything is read from the database at the moment of the scrape, in a fixed number of short
statements, so that the figures of two web servers agree and a restart forgets nothing. What only the
scheduler knows (how late runs left, how long a tick took) it serves itself: METRICS_PORT.
Text format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from cronsched import __version__
from cronsched.core import clock
from cronsched.core.api.address import client_address
from jobs.choices import CatchUp, Status
from jobs.models import Job, JobExecution
from jobs.querysets import RunFilter
from jobs.services.statistics import figures
from jobs.services.status import scheduler_status
from notifications.models import OPEN, Message

_PLAIN = "text/plain; charset=utf-8"


@require_safe
def metrics_page(request: HttpRequest) -> HttpResponse:
    if refusal := _refusal(request):
        return refusal
    registry = CollectorRegistry()
    registry.register(InstallationCollector(now=clock.now()))
    try:
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    except Error:
        # The scrape fails, and Prometheus' own `up` tells it.
        return HttpResponse("The database cannot be reached.\n", status=503, content_type=_PLAIN)


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """What is answered to those whom the figures are not for."""
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
            return None
        text = "Authorization: Bearer, with the METRICS_TOKEN of this server.\n"
        return HttpResponse(text, status=401, content_type=_PLAIN, headers={"WWW-Authenticate": "Bearer"})
    if _is_this_machine(request):
        return None
    text = "Set METRICS_TOKEN to read the metrics from another machine.\n"
    return HttpResponse(text, status=403, content_type=_PLAIN)


def _is_this_machine(request: HttpRequest) -> bool:
    """Whether the request began here. One that a proxy passed on without our knowing it did not."""
    if "X-Forwarded-For" in request.headers and not settings.TRUSTED_PROXIES:
        return False
    try:
        return ipaddress.ip_address(client_address(request)).is_loopback
    except ValueError:
        return False


class InstallationCollector:
    """The figures, at one moment. Ages are seconds; 0 where nothing waits."""

    def __init__(self, *, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("info", "The version that serves.", 1, version=__version__)
        yield from self._scheduler()
        yield from self._jobs()
        yield from self._queue()
        yield from self._messages()
        yield self._last_day()

    def _scheduler(self) -> Iterator[GaugeMetricFamily]:
        status = scheduler_status(now=self._now)
        yield _gauge("scheduler_running", "1 while a scheduler leads, else 0.", int(status.scheduler_running))
        yield _gauge("scheduler_term", "Grows with every change of the leader.", status.term)
        yield _gauge(
            "scheduler_heartbeat_age_seconds",
            "Since a leader last renewed the lease.",
            self._age_s(status.last_heartbeat_at),
        )
        yield _gauge("jobs_scheduled", "Active jobs that have a next run.", status.scheduled_jobs_count)

    def _jobs(self) -> Iterator[GaugeMetricFamily]:
        # Each from an index: rows of jobs are wide.
        jobs = dict(Job.objects.order_by().values_list("is_active").annotate(Count("pk")))
        failing = Job.objects.filter(is_active=True, consecutive_failures__gt=0).count()
        # A job that catches up on every slot may wait for room, with its next run in the past.
        overdue = Job.objects.filter(next_run_at__lte=self._now).aggregate(
            jobs=Count("pk"), first=Min("next_run_at", filter=~Q(catch_up=CatchUp.ALL))
        )
        yield _gauge("jobs", "Jobs.", sum(jobs.values()))
        yield _gauge("jobs_paused", "Jobs that are paused.", jobs.get(False, 0))
        yield _gauge("jobs_failing", "Active jobs whose last run failed.", failing)
        yield _gauge("jobs_overdue", "Jobs with a slot that is due and not planned yet.", overdue["jobs"])
        yield _gauge(
            "schedule_lag_seconds", "Age of the oldest slot not planned yet.", self._age_s(overdue["first"])
        )

    def _queue(self) -> Iterator[GaugeMetricFamily]:
        row = JobExecution.objects.filter(status=Status.QUEUED, available_at__lte=self._now).aggregate(
            runs=Count("pk"), first=Min("available_at")
        )
        running = JobExecution.objects.filter(status=Status.RUNNING).count()
        yield _gauge("queue_runs", "Runs that wait to be sent.", row["runs"])
        yield _gauge("queue_age_seconds", "Age of the oldest of them.", self._age_s(row["first"]))
        yield _gauge("runs_running", "Runs under way.", running)

    def _messages(self) -> Iterator[GaugeMetricFamily]:
        waiting = _labelled("messages_waiting", "Messages in the outbox.", "channel")
        age = _labelled("messages_age_seconds", "Age of the oldest of them.", "channel")
        rows = Message.objects.filter(state__in=OPEN).order_by().values_list("channel")
        for channel, count, first in rows.annotate(Count("pk"), Min("queued_at")):
            waiting.add_metric([channel], count)
            age.add_metric([channel], self._age_s(first))
        yield from (waiting, age)

    def _last_day(self) -> Any:
        day = figures(RunFilter(start=self._now - timedelta(hours=24), end=self._now))
        family = _labelled("runs_last_day", "Runs of the last 24 hours, by how they ended.", "status")
        for status, count in (("success", day.success), ("failed", day.failed), ("missed", day.missed)):
            family.add_metric([status], count)
        return family

    def _age_s(self, moment: datetime | None) -> float:
        return max(0.0, (self._now - moment).total_seconds()) if moment else 0.0


def _gauge(name: str, says: str, value: float, **labels: str) -> Any:
    family = _labelled(name, says, *labels)
    family.add_metric(list(labels.values()), value)
    return family


def _labelled(name: str, says: str, *labels: str) -> Any:
    return GaugeMetricFamily(f"cronsched_{name}", says, labels=labels)
