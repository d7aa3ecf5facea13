"""A real HTTP server on loopback, in its own thread, that answers as badly as a test asks it to.

Written on a plain asyncio protocol rather than a framework: it must misbehave precisely (drop, drip,
half an answer), record requests byte for byte, and cost little next to what is measured with it.

    with HttpSink() as sink:
        sink.on("/hook", Reply(status=503), Reply())
        ...call sink.url("/hook") twice...
        calls = sink.wait_for(2)
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

_BACKLOG: Final = 16384
_HEAD_END: Final = b"\r\n\r\n"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request as it arrived."""

    method: str
    # Path and query, undecoded.
    path: str
    # Lowercase names; of a repeated header, the last.
    headers: Mapping[str, str]
    body: bytes
    # Everything from the request line to the end of the body.
    raw: bytes = field(repr=False)
    at: datetime
    # `time.monotonic()` at arrival, to compare with the caller's.
    at_s: float
    # Counts connections from 1, to tell a reused one.
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """How to answer one call. Without any argument: 200 with `ok`."""

    status: int = 200
    body: bytes | str = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    # Seconds before the answer begins.
    delay_s: float = 0.0
    # Keep the caller waiting until `HttpSink.release()`.
    hold: bool = False
    # Close the connection without any answer; `reset` does it with a TCP reset.
    drop: bool = False
    reset: bool = False
    # Send the head, then one byte each `drip_s` seconds without end.
    drip_s: float = 0.0
    # Announce more than is sent, then close.
    cut_short: bool = False
    # Answer with the request's own headers and body, as JSON.
    echo: bool = False
    # `Connection: close`; `silent_close` closes without saying so.
    close: bool = False
    silent_close: bool = False
    # Sent instead of an HTTP answer; the connection is closed after it.
    raw: bytes | None = None

    @classmethod
    def json(cls, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        typed = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        return cls(status=status, body=json.dumps(value), headers=typed)

    @classmethod
    def redirect(cls, location: str, *, status: int = 302) -> Reply:
        return cls(status=status, body=b"", headers={"Location": location})

    @classmethod
    def big(cls, size: int, *, char: bytes = b"x") -> Reply:
        return cls(body=char * size)

    @classmethod
    def gzip_bomb(cls, size: int) -> Reply:
        """A small answer that decompresses to `size` bytes."""
        return cls(body=_zeros(size), headers={"Content-Encoding": "gzip"})


Script = Callable[[Call], Reply]


class HttpSink:
    """The server. All methods may be called from any thread."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._tls = tls
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._scripts: dict[str, Script] = {}
        self._default: Script = _sequence(Reply())
        self._held: list[Callable[[], None]] = []
        self._connections: set[_Connection] = set()
        self._handshakes: dict[asyncio.Task[None], asyncio.Transport] = {}
        self._opened = 0
        # 0: one that is free.
        self._port = port

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http-sink", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Close the port and every connection. A sink that is stopped already stays so."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # What to answer

    def on(self, path: str, *replies: Reply | Script) -> None:
        """Answer calls of `path` (without the query) in turn; the last reply stays."""
        self._scripts[path] = _sequence(*replies)

    def by_default(self, *replies: Reply | Script) -> None:
        self._default = _sequence(*replies)

    def release(self) -> None:
        """Answer everything that is held."""
        self._loop.call_soon_threadsafe(self._release)

    # What arrived

    @property
    def port(self) -> int:
        return self._port

    @property
    def host_port(self) -> str:
        return f"127.0.0.1:{self._port}"

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://{self.host_port}{path}"

    @property
    def calls(self) -> list[Call]:
        with self._changed:
            return list(self._calls)

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return self._opened

    def calls_of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path.partition("?")[0] == path]

    def clear(self) -> None:
        with self._changed:
            self._calls.clear()

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Call]:
        """Wait until `count` calls have arrived and return all. Raises AssertionError when they do not."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._calls) >= count, timeout_s)
            assert arrived, f"{len(self._calls)} of {count} calls within {timeout_s} s"
            return list(self._calls)

    # In the loop

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            self._protocol, "127.0.0.1", self._port, backlog=_BACKLOG
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        # Stop accepting before closing the server: Python 3.11 fails on, and leaks, a connection that is
        # just being accepted. Twice, since such a one is known only after its task has run.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener.fileno())
        for _ in range(2):
            for connection in list(self._connections):
                connection.abort()
            for transport in self._handshakes.values():
                transport.abort()
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=5)
        self._server.close()
        # One more turn of the loop, for transports to end.
        await asyncio.sleep(0)

    def _protocol(self) -> asyncio.Protocol:
        return _Connection(self) if self._tls is None else _TlsDoor(self, self._tls)

    def _release(self) -> None:
        held, self._held = self._held, []
        for answer in held:
            answer()

    def _open(self, connection: _Connection) -> int:
        self._connections.add(connection)
        self._opened += 1
        return self._opened

    def _receive(self, call: Call) -> Reply:
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        script = self._scripts.get(call.path.partition("?")[0], self._default)
        return script(call)


