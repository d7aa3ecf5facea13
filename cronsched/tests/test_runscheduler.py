from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cronsched.management.commands import runscheduler
from cronsched.management.commands.runscheduler import STOP_SIGNALS, leave, wait_for_the_end


class FakeEngine:
    """Says its faults one by one; sends this process a signal instead of the one that is None."""

    def __init__(self, *faults: str | None) -> None:
        self.faults = list(faults)
        self.hurried = 0

    def fault(self) -> str:
        fault = self.faults.pop(0)
        if fault is None:
            os.kill(os.getpid(), signal.SIGTERM)
            return ""
        return fault

    def hurry(self) -> None:
        self.hurried += 1


@pytest.fixture(autouse=True)
def own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runscheduler, "WATCH_S", 0.001)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_fault_ends_the_waiting_and_is_said(caplog):
    assert wait_for_the_end(FakeEngine("", "", "a thread has died: lease")) == "a thread has died: lease"
    assert "started anew" in caplog.text


def test_a_signal_ends_the_waiting_and_a_second_one_the_patience():
    engine = FakeEngine("", None)

    assert wait_for_the_end(engine) == ""
    assert engine.hurried == 0
    os.kill(os.getpid(), signal.SIGINT)

    assert engine.hurried == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_fault_is_told_to_the_supervisor():
    with pytest.raises(SystemExit) as end:
        leave(1)
    assert end.value.code == 1
    leave(0)


def test_a_thread_that_hangs_does_not_keep_the_process(monkeypatch):
    release, codes = threading.Event(), []
    monkeypatch.setattr(runscheduler, "LEAVE_S", 0.01)
    monkeypatch.setattr(runscheduler.os, "_exit", lambda code: codes.append(code) or release.set())
    monkeypatch.setattr(runscheduler.logging, "shutdown", lambda: None)
    thread = threading.Thread(target=release.wait, args=(30,))
    thread.start()

    leave(0)

    assert codes == [0]
    thread.join(10)
