"""A database whose connections fall silent without a word: no scheduler may hang in them for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from cronsched.core import clock
from cronsched.env import SILENCE_S
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
    """MariaDB's driver gives up by itself. PostgreSQL's waits as long as the peer's machine lives."""
    with schedulers_in(tmp_path) as schedulers:
        leader = schedulers.start_leader(DATABASE_URL=wire.url)
        wire.silence()
        if connection.vendor == "postgresql":
            assert leader.process.wait(STUCK_LEAST_S + 90) == 1, schedulers.logs()
            assert "started anew" in leader.log.read_text()
            return
        silent_at = clock.now()
        wait_until(
            lambda: SchedulerLease.objects.filter(renewed_at__gt=silent_at).exists(),
            SILENCE_S * 3 + 10,
            schedulers.logs,
        )
        make_jobs([http_sink.url("/after")], [in_seconds(1)])
        http_sink.wait_for(1, SILENCE_S * 3)
        assert leader.process.poll() is None


def test_sigterm_ends_a_scheduler_that_hangs_in_its_database(tmp_path: Path, wire: Wire):
    with schedulers_in(tmp_path) as schedulers:
        leader = schedulers.start_leader(DATABASE_URL=wire.url)
        wire.silence()

        leader.terminate(60)

    assert not JobExecution.objects.exists()
