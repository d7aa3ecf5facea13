"""What a server may do on the wire, byte for byte, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cronsched.core.http import pool
from cronsched.core.http.client import AddressPolicy, Fault, HttpClient, HttpRequest, HttpResult
from cronsched.testing.http_sink import Reply

LOCAL = AddressPolicy(allow_private=True)
# Each test runs on each kind of loop: see conftest.py.
pytestmark = pytest.mark.usefixtures("run_on")
run_loop = asyncio.run
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def server(*scripts: Callable[[socket.socket], Any], family: int = socket.AF_INET) -> Iterator[int]:
    """A port whose connections are served by these, one after the other."""

    def serve() -> None:
        for script in scripts:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                script(connection)

    with socket.create_server(
        ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family
    ) as listening:
        listening.settimeout(5)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


def answering(*answers: bytes) -> Callable[[socket.socket], Any]:
    """Sends one of these for each request, then waits for the other side to close."""

    def script(connection: socket.socket) -> None:
        for answer in answers:
            if connection.recv(65536):
                connection.sendall(answer)
        while connection.recv(65536):
            pass

    return script


def closing(answer: bytes) -> Callable[[socket.socket], Any]:
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return script


def send(*urls: str, timeout_s: float = 5.0) -> list[HttpResult]:
    """Call one after the other through one client."""

    async def run() -> list[HttpResult]:
        async with HttpClient(policy=LOCAL, allow_http=True) as client:
            requests = [HttpRequest(method="POST", url=url, body=b"{}", timeout_s=timeout_s) for url in urls]
            return [await client.send(request) for request in requests]

    return run_loop(run())


def local(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, "ok"),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\nlocation: /x\r\n\r\n" + OK, 200, "ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 200, "ok"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok"),
        (b"HTTP/1.1 200 OK\r\nServer: caf\xe9\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nany", 101, ""),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    ],
)
def test_what_is_a_whole_answer(answer, status, body):
    with server(answering(answer)) as port:
        [result] = send(local(port))

    assert (result.status, result.body, result.error) == (status, body, None)
    assert "location" not in result.headers


def test_an_answer_may_come_byte_by_byte():
    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in OK.replace(b"\r\n\r\n", b"\r\nRetry-After: 77\r\n\r\n"):
            connection.sendall(bytes([byte]))

    with server(drip) as port:
        [result] = send(local(port))

    assert (result.status, result.body, result.headers["retry-after"]) == (200, "ok", "77")


def test_without_a_length_the_answer_ends_with_the_connection():
    with server(closing(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as port:
        [result] = send(local(port))

    assert (result.status, result.body, result.error) == (200, "all of it", None)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_told(answer):
    with server(closing(answer)) as port:
        [result] = send(local(port))

    assert (result.status, result.body, result.error) == (200, "half", Fault.CONNECTION)


def test_a_server_that_closes_before_the_request_is_met_at_once():
    with server(lambda connection: None) as port:
        [result] = send(local(port), timeout_s=30)

    assert (result.status, result.error) == (None, Fault.CONNECTION)


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
)
def test_a_head_without_end_is_no_answer(flood):
    with server(answering(flood)) as port:
        [result] = send(local(port))

    assert (result.status, result.error) == (None, Fault.CONNECTION)
    assert result.message == f"127.0.0.1:{port} did not answer with valid HTTP."


@pytest.mark.parametrize("flood", [b"x" * 3_000_000, b"x: y\r\n" * 500_000])
def test_what_follows_a_body_without_end_is_cut(flood):
    """Trailers are not kept, but one without a line end would be, until memory is full."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
    with server(answering(answer + flood)) as port:
        [result] = send(local(port))

    assert (result.status, result.body) == (200, "ok")
    assert result.is_truncated or result.error is Fault.CONNECTION


