"""Promises 1 to 4, by killing real processes. The long form, with everything at random, is nightly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from cronsched.core import clock
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.engine.slots import schedule_key
from jobs.models import Job, JobExecution
from tests.chaos.harness import (
    STALE_S,
    START_S,
    Schedulers,
    account,
    all_ended,
    in_seconds,
    make_jobs,
    schedulers_in,
    wait_until,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.smoke]


@pytest.fixture
def schedulers(tmp_path: Path) -> Iterator[Schedulers]:
    with schedulers_in(tmp_path) as made:
        yield made


@pytest.mark.databases
@pytest.mark.slow
def test_killed_in_a_burst_every_slot_has_one_row_and_nobody_is_called_twice(
    schedulers: Schedulers, http_sink: HttpSink
):
    http_sink.by_default(Reply(delay_s=1.0))
    first = schedulers.start_leader()
    due = in_seconds(2)
    jobs = make_jobs([http_sink.url(f"/burst/{n}") for n in range(500)], [due] * 500)

    http_sink.wait_for(100, 30)
    first.kill()
    schedulers.start()
    wait_until(lambda: JobExecution.objects.count() == 500 and all_ended(), 90, schedulers.logs)

    summary = account(http_sink, jobs)
    assert summary["failed:interrupted"] > 0, "the kill met nothing in flight"
    assert set(summary) <= {"success:", "failed:interrupted"}, summary


def test_where_the_process_that_makes_the_calls_dies_a_standby_goes_on(
    schedulers: Schedulers, http_sink: HttpSink
):
    http_sink.by_default(Reply(delay_s=1.0))
    leader = schedulers.start_leader()
    schedulers.start()
    due = in_seconds(2)
    later = due + timedelta(seconds=6)
    jobs = make_jobs([http_sink.url(f"/child/{n}") for n in range(110)], [due] * 100 + [later] * 10)

    http_sink.wait_for(20, 30)
    os.kill(leader.sending_pid(), signal.SIGKILL)
    assert leader.process.wait(30) == 1
    wait_until(lambda: JobExecution.objects.count() == 110 and all_ended(), 60, schedulers.logs)

    summary = account(http_sink, jobs)
    assert summary["failed:interrupted"] > 0, "the kill met nothing in flight"
    assert summary["success:"] >= 10
    assert set(summary) <= {"success:", "failed:interrupted"}, summary


@pytest.mark.databases
@pytest.mark.slow
def test_a_standby_takes_over_and_no_slot_fires_twice(schedulers: Schedulers, http_sink: HttpSink):
    leader = schedulers.start_leader()
    standby = schedulers.start()
    start = in_seconds(4)
    jobs = make_jobs(
        [http_sink.url(f"/slot/{n}") for n in range(60)],
        [start + timedelta(seconds=n // 4) for n in range(60)],
    )

    http_sink.wait_for(12, 30)
    killed_at = time.monotonic()
    leader.kill()
    wait_until(standby.leads, STALE_S + 3, schedulers.logs)
    failover_s = time.monotonic() - killed_at
    wait_until(lambda: JobExecution.objects.count() == 60 and all_ended(), 60, schedulers.logs)

    summary = account(http_sink, jobs)
    # What came due in between still runs: within the grace, nothing is missed.
    assert set(summary) <= {"success:", "failed:interrupted"}, summary
    assert failover_s < STALE_S + 2


def test_hanging_targets_delay_no_other_job(schedulers: Schedulers, http_sink: HttpSink):
    http_sink.on("/hang", Reply(delay_s=60))
    schedulers.start_leader(WEBHOOK_TIMEOUT_SECONDS="60")
    due = in_seconds(2)
    later = due + timedelta(seconds=2)
    quick = [due] * 20 + [later] * 20
    urls = [http_sink.url(f"/quick/{n}") for n in range(40)]
    make_jobs([http_sink.url("/hang")] * 10 + urls, [due] * 10 + quick)

    wait_until(lambda: JobExecution.objects.filter(status="success").count() == 40, 20, schedulers.logs)

    slots = {f"/quick/{n}": slot for n, slot in enumerate(quick)}
    arrivals = {call.path: call.at for call in http_sink.calls if call.path in slots}
    late = {
        path: delay for path, slot in slots.items() if (delay := (arrivals[path] - slot).total_seconds()) > 1
    }
    assert not late
    assert len(http_sink.calls_of("/hang")) == 10
    assert JobExecution.objects.filter(status="running").count() == 10


def test_sigterm_waits_for_answers_and_records_them(schedulers: Schedulers, http_sink: HttpSink):
    http_sink.by_default(Reply(delay_s=2.0))
    leader = schedulers.start_leader()
    jobs = make_jobs([http_sink.url(f"/drain/{n}") for n in range(20)], [in_seconds(1)] * 20)
    http_sink.wait_for(20, 30)

    assert leader.terminate() == 0

    assert account(http_sink, jobs) == {"success:": 20}
    assert not leader.leads(), "the lease was not given up"


@pytest.mark.faketime
def test_the_clock_set_back_an_hour_on_a_running_process(
    schedulers: Schedulers, http_sink: HttpSink, tmp_path: Path
):
    """SQLite's clock is the process's own, so that the whole machine's clock is set for it."""
    if connection.vendor != "sqlite":
        pytest.skip("the database server's clock cannot be set from here")
    machine = FakeMachineClock(tmp_path)
    noon = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    machine.set_to(noon - timedelta(seconds=8))
    job = make_jobs([http_sink.url("/minute")], [noon])[0]
    Job.objects.filter(pk=job.pk).update(
        cron_expression="* * * * *", planned_schedule=schedule_key("* * * * *", "Asia/Tokyo")
    )
    leader = schedulers.start(**machine.env)
    http_sink.wait_for(1, 40)

    machine.set_to(noon - timedelta(hours=1) - timedelta(seconds=4))
    http_sink.wait_for(2, 20)
    machine.set_to(noon - timedelta(seconds=4))
    gap = JobExecution.objects.filter(status="missed", missed_count=59)
    wait_until(gap.exists, 20, schedulers.logs)
    machine.set_to(noon + timedelta(seconds=56))
    http_sink.wait_for(3, 20)
    leader.terminate()

    fired = set(JobExecution.objects.filter(status="success").values_list("scheduled_for", flat=True))
    assert fired == {noon, noon - timedelta(hours=1), noon + timedelta(minutes=1)}
    assert len(http_sink.calls) == 3


