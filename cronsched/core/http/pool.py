"""Connections: opened where the policy allows it, and kept a moment for the next call to that host."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict
from functools import lru_cache
from typing import Any, Final

from aiohappyeyeballs import start_connection
from yarl import URL

from cronsched.core.http.connection import Connection
from cronsched.core.http.guard import AddressPolicy
from cronsched.core.http.resolver import AddrInfo, PolicyResolver, check_sockaddr

# Short on purpose: a burst to one host shares connections, and servers that close idle ones (after
# 2 s and more) are not met half-way, which would fail a POST that we must not repeat.
KEEPALIVE_S: Final = 1.0
# RFC 8305, "Happy Eyeballs": how long the first address of a name has before the next is tried beside it.
_NEXT_ADDRESS_S: Final = 0.25

# What follows address and port: nothing, or IPv6's flow label and the link that an address is of.
_UNSCOPED: Final = ((), (0, 0))

_Key = tuple[str, str, int]


class Pool:
    """The connections of one policy. `limit` bounds the calls to all hosts, or to each (`is_per_host`)."""

    def __init__(
        self,
        *,
        policy: AddressPolicy | None,
        resolver: PolicyResolver,
        tls: ssl.SSLContext,
        limit: int,
        is_per_host: bool = False,
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._tls = tls
        self._is_per_host = is_per_host
        self._seats: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(limit))
        self._idle: defaultdict[_Key, list[tuple[Connection, float]]] = defaultdict(list)
        self._sweep: asyncio.TimerHandle | None = None

    def seat(self, url: URL) -> asyncio.Semaphore:
        """To be held for the length of a call."""
        return self._seats[url.raw_host or "" if self._is_per_host else ""]

    async def take(self, url: URL) -> Connection:
        """A connection to this host: one that is open, or a new one. Raises OSError."""
        idle = self._idle.get(_key(url), [])
        # A loop that stood still has closed nothing in time, and has not read what servers closed meanwhile.
        oldest = asyncio.get_running_loop().time() - 2 * KEEPALIVE_S
        while idle:
            connection, since = idle.pop()
            if connection.is_reusable and since > oldest:
                return connection
            connection.close()
        return await self._open(url)

    def give_back(self, url: URL, connection: Connection) -> None:
        """Keep it where another call may follow, and close it otherwise."""
        if not connection.is_reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle[_key(url)].append((connection, loop.time()))
        self._sweep = self._sweep or loop.call_later(KEEPALIVE_S, self._close_idle)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for idle in self._idle.values():
            for connection, _ in idle:
                connection.close()

    def _close_idle(self) -> None:
        """Close what nobody has wanted for a while, the oldest first."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEPALIVE_S
        for key in list(self._idle):
            idle = self._idle[key]
            while idle and idle[0][1] <= oldest:
                idle.pop(0)[0].close()
            if not idle:
                del self._idle[key]
        self._sweep = loop.call_later(KEEPALIVE_S / 2, self._close_idle) if self._idle else None

    async def _open(self, url: URL) -> Connection:
        host, port = url.raw_host or "", url.port or 0
        is_tls = url.scheme == "https"
        addresses = _literal(host, port) or await self._resolver.resolve(host, port)
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection,
            ssl=self._tls if is_tls else None,
            server_hostname=host.rstrip(".") if is_tls else None,
            **await self._peer(addresses),
        )
        return connection

    async def _peer(self, addresses: AddrInfo) -> dict[str, Any]:
        """Whom to connect to. Nothing gets past the policy: it is asked of each final address."""
        family, *_, sockaddr = addresses[0]
        if len(addresses) > 1 or sockaddr[2:] not in _UNSCOPED:
            return {"sock": await self._race(addresses)}
        # The one address there is: without a race, and with a socket that the loop makes, a connection costs
        # half as much.
        check_sockaddr(self._policy, str(sockaddr[0]))
        return {"host": sockaddr[0], "port": sockaddr[1], "family": family}

    async def _race(self, addresses: AddrInfo) -> socket.socket:
        return await start_connection(
            addresses,
            happy_eyeballs_delay=_NEXT_ADDRESS_S,
            loop=asyncio.get_running_loop(),
            socket_factory=self._make_socket,
        )

    def _make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Create the socket for a final address, or refuse."""
        family, kind, proto, _, sockaddr = info
        check_sockaddr(self._policy, str(sockaddr[0]))
        return socket.socket(family=family, type=kind, proto=proto)


def _key(url: URL) -> _Key:
    return url.scheme, url.raw_host or "", url.port or 0


@lru_cache(maxsize=4096)
def _literal(host: str, port: int) -> AddrInfo:
    """A host that is an address needs no resolver; empty for a name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except OSError:
        return []
    sockaddr = (host, port, 0, 0) if family == socket.AF_INET6 else (host, port)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)]
