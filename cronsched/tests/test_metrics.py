from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from cronsched.core import clock
from cronsched.management.commands import runscheduler
from jobs.engine import lease
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import Message

pytestmark = pytest.mark.django_db


def scraped(client: Client, **extra: Any) -> dict[str, float]:
    response = client.get("/metrics", **extra)
    assert response.status_code == 200, response.content
    return {
        " ".join([sample.name.removeprefix("cronsched_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


@pytest.mark.databases
def test_the_installation_in_figures(client):
    now = clock.now()
    lease.acquire(holder="host-1:42", ttl_s=60)
    job = JobFactory(next_run_at=now - timedelta(seconds=20), consecutive_failures=3)
    JobFactory(paused=True)
    JobFactory(next_run_at=now + timedelta(hours=1))
    ExecutionFactory(job=job, queued=True, manual=True, available_at=now - timedelta(seconds=90))
    ExecutionFactory(job=job, running=True)
    ExecutionFactory(job=job, started_at=now - timedelta(minutes=1))
    Message.objects.create(
        channel="email", event="run_failed", recipient="a@example.com", next_attempt_at=now,
        created_at=now, queued_at=now - timedelta(minutes=3), message_id="m1",
    )  # fmt: skip

    figures = scraped(client)

    exact = {
        name: figures[name]
        for name in (
            "scheduler_running", "jobs", "jobs_paused", "jobs_scheduled", "jobs_failing", "jobs_overdue",
            "queue_runs", "runs_running", "messages_waiting email",
        )
    }  # fmt: skip
    assert exact == {
        "scheduler_running": 1, "jobs": 3, "jobs_paused": 1, "jobs_scheduled": 2, "jobs_failing": 1,
        "jobs_overdue": 1, "queue_runs": 1, "runs_running": 1, "messages_waiting email": 1,
    }  # fmt: skip
    assert figures["schedule_lag_seconds"] == pytest.approx(20, abs=5)
    assert figures["queue_age_seconds"] == pytest.approx(90, abs=5)
    assert figures["messages_age_seconds email"] == pytest.approx(180, abs=5)
    assert figures["runs_last_day success"] >= 1


def test_an_empty_installation_has_figures(client):
    figures = scraped(client)

    assert (figures["scheduler_running"], figures["jobs"], figures["queue_age_seconds"]) == (0, 0, 0)


def test_the_statements_do_not_grow(client, django_assert_max_num_queries):
    JobFactory.create_batch(3)
    for _ in range(3):
        ExecutionFactory()

    with django_assert_max_num_queries(12):
        scraped(client)


@pytest.mark.parametrize(
    "request_",
    [
        {"REMOTE_ADDR": "203.0.113.9"},
        # Through a proxy that the operator did not name.
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": ""},
    ],
)
def test_without_a_token_only_this_machine_is_answered(client, request_):
    response = client.get("/metrics", **request_)

    assert (response.status_code, b"METRICS_TOKEN" in response.content) == (403, True)


def test_with_a_token_it_is_asked_for_everywhere(client, settings):
    settings.METRICS_TOKEN = "token-é"

    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer token-é"}).status_code == 200


def test_without_a_database_the_scrape_fails(client, monkeypatch):
    def fail(*args: Any) -> None:
        raise OperationalError("secret host")

    monkeypatch.setattr(CursorWrapper, "execute", fail)

    response = client.get("/metrics")

    assert (response.status_code, b"secret" in response.content) == (503, False)


def test_a_port_that_is_taken_stops_the_scheduler_by_name(settings, monkeypatch):
    def taken(*args: Any) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(runscheduler, "start_http_server", taken)
    settings.METRICS_PORT = 9464

    with pytest.raises(CommandError, match=r"METRICS_PORT: 127\.0\.0\.1:9464 cannot be listened on"):
        runscheduler.serve_metrics()


def test_no_port_no_server(settings, monkeypatch):
    monkeypatch.setattr(runscheduler, "start_http_server", None)
    settings.METRICS_PORT = 0

    runscheduler.serve_metrics()
