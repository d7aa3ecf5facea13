"""Fixtures of the engine's tests: a held lease, a configuration, results without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from jobs.engine.config import EngineConfig
from jobs.engine.lease import Term, acquire
from jobs.engine.messages import Delivery, DeliveryResult, Outcome, Reason


class Steady:
    """A clock in seconds that nobody sets, and that the test moves on: `steady.now += 5`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def steady() -> Steady:
    return Steady()


@pytest.fixture
def engine_config() -> EngineConfig:
    return EngineConfig(grace_s=30, max_instances=3, timeout_s=30, github_token="gh-token")


@pytest.fixture
def term(db: None) -> Term:
    """The lease, held by this test."""
    taken = acquire(holder="this-test", ttl_s=600)
    assert taken is not None
    return taken


@pytest.fixture
def result_of() -> Callable[..., DeliveryResult]:
    """Make the result of a delivery (or of a row that was claimed) without sending it."""

    def make(sent: Any, *, now: datetime, **values: Any) -> DeliveryResult:
        is_delivery = isinstance(sent, Delivery)
        defaults: dict[str, Any] = {
            "execution_id": sent.execution_id if is_delivery else sent.pk,
            "claim_token": sent.claim_token,
            "outcome": Outcome.SUCCESS,
            "started_at": now,
            "completed_at": now + timedelta(seconds=1),
            "duration_s": 1.0,
            "response_status": 200,
            "reason": Reason.NONE,
        }
        return DeliveryResult(**{**defaults, **values})

    return make


@pytest.fixture
def close_thread_connections() -> Iterator[None]:
    """For tests whose threads open connections: nothing may stay open when the database is dropped."""
    yield
    connections.close_all()
