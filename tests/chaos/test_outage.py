"""A minute without a database, and a leader that stands still for a minute: nothing lost, nothing twice."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from cronsched.testing.http_sink import HttpSink, Reply
from jobs.models import Job, JobExecution
from tests.chaos.harness import (
    START_S,
    SchedulerProcess,
    account,
    all_ended,
    breakable_database,
    in_seconds,
    make_jobs,
    schedulers_in,
    wait_until,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.databases]

AWAY_S = 60
RUNS = 200


def cpu_s(process: SchedulerProcess) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ways() -> list[str]:
    return ["locks"] if connection.vendor == "sqlite" else ["cuts", "pauses"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_minute_without_the_database_costs_no_result(tmp_path: Path, http_sink: HttpSink, number: int):
    if number >= len(ways()):
        pytest.skip("a file can only be locked")
    http_sink.by_default(Reply(delay_s=3.0))
    with breakable_database() as (url, disturbances), schedulers_in(tmp_path) as schedulers:
        leader = schedulers.start_leader(DATABASE_URL=url)
        urls = [http_sink.url(f"/in-flight/{n}") for n in range(RUNS)]
        jobs = make_jobs(urls, [in_seconds(1)] * RUNS)
        # Half of them could be repeated, and must not be: they succeeded.
        Job.objects.filter(pk__in=[job.pk for job in jobs[::2]]).update(max_retries=3)
        http_sink.wait_for(RUNS, 30)
        logged, used_s = leader.log.stat().st_size, cpu_s(leader)

        disturbances[ways()[number]](AWAY_S)

        spent_s = cpu_s(leader) - used_s
        wait_until(lambda: JobExecution.objects.count() == RUNS and all_ended(), 40, schedulers.logs)
        assert account(http_sink, jobs) == {"success:": RUNS}
        assert leader.process.poll() is None
        assert spent_s < AWAY_S / 10, f"{spent_s:.1f} s of CPU while there was nothing to do"
        warnings = Counter(
            re.findall(r"^\S+ (?:WARNING|ERROR) (\S+)", leader.log.read_text()[logged:], re.MULTILINE)
        )
        assert max(warnings.values(), default=0) <= 2, f"said more than once: {warnings}"


def test_a_leader_that_stood_still_for_a_minute_wakes_up_fenced(tmp_path: Path, http_sink: HttpSink):
    with schedulers_in(tmp_path) as schedulers:
        leader = schedulers.start_leader()
        standby = schedulers.start()
        wait_until(standby.has_started, START_S, schedulers.logs)
        begin = in_seconds(2)
        due = [begin + timedelta(seconds=n / 2) for n in range(RUNS)]
        jobs = make_jobs([http_sink.url(f"/slot/{n}") for n in range(RUNS)], due)
        http_sink.wait_for(10, 30)

        leader.process.send_signal(signal.SIGSTOP)
        wake = threading.Timer(AWAY_S, leader.process.send_signal, [signal.SIGCONT])
        wake.start()
        began = time.monotonic()
        wait_until(standby.leads, 15, schedulers.logs)
        wake.join()
        wait_until(lambda: JobExecution.objects.count() == RUNS and all_ended(), 90, schedulers.logs)

        assert time.monotonic() - began >= AWAY_S
        summary = account(http_sink, jobs)
        # What it was waiting for is interrupted to the successor, and a timeout to itself when it wakes.
        assert set(summary) <= {"success:", "failed:interrupted", "failed:timeout"}, summary
        assert summary["success:"] >= RUNS - 5
        wait_until(lambda: "lease lost" in leader.log.read_text(), 10, schedulers.logs)