class _Connection(asyncio.Protocol):
    """Serves the requests of one connection, one after the other."""

    def __init__(self, sink: HttpSink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._is_answering = False
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self._sink._open(self)
        # After a TLS handshake the first request may be here already.
        self._serve_next()

    def connection_lost(self, error: Exception | None) -> None:
        self._sink._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._serve_next()

    def _serve_next(self) -> None:
        if self._is_answering or not self._number or (call := self._take_call()) is None:
            return
        self._is_answering = True
        reply = self._sink._receive(call)

        def answer() -> None:
            self._answer(reply, call)

        if reply.hold:
            self._sink._held.append(answer)
        elif reply.delay_s:
            self._timer = asyncio.get_running_loop().call_later(reply.delay_s, answer)
        else:
            answer()

    def _take_call(self) -> Call | None:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return None
        request_line, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        whole = end + len(_HEAD_END) + int(headers.get("content-length", 0))
        if len(self._buffer) < whole:
            return None
        raw = bytes(self._buffer[:whole])
        del self._buffer[:whole]
        method, path, _ = request_line.split(" ", 2)
        return Call(
            method=method,
            path=path,
            headers=headers,
            body=raw[end + len(_HEAD_END) :],
            raw=raw,
            at=datetime.now(UTC),
            at_s=time.monotonic(),
            connection=self._number,
        )

    def _answer(self, reply: Reply, call: Call) -> None:
        if self._transport.is_closing():
            return
        if reply.reset:
            _reset(self._transport)
        elif reply.drop:
            self._transport.close()
        elif reply.raw is not None:
            self._transport.write(reply.raw)
            self._transport.close()
        elif reply.drip_s:
            self._transport.write(_head(reply, None))
            self._drip(reply.drip_s)
        else:
            self._send(reply, call)

    def _send(self, reply: Reply, call: Call) -> None:
        body = _echo(call) if reply.echo else reply.body
        content = body.encode() if isinstance(body, str) else body
        announced = len(content) + (1000 if reply.cut_short else 0)
        self._transport.write(_head(reply, announced) + content)
        if reply.close or reply.cut_short or reply.silent_close:
            self._transport.close()
            return
        self._is_answering = False
        self._serve_next()

    def _drip(self, every_s: float) -> None:
        if not self._transport.is_closing():
            self._transport.write(b".")
            self._timer = asyncio.get_running_loop().call_later(every_s, self._drip, every_s)


class _TlsDoor(asyncio.Protocol):
    """Makes the TLS handshake in a task that `stop` can end.

    asyncio's own server forgets a connection until its handshake is done, and would leave one that
    a client broke off open at the end of the test.
    """

    def __init__(self, sink: HttpSink, tls: ssl.SSLContext) -> None:
        self._sink = sink
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # Nothing may be read before the handshake is there to read it.
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._shake_hands(transport))
        self._sink._handshakes[task] = transport
        task.add_done_callback(lambda done: self._sink._handshakes.pop(done))

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        connection = _Connection(self._sink)
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, connection, self._tls, server_side=True
            )
        except OSError:  # A client that does not trust us, or was stopped.
            transport.abort()
            return
        assert secured is not None
        connection.connection_made(secured)


def _sequence(*replies: Reply | Script) -> Script:
    remaining = list(replies)

    def next_reply(call: Call) -> Reply:
        reply = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return reply if isinstance(reply, Reply) else reply(call)

    return next_reply


def _head(reply: Reply, length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}"]
    if length is not None and reply.status not in (204, 304):
        lines.append(f"Content-Length: {length}")
    if length is None or reply.close:
        lines.append("Connection: close")
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _echo(call: Call) -> str:
    return json.dumps({"headers": dict(call.headers), "body": call.body.decode("utf-8", "replace")})


def _reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset: no lingering, and what the peer sent is thrown away."""
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()


@lru_cache(maxsize=2)
def _zeros(size: int) -> bytes:
    return gzip.compress(bytes(size), compresslevel=1, mtime=0)
