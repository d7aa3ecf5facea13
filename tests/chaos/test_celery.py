"""SEND_BACKEND=celery on real brokers: workers are killed, the broker goes away, teams have queues."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cronsched.testing.http_sink import HttpSink, Reply
from jobs.models import Job, JobExecution
from taxonomy.tests.factories import TeamFactory
from tests.chaos.harness import (
    Schedulers,
    account,
    all_ended,
    in_seconds,
    make_jobs,
    schedulers_in,
    wait_until,
)
from tests.chaos.proxy import Wire

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.smoke]

BROKERS = {
    "redis": os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "rabbitmq": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}


def is_answering(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


# One in every run, both in `make nightly`.
@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.slow)])
def broker(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that name a broker, with queues of this test's own."""
    url = BROKERS[request.param]
    if not is_answering(url):
        missing = f"no {request.param} here ({url.rpartition('@')[2]})"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(f"{missing}; REQUIRE_SERVICES=1 asks for it")
        pytest.skip(missing)
    return {
        "SEND_BACKEND": "celery",
        "CELERY_BROKER_URL": url,
        "SEND_QUEUE": f"test-{uuid.uuid4().hex[:8]}",
    }


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Schedulers]:
    with schedulers_in(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_a_worker_killed_in_a_burst_loses_nothing_and_nobody_is_called_twice(
    processes: Schedulers, http_sink: HttpSink, broker: dict[str, str]
):
    http_sink.by_default(Reply(delay_s=1.0))
    victim = processes.start_sender(**broker)
    processes.start_leader(**broker)
    slots = [in_seconds(2)] * 200 + [in_seconds(5)] * 100
    jobs = make_jobs([http_sink.url(f"/burst/{n}") for n in range(300)], slots)

    http_sink.wait_for(50, 30)
    victim.kill()
    processes.start_sender(**broker)
    wait_until(lambda: JobExecution.objects.count() == 300 and all_ended(), 90, processes.logs)

    summary = account(http_sink, jobs)
    assert summary["failed:interrupted"] > 0, "the kill met nothing in flight"
    assert summary["success:"] > 0
    assert set(summary) <= {"success:", "failed:interrupted", "missed:misfire"}, summary


def test_a_team_with_a_queue_is_served_by_its_own_worker_alone(
    processes: Schedulers, http_sink: HttpSink, broker: dict[str, str]
):
    queue = f"{broker['SEND_QUEUE']}-dmz"
    everyone = processes.start_sender(**broker)
    inside = processes.start_sender(queues=queue, **broker)
    processes.start_leader(**broker)
    due = in_seconds(2)
    jobs = make_jobs([http_sink.url(f"/{n}") for n in range(4)], [due] * 4)
    team = TeamFactory(send_queue=queue)
    Job.objects.filter(pk__in=[job.pk for job in jobs[:2]]).update(pic_team=team)

    wait_until(lambda: JobExecution.objects.count() == 4 and all_ended(), 60, processes.logs)

    rows = JobExecution.objects.values_list("job__pic_team", "status", "claimed_by")
    by_team = {(team_id, status, claimed_by.split(":")[1]) for team_id, status, claimed_by in rows}
    assert by_team == {(team.pk, "success", str(inside.pid)), (None, "success", str(everyone.pid))}
    assert everyone.terminate() == 0
    assert inside.terminate() == 0


@pytest.mark.slow
def test_a_broker_that_stands_still_is_noticed_and_holds_no_tick_up(
    processes: Schedulers, http_sink: HttpSink, broker: dict[str, str]
):
    """It takes whatever is written, and answers nothing."""
    with Wire(broker["CELERY_BROKER_URL"]) as wire:
        through = {**broker, "CELERY_BROKER_URL": wire.url}
        processes.start_sender(**broker)
        leader = processes.start_leader(**through)
        slots = [in_seconds(n) for n in range(1, 13)]
        jobs = make_jobs([http_sink.url(f"/{n}") for n in range(12)], slots)
        http_sink.wait_for(1, 30)
        wire.pause(9)
        wait_until(lambda: JobExecution.objects.count() == 12 and all_ended(), 90, processes.logs)

    assert set(account(http_sink, jobs)) <= {"success:"}
    log = leader.log.read_text()
    assert "the broker does not answer" in log
    assert "a tick was held up" not in log


@pytest.mark.slow
def test_a_broker_that_goes_away_delays_runs_and_loses_none(
    processes: Schedulers, http_sink: HttpSink, broker: dict[str, str]
):
    with Wire(broker["CELERY_BROKER_URL"]) as wire:
        through = {**broker, "CELERY_BROKER_URL": wire.url}
        processes.start_sender(**through)
        leader = processes.start_leader(**through)
        slots = [in_seconds(n) for n in range(1, 13)]
        jobs = make_jobs([http_sink.url(f"/{n}") for n in range(12)], slots)
        # Away while every second a slot comes due.
        wire.cut(6)
        wait_until(lambda: JobExecution.objects.count() == 12 and all_ended(), 90, processes.logs)
        assert leader.process.poll() is None

    assert set(account(http_sink, jobs)) <= {"success:"}
