"""Name look-ups that one hanging name server cannot stop, and that refuse what the policy refuses.

The C library's resolver blocks its thread, for half a minute where a name server is silent. The
loop's default executor has a handful of threads, so a few dead names would hold up every other
call; and threads of an executor are joined at exit, so they would hold up the shutdown too.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from cronsched.core.http.guard import AddressPolicy, blocked_sentence

# Distinct names that may hang at once; look-ups of one name are already shared by the connector.
MAX_LOOKUP_THREADS: Final = 128

# How long an answer is believed, and how many are kept.
_KNOWN_S: Final = 10.0
_MAX_KNOWN: Final = 4096

_Name = tuple[str, int]
AddrInfo = list[tuple[Any, ...]]
Lookup = Callable[..., AddrInfo]
_Answer = tuple[AddrInfo | None, OSError | None]


class BlockedAddressError(OSError):
    """The policy refuses an address. An OSError, for what is between the socket and us expects one."""


class LookupPool:
    """Daemon threads for blocking look-ups, started as needed and never joined. Used by one loop."""

    def __init__(self, max_threads: int = MAX_LOOKUP_THREADS) -> None:
        self._max_threads = max_threads
        self._threads = 0
        self._idle = threading.Semaphore(0)
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    async def run(self, lookup: Callable[[], AddrInfo]) -> AddrInfo:
        """Run `lookup` in a thread; raises OSError as it does, and for a name that cannot be encoded."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Answer] = loop.create_future()

        def work() -> None:
            answer = _answer(lookup)
            # The loop may be gone by the time a hanging look-up returns.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, answer)

        self._work.put(work)
        if not self._idle.acquire(blocking=False) and self._threads < self._max_threads:
            self._threads += 1
            threading.Thread(target=self._serve, name="lookup", daemon=True).start()
        found, error = await future
        if found is None:
            raise error or OSError("no answer")
        return found

    def close(self) -> None:
        """Let idle threads end; one in a look-up ends after it."""
        for _ in range(self._threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            self._idle.release()


def _answer(lookup: Callable[[], AddrInfo]) -> _Answer:
    try:
        return lookup(), None
    except OSError as error:
        return None, error
    except ValueError as error:  # UnicodeError: a name that DNS cannot spell.
        return None, socket.gaierror(socket.EAI_NONAME, str(error))


def _settle(future: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not future.done():
        future.set_result(answer)


class PolicyResolver:
    """Resolve by the system's resolver; refuse a name when *any* of its addresses is refused.

    One bad address is enough: a name that mixes public and private ones is the usual trick to have
    the check look at one and the connection go to the other. `policy` None: everything is let through.
    Calls of one name share a look-up, and for a moment its answer.
    """

    def __init__(self, *, policy: AddressPolicy | None, pool: LookupPool, lookup: Lookup) -> None:
        self._policy = policy
        self._pool = pool
        self._lookup = lookup
        self._asking: dict[_Name, asyncio.Task[AddrInfo]] = {}
        self._known: dict[_Name, tuple[AddrInfo, float]] = {}

    def is_under_way(self, host: str) -> bool:
        """True while `host` is being looked up, to say what a timed-out call was waiting for."""
        return any(name == host for name, _ in self._asking)

    async def resolve(self, host: str, port: int) -> AddrInfo:
        """The addresses of a name. Raises OSError: gaierror, and BlockedAddressError."""
        name = (host, port)
        infos, until = self._known.get(name, ([], 0.0))
        if time.monotonic() < until:
            return infos
        if name not in self._asking:
            task = self._asking[name] = asyncio.create_task(self._ask(name))
            task.add_done_callback(lambda done: self._note(name, done))
        # One that gives up must not take the answer from the others.
        return await asyncio.shield(self._asking[name])

    async def _ask(self, name: _Name) -> AddrInfo:
        infos = await self._pool.run(
            lambda: self._lookup(*name, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
        for *_, sockaddr in infos:
            check_sockaddr(self._policy, sockaddr[0], name[0])
        return infos

    def _note(self, name: _Name, done: asyncio.Task[AddrInfo]) -> None:
        del self._asking[name]
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        if not done.cancelled() and done.exception() is None:
            self._known[name] = (done.result(), time.monotonic() + _KNOWN_S)


def check_sockaddr(policy: AddressPolicy | None, address: str, host: str = "") -> None:
    """Raise BlockedAddressError when the policy refuses this address."""
    if policy is not None and (reason := policy.check(address)) is not None:
        raise BlockedAddressError(blocked_sentence(address, host, reason))
