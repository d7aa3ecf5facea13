"""A receiver for the herd: answers every POST, at once or after a delay, and notes when each came."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
BACKLOG = 8192


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Wall-clock times of the first and last call, and how often each path was called."""

    first: float
    last: float
    paths: Counter[str]


class _Call(asyncio.Protocol):
    def __init__(self, calls: list[tuple[float, str]], delay_s: float) -> None:
        self._calls = calls
        self._delay_s = delay_s
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        """Answer one whole request of the buffer; False where there is none."""
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"),
            0,
        )
        if len(rest) < length:
            return False
        self._calls.append((time.time(), head.split(b" ", 2)[1].decode()))
        self._buffer = rest[length:]
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, ANSWER)
        else:
            self._transport.write(ANSWER)
        return True


class Receiver:
    """A process of its own on a free port of every loopback address."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(theirs, delay_s), daemon=True)
        self._process.start()
        self.port: int = self._pipe.recv()

    def url(self, number: int) -> str:
        """A host of its own for each number: that is the usual case."""
        return (
            f"http://127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}:{self.port}/{number}"
        )

    def calls(self) -> list[tuple[float, str]]:
        """When each call came, and its path."""
        self._pipe.send("calls")
        calls: list[tuple[float, str]] = self._pipe.recv()
        return calls

    def arrivals(self) -> Arrivals:
        calls = self.calls()
        times = [moment for moment, _ in calls] or [0.0]
        return Arrivals(first=min(times), last=max(times), paths=Counter(path for _, path in calls))

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, delay_s: float) -> None:
    asyncio.run(_main(pipe, delay_s))


async def _main(pipe: Connection, delay_s: float) -> None:
    calls: list[tuple[float, str]] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Call(calls, delay_s), "0.0.0.0", 0, backlog=BACKLOG)  # noqa: S104

    def tell() -> None:
        pipe.recv()
        pipe.send(list(calls))

    loop.add_reader(pipe.fileno(), tell)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
