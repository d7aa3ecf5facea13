"""The supervisor with real processes: children report over a FIFO, and every wait is on an event."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cronsched.supervisor import Backoff

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 20.0

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd to await a process"
)

DRIVER = """
import json, os, sys
from cronsched.supervisor import Backoff, Program, Supervisor
spec = json.loads(sys.argv[1])
probes = iter(spec["probe"])
def probe():
    with open(os.environ["EVENTS"], "w") as events:
        print("probed", file=events)
    return next(probes)
supervisor = Supervisor(
    [Program(**program) for program in spec["programs"]],
    backoff=Backoff(**spec["backoff"]),
    probe=probe if spec["probe"] else None,
    kernel_kills_orphans=spec["kernel"],
)
code = supervisor.run()
print("turns", supervisor.turns, "probes left", len(list(probes)))
sys.exit(code)
"""

# The prelude of every child: `tell` reports to the test, `answer` says what a signal does.
CHILD = """
import os, signal, subprocess, sys
def tell(*words):
    with open(os.environ["EVENTS"], "w") as events:
        events.write(" ".join(map(str, words)) + "\\n")
def answer(number, word, code=None):
    def handle(*_):
        tell(word)
        if code is not None:
            os._exit(code)
    signal.signal(number, handle)
def live():
    tell("started", os.getpid(), os.getpgrp())
    while True:
        signal.pause()
"""
POLITE = "answer(signal.SIGTERM, 'term', 0); live()"
STUBBORN = "answer(signal.SIGTERM, 'term'); answer(signal.SIGQUIT, 'quit'); live()"
HASTY = "answer(signal.SIGTERM, 'term'); answer(signal.SIGQUIT, 'quit', 0); live()"
DYING = "tell('started', os.getpid()); sys.exit(3)"


def program(code: str, **options: Any) -> dict[str, Any]:
    return {"name": "child", "argv": [sys.executable, "-c", CHILD + code], **options}


class Supervised:
    """A supervisor in a process of its own, and what its children say."""

    def __init__(self, folder: Path) -> None:
        self._fifo = folder / "events"
        os.mkfifo(self._fifo)
        # Open for writing too: no end of file while no child has it open.
        self._events = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)
        self._unread = b""
        self._said = b""
        self._groups: set[int] = set()
        self.process: subprocess.Popen[bytes]

    def start(
        self, *programs: dict[str, Any], probe: tuple[bool, ...] = (), kernel: bool = True, **backoff: float
    ):
        spec = {"programs": programs, "backoff": backoff, "probe": probe, "kernel": kernel}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(spec)],
            cwd=ROOT,
            env=os.environ | {"EVENTS": str(self._fifo)},
            stdout=subprocess.PIPE,
        )

    def next(self) -> list[str]:
        """Wait for the next event."""
        while b"\n" not in self._unread:
            assert select.select([self._events], [], [], PATIENCE_S)[0], "no event in time"
            self._unread += os.read(self._events, 4096)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().split()

    def heard(self, word: str) -> list[int]:
        """Wait for the next event, which must be `word`; its numbers."""
        first, *numbers = self.next()
        assert first == word
        found = [int(number) for number in numbers]
        self._groups |= {found[-1]} if found else set()
        return found

    def wait_said(self, words: str) -> None:
        """Wait until the supervisor has printed `words`."""
        assert self.process.stdout
        while words.encode() not in self._said:
            assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], self._said
            self._said += os.read(self.process.stdout.fileno(), 4096)

    def silent(self) -> bool:
        return not self._unread and not select.select([self._events], [], [], 0)[0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for the supervisor's end; its exit code and what it printed."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, (self._said + output).decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        if self.process.stdout:
            self.process.stdout.close()
        self.process.wait()
        for group in self._groups - {os.getpgrp()}:
            # Children that heed no SIGTERM, or wait to tell of it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        os.close(self._events)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path)
    yield supervised
    supervised.close()


def wait_gone(pid: int) -> None:
    """Wait until the process has ended, whoever its parent is now."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], PATIENCE_S)[0], f"process {pid} lives on"
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    ("deaths", "wait_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (100_000, 30)]
)
def test_backoff_doubles_up_to_its_limit(deaths, wait_s):
    assert Backoff(first_s=1, most_s=30).wait_s(deaths) == wait_s


def test_a_child_that_dies_is_started_again_after_a_growing_pause(supervised):
    supervised.start(program(DYING), first_s=0.02, most_s=0.05)
    pids = {supervised.heard("started")[0] for _ in range(4)}
    supervised.send(signal.SIGTERM)
    code, output = supervised.end()

    assert len(pids) == 4
    pauses = re.findall(r"child ended with exit code 3; starting it again in (\S+) s", output)
    assert pauses[:3] == ["0.02", "0.04", "0.05"]
    assert code == 0


def test_a_child_that_was_healthy_starts_from_the_beginning_of_the_backoff(supervised):
    supervised.start(program(DYING), first_s=0.02, most_s=60, healthy_s=0)
    for _ in range(4):
        supervised.heard("started")
    supervised.send(signal.SIGTERM)
    _, output = supervised.end()

    assert set(re.findall(r"starting it again in (\S+) s", output)) == {"0.02"}


def test_a_child_killed_by_a_signal_is_told_by_its_name(supervised):
    supervised.start(program(POLITE), first_s=0.02)
    os.kill(supervised.heard("started")[0], signal.SIGKILL)
    supervised.heard("started")
    supervised.send(signal.SIGTERM)
    supervised.heard("term")

    assert "child was ended by SIGKILL; starting it again" in supervised.end()[1]


