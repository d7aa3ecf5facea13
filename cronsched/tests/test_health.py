from __future__ import annotations

from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.db.backends.utils import CursorWrapper

from cronsched import __version__
from cronsched.testing.fixtures_api import ApiClient
from jobs.engine import lease
from jobs.tests.factories import JobFactory


@pytest.mark.django_db
def test_health_tells_of_the_scheduler(anonymous_api: ApiClient, django_assert_num_queries: Any) -> None:
    lease.acquire(holder="host-1:42", ttl_s=60)
    JobFactory.create_batch(2)

    with django_assert_num_queries(2):
        response = anonymous_api.get("/health")

    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "scheduler_running": True,
        "scheduled_jobs_count": 2,
        "version": __version__,
    }


@pytest.mark.django_db
def test_a_system_without_a_scheduler_still_answers(anonymous_api: ApiClient) -> None:
    body = anonymous_api.get("/health/").json()

    assert (body["status"], body["scheduler_running"], body["scheduled_jobs_count"]) == ("healthy", False, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("accept", ["text/html", "text/plain", "*/*", "nonsense"])
def test_a_probe_is_answered_whatever_it_accepts(anonymous_api: ApiClient, accept: str) -> None:
    response = anonymous_api.get("/health", headers={"accept": accept, "authorization": "Bearer stale"})

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("secret host"), InterfaceError("secret host")])
def test_without_a_database_it_is_503_in_json(
    anonymous_api: ApiClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(CursorWrapper, "execute", fail)

    response = anonymous_api.get("/health")

    body = response.json()
    assert (response.status_code, response["Content-Type"]) == (503, "application/json")
    assert (body["status"], body["scheduler_running"], body["scheduled_jobs_count"]) == (
        "unhealthy",
        False,
        None,
    )
    assert {"error", "message", "version"} <= set(body)
    assert "secret" not in response.content.decode()