@pytest.mark.faketime
def test_the_clock_set_back_years_between_two_processes(
    schedulers: Schedulers, http_sink: HttpSink, tmp_path: Path
):
    """A machine that booted with a wrong clock: killed, set right, started anew. Nobody saw the jump."""
    if connection.vendor != "sqlite":
        pytest.skip("the database server's clock cannot be set from here")
    machine = FakeMachineClock(tmp_path)
    noon = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    years_ahead = noon + timedelta(days=1400)
    job = make_jobs([http_sink.url("/minute")], [years_ahead], expression="* * * * *")[0]
    machine.set_to(years_ahead - timedelta(seconds=4))
    leader = schedulers.start(**machine.env)
    http_sink.wait_for(1, 40)
    wait_until(lambda: JobExecution.objects.filter(status="success").exists(), 20, schedulers.logs)
    leader.kill()

    machine.set_to(noon - timedelta(seconds=20))
    successor = schedulers.start(**machine.env)
    wait_until(successor.leads, START_S, schedulers.logs)
    http_sink.wait_for(2, 60)
    successor.terminate()

    fired = set(
        JobExecution.objects.filter(job=job, status="success").values_list("scheduled_for", flat=True)
    )
    assert {years_ahead, noon} <= fired


class FakeMachineClock:
    """libfaketime's clock for one process, set while it runs; steady clocks stay true."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketimerc"
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_to(self, moment: datetime) -> None:
        offset = (moment - clock.now()).total_seconds()
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+.3f}\n")
        fresh.replace(self._file)
