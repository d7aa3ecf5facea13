"""A database whose connections fall silent without a word: no scheduler may hang in them for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from cronsched.core import clock
from cronsched.testing.http_sink import HttpSink
from jobs.engine.loop import STUCK_LEAST_S
from jobs.models import JobExecution, SchedulerLease
from tests.chaos.harness import database_url, in_seconds, make_jobs, schedulers_in, wait_until
from tests.chaos.proxy import Wire

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.databases]


@pytest.fixture
def wire():
    if connection.vendor == "sqlite":
        pytest.skip("a file does not fall silent")
    with Wire(database_url()) as made:
        yield made


def test_a_scheduler_comes_back_or_ends_to_be_started_anew(tmp_path: Path, http_sink: HttpSink, wire: Wire):
    """MariaDB's driver gives up by itself. PostgreSQL's waits as long as the peer's machine lives, but where
    the server ends a transaction that stands still, and the connection with it.
    """
    with schedulers_in(tmp_path) as schedulers:
        leader = schedulers.start_leader(DATABASE_URL=wire.url)
        make_jobs([http_sink.url(f"/{n}") for n in range(300)], [in_seconds(n) for n in range(300)])
        http_sink.wait_for(1, 60)
        wire.silence()
        before, silent_at = len(http_sink.calls), clock.now()

        def is_back() -> bool:
            is_leading = SchedulerLease.objects.filter(renewed_at__gt=silent_at).exists()
            # More than what was on its way.
            return is_leading and len(http_sink.calls) > before + 5

        wait_until(
            lambda: leader.process.poll() is not None or is_back(), STUCK_LEAST_S + 90, schedulers.logs
        )

        if leader.process.poll() is not None:
            assert leader.process.returncode == 1
            assert "started anew" in leader.log.read_text()
            assert connection.vendor == "postgresql", "the driver should have given up"


def test_sigterm_ends_a_scheduler_that_hangs_in_its_database(tmp_path: Path, wire: Wire):
    with schedulers_in(tmp_path) as schedulers:
        leader = schedulers.start_leader(DATABASE_URL=wire.url)
        wire.silence()

        leader.terminate(60)

    assert not JobExecution.objects.exists()
