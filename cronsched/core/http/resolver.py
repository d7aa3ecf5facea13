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
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from cronsched.core.http.guard import AddressPolicy, blocked_sentence

# Distinct names that may hang at once; look-ups of one name are already shared by the connector.
MAX_LOOKUP_THREADS: Final = 128

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


class PolicyResolver(AbstractResolver):
    """Resolve by the system's resolver; refuse a name when *any* of its addresses is refused.

    One bad address is enough: a name that mixes public and private ones is the usual trick to have
    the check look at one and the connection go to the other. `policy` None: everything is let through.
    """

    def __init__(self, *, policy: AddressPolicy | None, pool: LookupPool, lookup: Lookup) -> None:
        self._policy = policy
        self._pool = pool
        self._lookup = lookup
        self._under_way: Counter[str] = Counter()

    def is_under_way(self, host: str) -> bool:
        """True while `host` is being looked up, to say what a timed-out call was waiting for."""
        return self._under_way[host] > 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self._under_way[host] += 1
        try:
            infos = await self._pool.run(
                lambda: self._lookup(
                    host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
                )
            )
        finally:
            self._under_way[host] -= 1
            if not self._under_way[host]:
                del self._under_way[host]
        return [self._result(host, port, info) for info in infos]

    def _result(self, host: str, port: int, info: tuple[Any, ...]) -> ResolveResult:
        family, _, proto, _, sockaddr = info
        check_sockaddr(self._policy, sockaddr[0], host)
        return ResolveResult(
            hostname=host,
            host=sockaddr[0],
            port=port,
            family=family,
            proto=proto,
            flags=socket.AI_NUMERICHOST,
        )

    async def close(self) -> None:
        """Nothing is held here; the pool belongs to the client."""


def check_sockaddr(policy: AddressPolicy | None, address: str, host: str = "") -> None:
    """Raise BlockedAddressError when the policy refuses this address."""
    if policy is not None and (reason := policy.check(address)) is not None:
        raise BlockedAddressError(blocked_sentence(address, host, reason))
