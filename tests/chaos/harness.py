"""Real scheduler processes on the test's own database, and the accountant who compares afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import connection

from cronsched.core import clock
from cronsched.testing.http_sink import HttpSink
from jobs.choices import IN_FLIGHT
from jobs.engine.slots import schedule_key
from jobs.models import Job, JobExecution, SchedulerLease
from taxonomy.models import JobCategory
from taxonomy.tests.factories import CategoryFactory
from tests.chaos.proxy import Wire
from tests.chaos.servers import SqliteFile

ROOT = Path(__file__).resolve().parents[2]
STALE_S = 3
# What a scheduler may take to start and to lead, on a machine that is out of breath.
START_S = 120
# Once a year: a job of these tests has the one slot that it is given.
YEARLY = "0 0 1 1 *"
MANAGE = (str(ROOT / "manage.py"),)


def database_url() -> str:
    """The URL of the database that the test runs on."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    scheme = "mysql" if connection.vendor == "mysql" else "postgres"
    password = f":{quote(config['PASSWORD'], safe='')}" if config["PASSWORD"] else ""
    return f"{scheme}://{config['USER']}{password}@{config['HOST']}:{config['PORT']}/{config['NAME']}"


@contextlib.contextmanager
def breakable_database() -> Iterator[tuple[str, Mapping[str, Callable[[float], None]]]]:
    """The test's database as schedulers shall reach it, and what can be done to their way there."""
    if connection.vendor == "sqlite":
        file = SqliteFile(Path(connection.settings_dict["NAME"]))
        yield file.url, file.disturbances()
        return
    with Wire(database_url()) as wire:
        yield wire.url, wire.disturbances()


class SchedulerProcess:
    """`manage.py runscheduler`, as an operator starts it. Its log is kept for the failure message."""

    command = ("runscheduler", "--drain", "10")

    def __init__(
        self,
        folder: Path,
        name: str,
        env: Mapping[str, str],
        *arguments: str,
        start: Sequence[str] = MANAGE,
    ) -> None:
        self.log = folder / f"{name}.log"
        self._file = self.log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *start, *self.command, *arguments],
            env=dict(env),
            cwd=ROOT,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def sending_pid(self) -> int:
        """The child that makes the calls."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return next(int(pid) for task in tasks for pid in (task / "children").read_text().split())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._file.close()

    def terminate(self, timeout_s: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        self._file.close()
        return code

    def close(self) -> None:
        self._file.close()

    def has_started(self) -> bool:
        return b" started holder=" in self.log.read_bytes()

    def leads(self) -> bool:
        return f":{self.pid}:" in (SchedulerLease.objects.values_list("holder", flat=True).first() or "")


class SenderProcess(SchedulerProcess):
    """`manage.py runsender`: takes from a broker what the leader offers."""

    command = ("runsender", "--drain", "10")


class Schedulers:
    """Starts schedulers, and senders, for one test and ends them with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[SchedulerProcess] = []

    def start(self, *, by: Sequence[str] = MANAGE, **env: str) -> SchedulerProcess:
        """One more. `by`: what Python runs in place of `manage.py`."""
        name = f"scheduler-{len(self.started)}"
        process = SchedulerProcess(self.folder, name, self._settings(env), start=by)
        self.started.append(process)
        return process

    def start_sender(self, *, queues: str = "", **env: str) -> SenderProcess:
        chosen = ("--queues", queues) if queues else ()
        process = SenderProcess(self.folder, f"sender-{len(self.started)}", self._settings(env), *chosen)
        self.started.append(process)
        wait_until(process.has_started, 60, lambda: process.log.read_text())
        return process

    def _settings(self, env: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url(),
            "SECRET_KEY": os.environ["SECRET_KEY"],
            "ENCRYPTION_KEYS": os.environ["ENCRYPTION_KEYS"],
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "true",
            "WEBHOOK_TIMEOUT_SECONDS": "5",
            "SCHEDULER_LOCK_STALE_SECONDS": str(STALE_S),
            "TESTING": "false",
            **env,
        }

    def start_leader(self, **env: str) -> SchedulerProcess:
        process = self.start(**env)
        wait_until(process.leads, START_S, lambda: process.log.read_text())
        return process

    def logs(self) -> str:
        return "\n".join(f"--- {one.log.name}\n{one.log.read_text()}" for one in self.started)

    def close(self) -> None:
        for one in self.started:
            if one.process.poll() is None:
                one.kill()
            one.close()


@contextlib.contextmanager
def schedulers_in(folder: Path) -> Iterator[Schedulers]:
    made = Schedulers(folder)
    try:
        yield made
    finally:
        made.close()


def wait_until(condition: Callable[[], Any], timeout_s: float, story: Callable[[], str] = str) -> None:
    """Look until it holds: another process's doing has no event to wait for."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout_s} s\n{story()}")
        time.sleep(0.05)


def make_jobs(
    urls: list[str], due: list[datetime], *, expression: str = YEARLY, first_number: int = 0
) -> list[Job]:
    """One job per URL, each with its first slot at its time in `due`; by default that is its only one."""
    category = JobCategory.objects.first() or CategoryFactory()
    created = clock.now() - timedelta(days=1)
    jobs = [
        Job(
            name=f"chaos {number}",
            cron_expression=expression,
            target_url=url,
            category=category,
            created_at=created,
            updated_at=created,
            next_run_at=slot,
            planned_schedule=schedule_key(expression, "Asia/Tokyo"),
        )
        for number, (url, slot) in enumerate(zip(urls, due, strict=True), first_number)
    ]
    for job in jobs:
        job.refresh_keys()
    return list(Job.objects.bulk_create(jobs))


def in_seconds(seconds: float) -> datetime:
    """A whole second, at least that far from now."""
    return (clock.now() + timedelta(seconds=seconds + 1)).replace(microsecond=0)


def all_ended() -> bool:
    return not JobExecution.objects.filter(status__in=IN_FLIGHT).exists()


def account(sink: HttpSink, jobs: list[Job]) -> Counter[str]:
    """Compare slots, rows and calls; raises on a lost or doubled slot. Rows by status and reason."""
    calls = Counter(call.path for call in sink.calls)
    rows = {job.pk: list(JobExecution.objects.filter(job=job)) for job in jobs}
    doubled = {path: count for path, count in calls.items() if count > 1}
    assert not doubled, f"called more than once: {doubled}"
    lost = [job.name for job in jobs if len(rows[job.pk]) != 1]
    assert not lost, f"slots without exactly one row: {lost}"
    summary: Counter[str] = Counter()
    for job in jobs:
        (row,) = rows[job.pk]
        assert row.scheduled_for == job.next_run_at
        summary[f"{row.status}:{row.reason}"] += 1
        was_called = calls["/" + job.target_url.split("/", 3)[3]] == 1
        assert was_called or row.status != "success", f"{job.name} is a success that nobody received"
        assert not was_called or row.status != "missed", f"{job.name} is missed, but was called"
    return summary
