"""Promise 4 at its hardest: a leader that stands still in the middle of a transaction, with its locks."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, transaction

from cronsched.testing.http_sink import HttpSink
from jobs.engine.lease import idle_limit_s
from jobs.models import JobExecution
from tests.chaos.harness import (
    STALE_S,
    START_S,
    SchedulerProcess,
    Schedulers,
    account,
    all_ended,
    in_seconds,
    make_jobs,
    schedulers_in,
    wait_until,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.smoke, pytest.mark.databases]

# The lease, a tick, and what a busy machine takes for the standby's turn.
TAKEOVER_S = STALE_S + 1 + 2
# `manage.py` of which one function of the engine freezes the process at its first call.
FREEZING = """
import os, signal, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "cronsched.settings"
django.setup()
from importlib import import_module
module = import_module("{module}")
whole, frozen = module.{function}, []
def freeze(*args, **kwargs):
    if not frozen:
        frozen.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return whole(*args, **kwargs)
module.{function} = freeze
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@pytest.fixture
def schedulers(tmp_path: Path) -> Iterator[Schedulers]:
    with schedulers_in(tmp_path) as made:
        yield made


def freezing_in(schedulers: Schedulers, module: str, function: str) -> SchedulerProcess:
    """A leader that is going to freeze where `function` is called."""
    leader = schedulers.start(by=["-c", FREEZING.format(module=module, function=function)])
    wait_until(leader.leads, START_S, schedulers.logs)
    return leader


def is_frozen(process: SchedulerProcess) -> bool:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


# Each is called between two statements of one transaction, which holds locks by then: PLAN's holds the
# lease's row, RECORD's the rows of its runs.
PLANNING = ("jobs.engine.plan", "insert_rows")
RECORDING = ("jobs.engine.record", "_split")


def test_a_leader_frozen_in_a_transaction_is_followed_in_time(schedulers: Schedulers, http_sink: HttpSink):
    if connection.vendor == "sqlite":
        pytest.skip("a frozen writer holds the file: docs/promises.md says so")
    leader, standby = freezing_in(schedulers, *PLANNING), schedulers.start()
    wait_until(standby.has_started, START_S, schedulers.logs)
    jobs = make_jobs([http_sink.url(f"/slot/{n}") for n in range(5)], [in_seconds(1)] * 5)
    wait_until(lambda: is_frozen(leader), 30, schedulers.logs)
    frozen_at = time.monotonic()

    wait_until(standby.leads, STALE_S * 4, schedulers.logs)
    took_s = time.monotonic() - frozen_at
    wait_until(lambda: JobExecution.objects.count() == 5 and all_ended(), 20, schedulers.logs)
    leader.process.send_signal(signal.SIGCONT)
    wait_until(lambda: "lease lost" in leader.log.read_text(), 20, schedulers.logs)

    assert took_s < TAKEOVER_S
    assert account(http_sink, jobs) == {"success:": 5}


def test_a_frozen_file_is_free_as_soon_as_its_writer_is_gone(schedulers: Schedulers, http_sink: HttpSink):
    """What an operator of SQLite does about it: end the process that stands still."""
    if connection.vendor != "sqlite":
        pytest.skip("a server ends such a transaction by itself")
    leader, standby = freezing_in(schedulers, *PLANNING), schedulers.start()
    wait_until(standby.has_started, START_S, schedulers.logs)
    jobs = make_jobs([http_sink.url(f"/slot/{n}") for n in range(5)], [in_seconds(1)] * 5)
    wait_until(lambda: is_frozen(leader), 30, schedulers.logs)

    leader.kill()
    wait_until(standby.leads, TAKEOVER_S, schedulers.logs)
    wait_until(lambda: JobExecution.objects.count() == 5 and all_ended(), 20, schedulers.logs)

    assert account(http_sink, jobs) == {"success:": 5}


def test_results_that_were_being_written_when_all_stood_still_are_kept(
    schedulers: Schedulers, http_sink: HttpSink
):
    """The server has ended their transaction meanwhile; they are written when the process goes on."""
    leader = freezing_in(schedulers, *RECORDING)
    jobs = make_jobs([http_sink.url(f"/slot/{n}") for n in range(5)], [in_seconds(1)] * 5)
    wait_until(lambda: is_frozen(leader), 30, schedulers.logs)

    if connection.vendor != "sqlite":
        wait_until(rows_are_free, idle_limit_s(STALE_S) + 5, schedulers.logs)
    leader.process.send_signal(signal.SIGCONT)
    wait_until(lambda: JobExecution.objects.count() == 5 and all_ended(), 10, schedulers.logs)

    assert account(http_sink, jobs) == {"success:": 5}
    assert "refused" not in leader.log.read_text()


def rows_are_free() -> bool:
    """Whether nobody holds a run's row any more."""
    with transaction.atomic():
        free = JobExecution.objects.select_for_update(skip_locked=True).values_list("pk", flat=True)
        return len(free) == JobExecution.objects.count()