@pytest.mark.parametrize(
    "answer",
    [
        # More than one answer, and one that nobody asked for.
        OK + OK,
        OK + b"junk",
        # The server says so, or its version does.
        OK.replace(b"200 OK", b"200 OK\r\nConnection: close"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_such_a_connection_serves_no_second_call(answer):
    with server(answering(answer), answering(OK.replace(b"ok", b"2."))) as port:
        first, second = send(local(port), local(port))

    assert (first.body, second.body) == ("ok", "2.")


def test_a_connection_in_step_serves_the_next_call():
    with server(answering(OK, OK.replace(b"ok", b"2."))) as port:
        first, second = send(local(port), local(port))

    assert (first.body, second.body) == ("ok", "2.")


def test_bytes_on_an_idle_connection_close_it():
    """A late 408, say: the next call must not take it for its answer."""

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(OK)
        is_answered.wait(5)
        connection.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        # Ends when the client has closed.
        connection.recv(1)
        is_closed.set()

    is_answered, is_closed = threading.Event(), threading.Event()

    async def run(url: str) -> list[HttpResult]:
        async with HttpClient(policy=LOCAL, allow_http=True) as client:
            first = await client.send(HttpRequest(method="POST", url=url))
            is_answered.set()
            await asyncio.to_thread(is_closed.wait, 5)
            return [first, await client.send(HttpRequest(method="POST", url=url))]

    with server(script, answering(OK)) as port:
        results = run_loop(run(local(port)))

    assert [result.status for result in results] == [200, 200]


def test_an_idle_connection_is_closed_after_a_moment(monkeypatch):
    monkeypatch.setattr(pool, "KEEPALIVE_S", 0.01)
    is_closed = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(OK)
        connection.recv(1)
        is_closed.set()

    async def run(url: str) -> bool:
        async with HttpClient(policy=LOCAL, allow_http=True) as client:
            await client.send(HttpRequest(method="POST", url=url))
            return await asyncio.to_thread(is_closed.wait, 5)

    with server(script) as port:
        assert run_loop(run(local(port)))


def test_an_ipv6_address_stands_in_brackets():
    heads: list[bytes] = []

    def script(connection: socket.socket) -> None:
        heads.append(connection.recv(65536))
        connection.sendall(OK)

    with server(script, family=socket.AF_INET6) as port:
        [result] = send(f"http://[::1]:{port}/a")

    assert result.status == 200
    assert f"\r\nHost: [::1]:{port}\r\n".encode() in heads[0]


def test_calls_to_a_trusted_host_are_bounded(http_sink, monkeypatch):
    monkeypatch.setattr("cronsched.core.http.client._TRUSTED_PER_HOST", 2)
    http_sink.by_default(Reply(hold=True))

    async def run() -> list[HttpResult]:
        async with HttpClient(policy=LOCAL, allow_http=True) as client:
            request = HttpRequest(method="POST", url=http_sink.url(), is_trusted=True)
            calls = [asyncio.ensure_future(client.send(request)) for _ in range(5)]
            for arrived in (2, 4, 5):
                await asyncio.to_thread(http_sink.wait_for, arrived)
                http_sink.release()
            return await asyncio.gather(*calls)

    results = run_loop(run())

    assert {result.status for result in results} == {200}
    assert http_sink.connections == 2


def test_a_connection_that_left_http_serves_no_other_call():
    upgraded = answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", OK)

    with server(upgraded, answering(OK)) as port:
        first, second = send(*[f"http://127.0.0.1:{port}/"] * 2)

    assert (first.status, second.status, second.body) == (101, 200, "ok")


def test_a_connection_that_stood_too_long_serves_no_other_call(monkeypatch):
    """As after a loop that stood still: nothing has closed it, and what the server did is unread."""
    monkeypatch.setattr(pool, "KEEPALIVE_S", -1.0)
    monkeypatch.setattr(pool.Pool, "_close_idle", lambda self: None)

    with server(answering(OK), answering(OK)) as port:
        results = send(*[f"http://127.0.0.1:{port}/"] * 2)

    assert [result.status for result in results] == [200, 200]
