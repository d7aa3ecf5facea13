"""The sender's process: what it does, and what becomes of its runs when one of the two dies."""

from __future__ import annotations

import dataclasses
import logging
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cronsched.core.uptime import uptime
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.engine import send_process
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.engine.send import Sender
from jobs.engine.send_process import DIED_TEXT, SenderProcess
from jobs.tests.test_send import CONFIG, NOW, delivery

ROOT = Path(__file__).resolve().parents[2]


class Harness:
    """A sender in a process of its own, and the queue its results go to."""

    def __init__(self) -> None:
        self.results: queue.SimpleQueue[DeliveryResult] = queue.SimpleQueue()
        self._senders: list[SenderProcess] = []

    def start(self, **changes: Any) -> SenderProcess:
        config = dataclasses.replace(CONFIG, **changes)
        sender = SenderProcess(config, on_result=self.results.put, clock=lambda: NOW)
        sender.start()
        self._senders.append(sender)
        return sender

    def take(self, count: int = 1) -> list[DeliveryResult]:
        return [self.results.get(timeout=20) for _ in range(count)]

    def stop(self) -> None:
        for sender in self._senders:
            sender.stop(0)
            assert sender._process.wait(20) is not None


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.stop()
    assert made.results.empty(), "a delivery yielded more than one result"


