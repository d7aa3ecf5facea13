from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.engine import lease
from jobs.models import SchedulerLease
from jobs.services.status import scheduler_status
from jobs.tests.factories import JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]

NOW = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)


def test_nobody_has_ever_led() -> None:
    status = scheduler_status(now=NOW)

    assert (status.scheduler_running, status.leader, status.term, status.last_heartbeat_at) == (
        False,
        "",
        0,
        None,
    )
    assert (status.timezone, status.checked_at) == ("Asia/Tokyo", NOW)


def test_a_leader_is_named_with_its_heartbeat() -> None:
    lease.acquire(holder="host-1:42", ttl_s=60)

    status = scheduler_status(now=NOW)

    row = SchedulerLease.objects.get()
    assert (status.scheduler_running, status.leader, status.term) == (True, "host-1:42", 1)
    assert (status.leader_since, status.last_heartbeat_at) == (row.acquired_at, row.renewed_at)
    assert status.lease_expires_at == row.expires_at


def test_a_silent_leader_is_none_but_its_last_heartbeat_shows() -> None:
    lease.acquire(holder="host-1:42", ttl_s=-1)

    status = scheduler_status(now=NOW)

    assert (status.scheduler_running, status.leader, status.leader_since) == (False, "", None)
    assert status.last_heartbeat_at is not None


def test_a_leader_that_gave_up_is_none() -> None:
    term = lease.acquire(holder="host-1:42", ttl_s=60)
    assert term is not None
    lease.release(term)

    assert scheduler_status(now=NOW).scheduler_running is False


def test_only_jobs_with_a_next_run_count(django_assert_num_queries: Any) -> None:
    JobFactory.create_batch(3, next_run_at=NOW)
    JobFactory(next_run_at=None)
    JobFactory(is_active=False, next_run_at=None)

    with django_assert_num_queries(2):
        assert scheduler_status(now=NOW).scheduled_jobs_count == 3
