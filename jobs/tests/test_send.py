from __future__ import annotations

import dataclasses
import logging
import math
import queue
import resource
import socket
import threading
import time
from collections import Counter, UserDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cronsched.core.http.client import AddressPolicy
from cronsched.testing.fake_github import FakeGitHub
from cronsched.testing.http_sink import Reply
from jobs.engine import send
from jobs.engine.messages import Delivery, DeliveryResult, GitHubTarget, Outcome, Reason, TargetKind
from jobs.engine.send import Sender, SenderConfig, fit_to_open_files, raise_fd_limit, send_now

CONFIG = SenderConfig(policy=AddressPolicy(allow_private=True), allow_http=True, user_agent="cronsched/test")
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def delivery(url: str, number: int = 1, **changes: Any) -> Delivery:
    made = Delivery(
        execution_id=UUID(int=number),
        claim_token=UUID(int=number + 1_000_000),
        kind=TargetKind.WEBHOOK,
        target_url=url,
        timeout_s=10.0,
    )
    return dataclasses.replace(made, **changes)


class Harness:
    """A sender and the queue its results go to."""

    def __init__(self) -> None:
        self.results: queue.SimpleQueue[DeliveryResult] = queue.SimpleQueue()
        self._senders: list[Sender] = []

    def start(self, config: SenderConfig = CONFIG, **options: Any) -> Sender:
        sender = Sender(config, **{"on_result": self.results.put} | options)
        sender.start()
        self._senders.append(sender)
        return sender

    def take(self, count: int = 1, timeout_s: float = 10.0) -> list[DeliveryResult]:
        return [self.results.get(timeout=timeout_s) for _ in range(count)]

    def stop(self) -> None:
        for sender in self._senders:
            sender.stop(0)


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.stop()
    assert made.results.empty(), "a delivery yielded more than one result"


# Results


def test_a_delivery_arrives_and_yields_its_result(harness, http_sink):
    sender = harness.start(clock=lambda: NOW)

    sender.submit([delivery(http_sink.url("/hook"), 5, payload={"a": 1})])

    [result] = harness.take()
    [call] = http_sink.calls
    assert (result.execution_id, result.claim_token) == (UUID(int=5), UUID(int=1_000_005))
    assert (result.outcome, result.response_status, result.output) == (Outcome.SUCCESS, 200, "ok")
    assert (call.path, call.body, call.headers["user-agent"]) == ("/hook", b'{"a":1}', "cronsched/test")
    assert call.headers["webhook-timestamp"] == str(int(NOW.timestamp()))


def test_times_come_from_the_clock_and_the_duration_does_not(harness, http_sink):
    # Set back by an hour between the two readings.
    readings = iter([NOW, NOW - timedelta(hours=1), NOW - timedelta(hours=1)])
    sender = harness.start(clock=lambda: next(readings))
    http_sink.by_default(Reply(delay_s=0.05))

    sender.submit([delivery(http_sink.url())])

    [result] = harness.take()
    assert result.started_at == result.completed_at == NOW
    assert 0.05 <= result.duration_s < 5


def test_github_is_called_too(harness, fake_github: FakeGitHub):
    target = GitHubTarget(
        api_url=fake_github.api_url,
        owner="o",
        repo="r",
        workflow="w.yml",
        ref="main",
        token=fake_github.token,
    )
    # No private networks and no http: the operator's GitHub is trusted.
    sender = harness.start(SenderConfig())

    sender.submit([delivery("", kind=TargetKind.GITHUB_ACTIONS, github=target)])

    [result] = harness.take()
    assert (result.outcome, result.response_status) == (Outcome.SUCCESS, 204)
    assert fake_github.dispatches[0].workflow == "w.yml"


def test_failures_carry_reason_retry_and_wait(harness, http_sink):
    http_sink.by_default(Reply(status=503, headers={"Retry-After": "7"}))
    sender = harness.start()

    sender.submit([delivery(http_sink.url())])

    [result] = harness.take()
    assert (result.outcome, result.reason, result.response_status) == (
        Outcome.FAILED,
        Reason.HTTP_STATUS,
        503,
    )
    assert (result.is_retryable, result.retry_after_s) == (True, 7.0)


def test_the_policy_of_the_configuration_holds(harness, http_sink):
    sender = harness.start(SenderConfig(allow_http=True))

    sender.submit([delivery(http_sink.url())])

    [result] = harness.take()
    assert (result.outcome, result.reason) == (Outcome.FAILED, Reason.BLOCKED_ADDRESS)
    assert http_sink.connections == 0


