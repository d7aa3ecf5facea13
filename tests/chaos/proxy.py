"""A wire between the schedulers and a shared database server, to be cut and held without harming others."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self
from urllib.parse import urlsplit

_CHUNK = 65_536


class Wire:
    """Forwards TCP from a free port of loopback to the server of `url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._parts = parts
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()
        self._flows = asyncio.Event()
        self._flows.set()
        self._do(self._listen())
        return self

    def __exit__(self, *details: object) -> None:
        self._loop.call_soon_threadsafe(self._flows.set)
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        login = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{login}@127.0.0.1:{self._port}").geturl()

    def disturbances(self) -> dict[str, Callable[[float], None]]:
        return {"cuts": self.cut, "pauses": self.pause}

    def cut(self, seconds: float) -> None:
        """Break every connection and refuse new ones, as while a server restarts."""
        self._do(self._cut())
        time.sleep(seconds)
        self._do(self._listen())

    def pause(self, seconds: float) -> None:
        """Take everything and pass nothing on, as a stalled server does."""
        self._loop.call_soon_threadsafe(self._flows.clear)
        time.sleep(seconds)
        self._loop.call_soon_threadsafe(self._flows.set)

    def silence(self) -> None:
        """Let every connection there is fall silent for good; new ones are served."""
        self._loop.call_soon_threadsafe(self._fall_silent)

    # In the loop

    def _fall_silent(self) -> None:
        self._silent |= self._writers

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._listener.close()
        for writer in list(self._writers):
            writer.transport.abort()
        # What was aborted ends in its own task.
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._server)
            both = {writer, far_writer}
            self._writers |= both
            pumps = [
                asyncio.ensure_future(self._pump(reader, far_writer)),
                asyncio.ensure_future(self._pump(far_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.transport.abort()
            await asyncio.wait(pumps)
            self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                if writer in self._silent:
                    continue
                writer.write(data)
                await writer.drain()