def wait_until(is_so: Any) -> None:
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_ended(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_deliveries_arrive_and_yield_a_result_each(harness, http_sink):
    sender = harness.start()

    sender.submit([delivery(http_sink.url(f"/{number}"), number, payload={"é": [1]}) for number in range(60)])

    results = harness.take(60)
    assert {result.execution_id.int for result in results} == set(range(60))
    assert {(result.outcome, result.response_status, result.output) for result in results} == {
        (Outcome.SUCCESS, 200, "ok")
    }
    assert {call.path for call in http_sink.calls} == {f"/{number}" for number in range(60)}
    assert (http_sink.calls[0].json(), sender.in_flight, sender.free) == ({"é": [1]}, 0, 4000)


def test_what_waits_to_be_begun_leaves_no_room(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(max_in_flight=600)

    sender.submit([delivery(http_sink.url(), number) for number in range(550)])
    assert sender.free == 0
    http_sink.wait_for(550)

    wait_until(lambda: sender.free == 50)
    assert sender.in_flight == 550
    http_sink.release()
    harness.take(550)


def test_without_trust_nothing_is_sent_and_with_it_again(harness, http_sink):
    sender = harness.start()

    sender.trust(0.0)
    sender.submit([delivery(http_sink.url(), 1)])
    assert [result.outcome for result in harness.take()] == [Outcome.NOT_SENT]
    sender.trust(uptime() + 60)
    sender.submit([delivery(http_sink.url(), 2)])

    assert [result.outcome for result in harness.take()] == [Outcome.SUCCESS]
    assert len(http_sink.calls) == 1


def test_what_is_too_late_to_begin_is_handed_back(harness, http_sink):
    sender = harness.start()

    sender.submit([delivery(http_sink.url(), send_by=uptime() - 1)])

    assert [result.outcome for result in harness.take()] == [Outcome.NOT_SENT]
    assert http_sink.connections == 0


def test_a_child_that_dies_leaves_an_end_for_each_run(harness, http_sink, caplog):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start()
    sender.submit([delivery(http_sink.url(), number, attempt=2) for number in (1, 2)])
    http_sink.wait_for(2)

    sender._process.kill()

    results = harness.take(2)
    assert {(result.outcome, result.reason, result.error_message) for result in results} == {
        (Outcome.FAILED, Reason.INTERRUPTED, DIED_TEXT)
    }
    assert {(result.attempt, result.started_at, result.completed_at) for result in results} == {(2, NOW, NOW)}
    wait_until(lambda: not sender.is_alive())
    assert "the process that makes the calls has died in_flight=2" in caplog.text
    sender.submit([delivery(http_sink.url(), 3)])
    assert [result.outcome for result in harness.take()] == [Outcome.NOT_SENT]


def test_stop_waits_for_what_is_in_flight(harness, http_sink):
    http_sink.by_default(Reply(delay_s=0.5))
    sender = harness.start()
    sender.submit([delivery(http_sink.url())])
    http_sink.wait_for(1)

    sender.stop(10)

    assert [result.outcome for result in harness.take()] == [Outcome.SUCCESS]
    assert (sender.in_flight, sender.is_alive(), sender._process.returncode) == (0, False, 0)


def test_stop_cuts_off_what_takes_too_long_and_hands_back_the_rest(harness, http_sink, caplog):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(max_in_flight=1)
    sender.submit([delivery(http_sink.url(), number, timeout_s=60) for number in (1, 2)])
    http_sink.wait_for(1)

    sender.stop(0.05)

    reasons = {result.execution_id.int: (result.outcome, result.reason) for result in harness.take(2)}
    assert reasons == {1: (Outcome.FAILED, Reason.INTERRUPTED), 2: (Outcome.NOT_SENT, Reason.NONE)}
    # Its log is ours.
    assert "deliveries cut off by shutdown count=1" in caplog.text


def test_a_stop_that_is_told_to_hurry_waits_no_longer(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start()
    sender.submit([delivery(http_sink.url(), timeout_s=60)])
    http_sink.wait_for(1)
    sender._is_open = False

    sender._orders.put(("stop", 60.0))
    sender.hurry()

    [result] = harness.take()
    assert result.reason is Reason.INTERRUPTED


def test_what_is_submitted_after_a_stop_is_handed_back(harness, http_sink):
    sender = harness.start()
    sender.stop(1)

    sender.submit([delivery(http_sink.url())])

    assert [result.outcome for result in harness.take()] == [Outcome.NOT_SENT]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_for_the_parent_alone(harness, http_sink, number):
    sender = harness.start()
    os.kill(sender._process.pid, number)

    sender.submit([delivery(http_sink.url())])

    assert [result.outcome for result in harness.take()] == [Outcome.SUCCESS]


def test_a_child_that_stands_still_keeps_nobody_waiting(harness, http_sink):
    sender = harness.start()
    os.kill(sender._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    big = "x" * 100_000

    # More than the sockets between them hold.
    sender.submit([delivery(http_sink.url(), number, payload={"a": big}) for number in range(20)])
    sender.trust(uptime() + 60)

    assert time.monotonic() - began < 5
    assert sender.in_flight == 20
    os.kill(sender._process.pid, signal.SIGCONT)
    assert {result.outcome for result in harness.take(20)} == {Outcome.SUCCESS}


def test_a_child_that_cannot_tell_ends(monkeypatch, capsys):
    """Results that reach nobody must not look like calls that take long."""
    codes: list[int] = []
    news: queue.SimpleQueue[Any] = queue.SimpleQueue()
    news.put(1)
    monkeypatch.setattr(send_process.os, "_exit", codes.append)

    send_process._tell(Sender(CONFIG, on_result=print), news, pipe=None)

    assert codes == [1]
    assert "AttributeError" in capsys.readouterr().err


def test_a_child_whose_sender_is_dead_ends(monkeypatch):
    codes: list[int] = []
    monkeypatch.setattr(send_process.os, "_exit", codes.append)
    monkeypatch.setattr(send_process, "_LOOK_S", 0.01)

    send_process._tell(Sender(CONFIG, on_result=print), queue.SimpleQueue(), pipe=None)

    assert codes == [1]


def test_a_child_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(RuntimeError, match="did not start"):
        SenderProcess(CONFIG, on_result=print).start()


def test_its_log_is_kept_at_our_level(harness, caplog):
    sender = harness.start()
    record = logging.LogRecord("jobs.engine.send", logging.INFO, "", 0, "told=%d", (1,), None)

    with caplog.at_level(logging.WARNING, logger="jobs.engine.send"):
        sender._take([record])
    assert caplog.text == ""
    with caplog.at_level(logging.INFO, logger="jobs.engine.send"):
        sender._take([record])
    assert "told=1" in caplog.text


PARENT = """
import sys, time
from jobs.engine.send_process import SenderProcess
from jobs.tests.test_send import CONFIG, delivery

sender = SenderProcess(CONFIG, on_result=print)
sender.start()
sender.submit([delivery(sys.argv[1])])
print(sender._process.pid, flush=True)
time.sleep(600)
"""


def test_a_parent_that_is_killed_takes_its_child_with_it(http_sink: HttpSink):
    http_sink.by_default(Reply(hold=True))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, http_sink.url()], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    http_sink.wait_for(1)

    parent.kill()
    parent.wait()

    wait_until(lambda: is_ended(child))


def test_a_delivery_that_cannot_be_handed_over_ends_alone(harness, http_sink, caplog):
    nested: dict[str, Any] = {}
    for _ in range(900):
        nested = {"a": nested}
    sender = harness.start()

    sender.submit([delivery(http_sink.url(), number) for number in (1, 2)])
    sender.submit([delivery(http_sink.url(), 3, payload=nested), delivery(http_sink.url(), 4)])

    results = {result.execution_id.int: result for result in harness.take(4)}
    assert {number: result.reason for number, result in results.items()} == {
        1: Reason.NONE,
        2: Reason.NONE,
        3: Reason.INTERNAL,
        4: Reason.NONE,
    }
    assert "log has the details" in results[3].error_message
    assert f"delivery cannot be handed over execution={results[3].execution_id}" in caplog.text
    wait_until(lambda: (sender.in_flight, sender.begun, sender.free) == (0, None, 4000))


def test_what_cannot_be_told_to_the_child_ends_it(harness, http_sink, monkeypatch, caplog):
    """An order that is lost, of how long the lease may be trusted say, must not be missed in silence."""
    http_sink.by_default(Reply(hold=True))
    sender = harness.start()
    sender.submit([delivery(http_sink.url())])
    http_sink.wait_for(1)

    sender.trust(lambda: "no number")  # type: ignore[arg-type]

    assert [result.reason for result in harness.take()] == [Reason.INTERRUPTED]
    wait_until(lambda: not sender.is_alive())


def test_news_that_cannot_be_taken_end_it_and_every_run(harness, http_sink, monkeypatch):
    monkeypatch.setattr(SenderProcess, "_take", lambda self, news: 1 / 0)
    sender = harness.start()

    sender.submit([delivery(http_sink.url())])

    assert [result.reason for result in harness.take()] == [Reason.INTERRUPTED]
    wait_until(lambda: not sender.is_alive())
    assert sender._process.poll() is not None


def test_a_child_that_stands_still_is_seen(harness, http_sink):
    sender = harness.start()
    assert sender.begun is None
    sender.submit([delivery(http_sink.url())])
    harness.take()
    wait_until(lambda: sender.begun is None)
    os.kill(sender._process.pid, signal.SIGSTOP)

    sender.submit([delivery(http_sink.url(), 2)])

    assert sender.begun == 1
    os.kill(sender._process.pid, signal.SIGCONT)
    harness.take()
    wait_until(lambda: sender.begun is None)


def test_a_child_that_stands_still_is_left_behind_in_time(harness, http_sink, monkeypatch):
    monkeypatch.setattr(send_process, "CANCEL_S", 0.2)
    sender = harness.start()
    os.kill(sender._process.pid, signal.SIGSTOP)
    sender.submit([delivery(http_sink.url())])
    began = time.monotonic()

    sender.stop(0.1)

    assert time.monotonic() - began < 3
    assert [result.reason for result in harness.take()] == [Reason.INTERRUPTED]
    assert sender._process.returncode == -signal.SIGKILL


def test_why_a_child_cannot_start_stands_on_its_standard_error(monkeypatch, capfd):
    # As many open files as an interpreter needs, and not the loop.
    monkeypatch.setattr(send_process, "_COMMAND", ("sh", "-c", 'ulimit -n 9; exec "$@"', "sh"))

    with pytest.raises(RuntimeError, match="did not start"):
        SenderProcess(CONFIG, on_result=print).start()

    assert "Too many open files" in capfd.readouterr().err