def test_what_cannot_be_built_fails_without_a_call(harness, http_sink):
    sender = harness.start()

    sender.submit([delivery(http_sink.url(), payload={"a": math.nan})])

    [result] = harness.take()
    assert (result.outcome, result.reason) == (Outcome.FAILED, Reason.CONFIGURATION)
    assert http_sink.calls == []


# Every delivery yields exactly one result


def test_an_unexpected_exception_is_a_result_and_logged_once_without_secrets(harness, http_sink, caplog):
    class Hostile(UserDict):
        def __iter__(self):
            raise RuntimeError("quoting whsec_topsecre")

    sender = harness.start()
    with caplog.at_level(logging.ERROR, "jobs.engine.send"):
        sender.submit(
            [
                delivery("https://x.test", 1, payload=Hostile(), signing_secrets=("whsec_topsecre",)),
                delivery(http_sink.url(), 2),
            ]
        )
        results = {result.execution_id.int: result for result in harness.take(2)}

    assert (results[1].outcome, results[1].reason) == (Outcome.FAILED, Reason.INTERNAL)
    assert results[2].outcome is Outcome.SUCCESS
    [record] = caplog.records
    assert "RuntimeError: quoting [redacted]" in record.getMessage()
    assert f"execution={UUID(int=1)}" in record.getMessage()


def test_a_failing_on_result_stops_nothing(harness, http_sink, caplog):
    def on_result(result: DeliveryResult) -> None:
        if result.execution_id.int == 1:
            raise RuntimeError("full")
        harness.results.put(result)

    sender = harness.start(on_result=on_result)
    with caplog.at_level(logging.ERROR, "jobs.engine.send"):
        sender.submit([delivery(http_sink.url(), 1)])
        http_sink.wait_for(1)
        sender.submit([delivery(http_sink.url(), 2)])
        harness.take()
        sender.stop(5)

    assert [record.message for record in caplog.records] == [f"on_result failed execution={UUID(int=1)}"]
    assert sender.in_flight == 0


def test_a_clock_that_fails_still_yields_a_result(harness, http_sink):
    readings = iter([NOW])

    def clock() -> datetime:
        return next(readings, None) or _broken()

    sender = harness.start(clock=clock)
    sender.submit([delivery(http_sink.url())])

    [result] = harness.take()
    assert (result.outcome, result.reason) == (Outcome.FAILED, Reason.INTERNAL)
    assert result.started_at == NOW < result.completed_at


def _broken() -> datetime:
    raise OSError("no clock")


def test_thousands_at_once_all_arrive_once(harness, http_sink):
    count = 2000
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(dataclasses.replace(CONFIG, max_in_flight=count))

    sender.submit([delivery(http_sink.url(), number, timeout_s=30) for number in range(count)])
    http_sink.wait_for(count, 30)
    http_sink.release()
    results = harness.take(count, 30)

    assert Counter(result.outcome for result in results) == {Outcome.SUCCESS: count}
    assert len({call.headers["webhook-id"] for call in http_sink.calls}) == count
    assert http_sink.connections == count


# Nobody waits for another


def test_a_hanging_target_delays_nobody(harness, http_sink):
    http_sink.on("/hang", Reply(hold=True))
    http_sink.on("/drip", Reply(drip_s=0.05))
    sender = harness.start()
    slow = [
        delivery(http_sink.url(path), number, timeout_s=60) for number, path in enumerate(["/hang", "/drip"])
    ]

    sender.submit([*slow, *(delivery(http_sink.url(), number) for number in range(10, 60))])
    results = harness.take(50)

    assert {result.outcome for result in results} == {Outcome.SUCCESS}
    assert max(result.duration_s for result in results) < 5
    assert sender.in_flight == 2
    sender.stop(0)
    harness.take(2)