def test_what_a_dead_child_leaves_is_killed_before_the_next_start(supervised):
    leaves_one = """
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    live()
signal.pause()
"""
    supervised.start(program(leaves_one), first_s=0.02)
    orphan, group = supervised.heard("started")
    assert group != os.getpgrp()
    os.kill(group, signal.SIGKILL)
    wait_gone(orphan)
    supervised.heard("started")


def test_a_program_that_cannot_be_started_is_tried_again(supervised, tmp_path):
    missing = tmp_path / "missing"
    makes_it = f"""
with open(os.open({str(missing)!r}, os.O_WRONLY | os.O_CREAT, 0o755), "w") as file:
    file.write("#!/bin/sh\\necho started > $EVENTS; exec sleep 60\\n")
tell("made")
live()
"""
    supervised.start({"name": "late", "argv": [str(missing)]}, program(makes_it), first_s=0.1, most_s=0.1)
    supervised.heard("made")
    for _ in range(2):  # the one that made it, and the one that was made
        supervised.heard("started")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_every_stop_signal_ends_all_children_with_sigterm(supervised, number):
    supervised.start(program(POLITE), program(POLITE))
    pids = [supervised.heard("started")[0] for _ in range(2)]
    supervised.send(number)
    supervised.heard("term")
    supervised.heard("term")
    code, output = supervised.end()

    assert code == 0
    assert f"stopping ({number.name})" in output
    assert output.count("child stopped") == 2
    for pid in pids:
        wait_gone(pid)


def test_children_are_out_of_reach_of_the_terminals_ctrl_c(supervised):
    supervised.start(program(POLITE))
    pid, group = supervised.heard("started")

    assert group == pid
    assert group != os.getpgid(supervised.process.pid)


def test_a_child_that_ignores_sigterm_is_killed_after_its_time(supervised):
    supervised.start(program(STUBBORN, stop_s=0.1))
    pid, _ = supervised.heard("started")
    supervised.send(signal.SIGTERM)
    supervised.heard("term")
    code, output = supervised.end()

    assert code == 1
    assert "child did not stop in time: killed" in output
    wait_gone(pid)


def test_a_second_signal_asks_for_a_quicker_end(supervised):
    supervised.start(program(HASTY, stop_s=600, hasten=signal.SIGQUIT))
    supervised.heard("started")
    supervised.send(signal.SIGINT)
    supervised.heard("term")
    supervised.send(signal.SIGINT)
    supervised.heard("quit")

    assert supervised.end()[0] == 0


def test_a_third_signal_kills(supervised):
    supervised.start(program(STUBBORN, stop_s=600, hasten=signal.SIGQUIT))
    supervised.heard("started")
    began = time.monotonic()
    for word in ("term", "quit"):
        supervised.send(signal.SIGINT)
        supervised.heard(word)
    supervised.send(signal.SIGINT)
    code, _ = supervised.end()

    assert code == 1
    assert time.monotonic() - began < 5  # what the second signal would have left


def test_a_stop_during_the_pause_ends_at_once(supervised):
    supervised.start(program(DYING), first_s=600, most_s=600)
    supervised.heard("started")
    supervised.wait_said("starting it again in 600 s")
    supervised.send(signal.SIGTERM)
    code, _ = supervised.end()

    assert code == 0
    assert supervised.silent()


def test_nothing_is_started_again_while_it_stops(supervised):
    supervised.start(program(DYING), program(STUBBORN, stop_s=0.6), first_s=0.2, most_s=0.2)
    for _ in range(2):
        supervised.heard("started")
    supervised.wait_said("starting it again")
    supervised.send(signal.SIGTERM)
    supervised.heard("term")
    supervised.end()

    assert supervised.silent()


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "watchdog"])
def test_nothing_is_left_when_the_supervisor_is_killed(supervised, kernel):
    supervised.start(program(POLITE), program(POLITE), kernel=kernel)
    pids = [supervised.heard("started")[0] for _ in range(2)]
    supervised.process.kill()
    for pid in pids:
        supervised.heard("term")
        wait_gone(pid)


def test_the_watchdog_leaves_with_a_supervisor_that_ends_well(supervised):
    supervised.start(program(POLITE), kernel=False)
    supervised.heard("started")
    supervised.send(signal.SIGTERM)
    supervised.heard("term")

    assert supervised.end()[0] == 0


def test_a_quiet_supervisor_sleeps(supervised):
    # Some tenths of a second of work in the child, in which a loop would turn thousands of times.
    works = """
tell("started")
for _ in range(10):
    subprocess.run([sys.executable, "-c", ""])
tell("worked")
live()
"""
    supervised.start(program(works))
    supervised.heard("started")
    supervised.heard("worked")
    supervised.heard("started")
    supervised.send(signal.SIGTERM)
    _, output = supervised.end()

    turns = re.search(r"turns (\d+)", output)
    assert turns
    assert int(turns[1]) < 10


def test_the_probe_is_asked_until_it_says_yes(supervised):
    supervised.start(program(POLITE), probe=(False, False, True, False), first_s=0.3)
    events = [supervised.next() for _ in range(4)]
    (child,) = [event[1] for event in events if event[0] == "started"]
    # Three times a probe's pause later, none was asked again.
    os.kill(int(child), signal.SIGKILL)
    supervised.heard("started")
    supervised.send(signal.SIGTERM)
    code, output = supervised.end()

    assert code == 0
    assert [event[0] for event in events].count("probed") == 3
    assert "probes left 1" in output
