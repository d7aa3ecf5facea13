"""/scheduler: the contract's answers. Who may ask is in accounts/tests/test_permissions.py."""

from __future__ import annotations

from datetime import date

import pytest

from cronsched.testing.fixtures_api import ApiClient
from jobs.engine import lease
from jobs.models import Job
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db


def test_status_without_a_scheduler(admin_api: ApiClient) -> None:
    body = admin_api.get("/scheduler/status").json()

    assert {
        "scheduler_running": False,
        "is_leader": False,
        "leader": None,
        "scheduled_jobs_count": 0,
        "timezone": "Asia/Tokyo",
        "last_heartbeat_at": None,
    }.items() <= body.items()


def test_status_with_a_scheduler(admin_api: ApiClient) -> None:
    lease.acquire(holder="host-1:42", ttl_s=60)

    body = admin_api.get("/scheduler/status").json()

    assert (body["scheduler_running"], body["is_leader"], body["leader"]) == (True, True, "host-1:42")
    assert body["last_heartbeat_at"].endswith("Z")


def test_resync_puts_the_schedule_right_and_counts(admin_api: ApiClient) -> None:
    job = JobFactory(next_run_at=None, planned_schedule="")
    expired = JobFactory(end_date=date(2020, 1, 1))

    body = admin_api.post("/scheduler/resync").json()

    assert body["message"]
    assert (body["scheduled"], body["paused"], body["removed"]) == (1, 1, 0)
    assert Job.objects.get(pk=job.pk).next_run_at is not None
    assert Job.objects.get(pk=expired.pk).is_active is False