def test_capacity_is_counted_at_once_and_given_back(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(dataclasses.replace(CONFIG, max_in_flight=10))

    assert (sender.in_flight, sender.free) == (0, 10)
    sender.submit([delivery(http_sink.url(), number) for number in range(4)])
    assert (sender.in_flight, sender.free) == (4, 6)

    http_sink.wait_for(4)
    http_sink.release()
    harness.take(4)
    assert (sender.in_flight, sender.free) == (0, 10)


def test_what_exceeds_the_capacity_waits_its_turn(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(dataclasses.replace(CONFIG, max_in_flight=2))

    sender.submit([delivery(http_sink.url(), number) for number in range(5)])

    assert (sender.in_flight, sender.free) == (5, 0)
    for sent in (2, 4, 5):
        assert len(http_sink.wait_for(sent)) == sent
        http_sink.release()
        harness.take(min(2, 5 - sent + 2) if sent < 5 else 1)
    assert len(http_sink.calls) == 5


def test_submit_is_safe_from_many_threads(harness, http_sink):
    sender = harness.start()

    def submit(start: int) -> None:
        for number in range(start, start + 25):
            sender.submit([delivery(http_sink.url(), number)])

    threads = [threading.Thread(target=submit, args=(start * 25,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {result.execution_id.int for result in harness.take(200)} == set(range(200))
    assert sender.in_flight == 0


def test_an_empty_submit_is_nothing(harness):
    sender = harness.start()

    sender.submit([])

    assert sender.in_flight == 0


# The lease


def test_without_trust_no_connection_is_opened(harness, http_sink):
    sender = harness.start()
    sender.trust(0.0)

    sender.submit([delivery(http_sink.url())])

    [result] = harness.take()
    assert (result.outcome, result.reason, result.error_message) == (Outcome.NOT_SENT, Reason.NONE, "")
    assert http_sink.connections == 0


def test_trust_lost_while_connecting_keeps_the_request_here(harness, http_sink):
    readings = iter([9.9, 10.0])
    sender = harness.start(steady=lambda: next(readings))
    sender.trust(10.0)

    sender.submit([delivery(http_sink.url())])

    [result] = harness.take()
    assert result.outcome is Outcome.NOT_SENT
    assert http_sink.calls == []


def test_trust_lost_while_waiting_for_a_place_keeps_the_request_here(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(dataclasses.replace(CONFIG, max_in_flight=1))

    sender.submit([delivery(http_sink.url(), 1), delivery(http_sink.url(), 2)])
    http_sink.wait_for(1)
    sender.trust(0.0)
    http_sink.release()

    assert [result.outcome for result in harness.take(2)] == [Outcome.SUCCESS, Outcome.NOT_SENT]
    assert len(http_sink.calls) == 1


# A machine that was suspended


def test_who_was_frozen_before_the_beginning_opens_no_connection(harness, http_sink, steady):
    sender = harness.start(steady=steady)

    sender.submit([delivery(http_sink.url(), send_by=steady.now)])

    [result] = harness.take()
    assert result.outcome is Outcome.NOT_SENT
    assert http_sink.connections == 0


@pytest.mark.parametrize(
    ("connecting_s", "outcome"),
    [(9.9, Outcome.SUCCESS), (10.1, Outcome.NOT_SENT)],
    ids=["a slow connection is none", "longer than the timeout"],
)
def test_who_was_frozen_while_connecting_sends_nothing(harness, http_sink, connecting_s, outcome):
    """Begun in time, the first byte may take as long as the attempt: the run's deadline comes later."""
    # Read before the connection, and again when it stands.
    readings = iter([50.0, 50.0 + connecting_s])
    sender = harness.start(steady=lambda: next(readings))

    sender.submit([delivery(http_sink.url(), timeout_s=10.0, send_by=50.001)])

    assert [result.outcome for result in harness.take()] == [outcome]
    assert list(readings) == []
    assert len(http_sink.calls) == (1 if outcome is Outcome.SUCCESS else 0)


# Stopping


def test_stop_waits_for_what_is_in_flight(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start()
    sender.submit([delivery(http_sink.url())])
    http_sink.wait_for(1)

    stopping = _in_thread(lambda: sender.stop(10))
    _wait_until_refusing(sender)
    http_sink.release()
    stopping.join(5)

    assert not stopping.is_alive()
    assert [result.outcome for result in harness.take()] == [Outcome.SUCCESS]


def test_stop_cuts_off_what_takes_too_long(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start()
    sender.submit([delivery(http_sink.url(), timeout_s=60)])
    http_sink.wait_for(1)

    started = time.monotonic()
    sender.stop(0.05)

    [result] = harness.take()
    assert time.monotonic() - started < 3
    assert (result.outcome, result.reason) == (Outcome.FAILED, Reason.INTERRUPTED)
    assert result.error_message == "Interrupted by shutdown, the outcome is unknown."
    assert not result.is_retryable
    assert sender.in_flight == 0


def test_hurrying_a_sender_that_has_stopped_is_nothing(harness, http_sink):
    sender = harness.start()
    sender.stop(1)

    sender.hurry()

    assert not sender.is_alive()


def test_how_many_were_begun_is_told_while_some_wait(harness, http_sink):
    http_sink.by_default(Reply(hold=True), Reply())
    sender = harness.start(dataclasses.replace(CONFIG, max_in_flight=1))
    assert sender.begun is None

    sender.submit([delivery(http_sink.url(), number) for number in (1, 2)])
    http_sink.wait_for(1)

    assert sender.begun == 1
    http_sink.release()
    harness.take(2)
    assert sender.begun is None


def test_stop_hands_back_what_has_not_begun(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start(dataclasses.replace(CONFIG, max_in_flight=1))
    sender.submit([delivery(http_sink.url(), number) for number in range(4)])
    http_sink.wait_for(1)

    sender.stop(0.05)

    outcomes = Counter(result.outcome for result in harness.take(4))
    assert outcomes == {Outcome.NOT_SENT: 3, Outcome.FAILED: 1}
    assert len(http_sink.calls) == 1


def test_stop_hands_back_what_is_still_connecting(harness):
    with socket.socket() as server, socket.socket() as filler, socket.socket() as another:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        # A full queue of connections: the kernel ignores the next attempt.
        for client in (filler, another):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        sender = harness.start()
        sender.submit([delivery(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=60)])
        sender.stop(0.1)

    assert [result.outcome for result in harness.take()] == [Outcome.NOT_SENT]


def test_a_submit_right_before_stop_still_yields_results(harness, http_sink):
    http_sink.by_default(Reply(hold=True))
    sender = harness.start()

    sender.submit([delivery(http_sink.url(), number) for number in range(100)])
    sender.stop(0)

    assert {result.outcome for result in harness.take(100)} <= {Outcome.NOT_SENT, Outcome.FAILED}
    assert sender.in_flight == 0


@pytest.mark.parametrize("was_started", [True, False])
def test_a_sender_that_does_not_run_hands_everything_back(harness, http_sink, was_started):
    sender = harness.start() if was_started else Sender(CONFIG, on_result=harness.results.put)
    sender.stop(1)
    sender.stop(1)

    sender.submit([delivery(http_sink.url(), number) for number in range(3)])

    assert [result.outcome for result in harness.take(3)] == [Outcome.NOT_SENT] * 3
    assert (sender.in_flight, http_sink.calls) == (0, [])


def test_the_thread_ends(harness):
    before = threading.active_count()
    sender = harness.start()
    sender.stop(1)

    assert threading.active_count() == before


def test_a_sender_that_cannot_start_says_so():
    class Impossible(SenderConfig):
        def client(self):
            raise OSError("too many open files")

    sender = Sender(Impossible(), on_result=lambda result: None)

    with pytest.raises(OSError, match="too many open files"):
        sender.start()


def _in_thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def _wait_until_refusing(sender: Sender) -> None:
    deadline = time.monotonic() + 5
    while sender._is_open:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


# One at a time


def test_send_now_waits_for_the_result(http_sink):
    result = send_now(delivery(http_sink.url(), 3), config=CONFIG, clock=lambda: NOW)

    assert (result.execution_id, result.outcome) == (UUID(int=3), Outcome.SUCCESS)
    assert (result.started_at, len(http_sink.calls)) == (NOW, 1)


# Open files


@pytest.fixture
def fd_limit() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_open_files_is_raised_as_wanted(fd_limit):
    assert raise_fd_limit(700) == 700
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (700, fd_limit[1])


def test_the_limit_of_open_files_is_never_lowered(fd_limit):
    assert raise_fd_limit(100) == 512


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] == resource.RLIM_INFINITY, reason="no hard limit here"
)
def test_the_limit_of_open_files_stops_at_the_hard_one(fd_limit, caplog):
    assert raise_fd_limit(fd_limit[1] + 1) == fd_limit[1]
    assert "few open files allowed" in caplog.text


@pytest.mark.parametrize(("wanted", "fits"), [(10, 10), (4000, 128)])
def test_no_more_is_sent_at_once_than_open_files_allow(monkeypatch, wanted, fits):
    monkeypatch.setattr(send, "raise_fd_limit", lambda wanted: 512)

    assert fit_to_open_files(dataclasses.replace(CONFIG, max_in_flight=wanted)).max_in_flight == fits


def test_a_limit_that_cannot_be_raised_is_left_alone(fd_limit, caplog, monkeypatch):
    def refuse(*_):
        raise ValueError("not allowed to raise maximum limit")

    with monkeypatch.context() as patched:
        patched.setattr(resource, "setrlimit", refuse)
        assert raise_fd_limit(700) == 512

    assert "open file limit not raised" in caplog.text
