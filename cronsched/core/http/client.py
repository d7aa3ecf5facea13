"""The one way out: HTTP calls to addresses that a user chose, bounded in time, size and reach.

`HttpClient.send` returns a result for everything the network can do and raises only when it is
cancelled. It follows no redirect, keeps no cookie, reads no proxy from the environment, and sends a
request once: aiohttp repeats only idempotent methods on a stale connection, and we turn even that off.

Reach is checked three times: the URL's shape, each resolved address, and each socket's address. The
last one is needed because literal addresses never pass through a resolver. A host that the operator
configured (`is_trusted`) has its own pool, so that a trusted connection can never serve another call.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from cronsched.core.http.body import MAX_BODY_BYTES, BodyReader
from cronsched.core.http.faults import Fault, explain
from cronsched.core.http.guard import AddressPolicy, UrlRefusal, judge_url, parse_url
from cronsched.core.http.resolver import Lookup, LookupPool, PolicyResolver, check_sockaddr
from cronsched.core.text import strip_unstorable

__all__ = ["AddressPolicy", "Fault", "HttpClient", "HttpRequest", "HttpResult"]

# Short on purpose: a burst to one host shares connections, and servers that close idle ones (after
# 2 s and more) are not met half-way, which would fail a POST that we must not repeat.
_KEEPALIVE_S: Final = 1.0
# GitHub refuses more than 100 concurrent requests (docs: rate limits for the REST API).
_TRUSTED_PER_HOST: Final = 80
# aiohttp warns about raw bytes above 1 MiB; a file object is written piece by piece.
_MAX_RAW_BODY: Final = 1024 * 1024
_KEPT_HEADERS: Final = (
    "content-type",
    "etag",
    "github-authentication-token-expiration",
    "location",
    "retry-after",
    "x-accepted-github-permissions",
    "x-github-request-id",
    "x-oauth-scopes",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)
_MAX_HEADER_CHARS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """One call. `timeout_s` bounds all of it: look-up, connection, TLS, request and whole answer."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    timeout_s: float = 30.0
    # The operator configured this host: it may be private, and plain http.
    is_trusted: bool = False
    # Of the answer, after decompression; what is beyond is cut.
    max_body_bytes: int = MAX_BODY_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResult:
    """What came of a call: a whole answer (`error` None), or a fault with a sentence for people.

    A fault may come with the status and the beginning of an answer that never ended.
    """

    status: int | None = None
    # Lowercase names; only the few that someone reads.
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    is_truncated: bool = False
    error: Fault | None = None
    message: str = ""
    # False: no byte of the request left, so that it may be repeated safely. True: unknown or more.
    was_sent: bool = False


class _Withheld(Exception):
    """The caller's gate refused, on an open connection, before the first byte."""


class _Exchange:
    """How far one call got. The connector finds it through a context variable."""

    __slots__ = ("body", "gate", "headers", "status", "was_sent")

    def __init__(self, gate: Callable[[], bool] | None, max_body_bytes: int) -> None:
        self.gate = gate
        self.was_sent = False
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body = BodyReader(max_body_bytes)

    def open(self) -> None:
        if self.gate is not None and not self.gate():
            raise _Withheld
        self.was_sent = True

    def result(self, error: Fault | None = None, message: str = "") -> HttpResult:
        return HttpResult(
            status=self.status,
            headers=self.headers,
            body=self.body.text() if self.status is not None else "",
            is_truncated=self.body.is_truncated,
            error=error,
            message=f"{strip_unstorable(message).rstrip('.')}." if error else "",
            was_sent=self.was_sent,
        )


_EXCHANGE: ContextVar[_Exchange] = ContextVar("exchange")


class _Connector(aiohttp.TCPConnector):
    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Open the gate between the connection and the request: the latest moment there is."""
        connection = await super().connect(*args, **kwargs)
        try:
            _EXCHANGE.get().open()
        except BaseException:
            connection.release()
            raise
        return connection


class HttpClient:
    """A pool of connections. An async context manager, used in the loop that entered it.

    `limit` bounds the calls in flight to untrusted hosts; more wait, at the cost of their own time.
    `lookup` has the signature of `socket.getaddrinfo` and runs in threads.
    """

    def __init__(
        self,
        *,
        policy: AddressPolicy,
        allow_http: bool = False,
        limit: int = 1000,
        lookup: Lookup = socket.getaddrinfo,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._allow_http = allow_http
        self._limit = limit
        self._lookup = lookup
        self._tls = tls

    async def __aenter__(self) -> Self:
        self._pool = LookupPool()
        self._resolver = self._make_resolver(self._policy)
        self._trusted_resolver = self._make_resolver(None)
        self._session = self._make_session(self._resolver, self._policy, limit=self._limit)
        self._trusted = self._make_session(
            self._trusted_resolver, None, limit=0, limit_per_host=_TRUSTED_PER_HOST
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        await self._session.close()
        await self._trusted.close()

    async def send(self, request: HttpRequest, *, gate: Callable[[], bool] | None = None) -> HttpResult:
        """Make one call. Returns a result for every network fault; only CancelledError is raised.

        `gate` is asked when the connection stands, immediately before the first byte of the request;
        when it says no, nothing is sent and the result's error is `Fault.WITHHELD`.
        """
        exchange = _Exchange(gate, request.max_body_bytes)
        url, refusal = _target(request.url, request.is_trusted, self._policy, self._allow_http)
        if refusal is not None:
            fault = Fault.BLOCKED_ADDRESS if refusal.is_blocked else Fault.CONFIGURATION
            return exchange.result(fault, refusal.sentence)
        deadline = asyncio.timeout(request.timeout_s)
        try:
            async with deadline:
                await self._exchange(exchange, request, url)
        except _Withheld:
            return exchange.result(Fault.WITHHELD, "Withheld before it was sent")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if deadline.expired():
                return self._timed_out(exchange, request, url)
            told = explain(error, host=url.host or "", port=url.port, has_status=exchange.status is not None)
            return exchange.result(told.fault, told.sentence)
        return exchange.result()

    async def _exchange(self, exchange: _Exchange, request: HttpRequest, url: URL) -> None:
        session = self._trusted if request.is_trusted else self._session
        body = request.body if len(request.body) <= _MAX_RAW_BODY else io.BytesIO(request.body)
        token = _EXCHANGE.set(exchange)
        try:
            response = await session.request(
                request.method, url, data=body, headers=request.headers, allow_redirects=False
            )
        finally:
            _EXCHANGE.reset(token)
        exchange.status = response.status
        exchange.headers = _kept_headers(response.headers)
        try:
            await exchange.body.read(response)
        except BaseException:
            response.close()
            raise
        # Not `async with response`: its exit waits for the rest of our own request to be written,
        # which a server that answered early need never read.
        if exchange.body.is_truncated:
            response.close()
        else:
            response.release()

    def _timed_out(self, exchange: _Exchange, request: HttpRequest, url: URL) -> HttpResult:
        within = f"within {request.timeout_s:g} s"
        resolver = self._trusted_resolver if request.is_trusted else self._resolver
        if exchange.status is not None:
            message = f"The answer (status {exchange.status}) did not end {within}"
        elif exchange.was_sent:
            message = f"No answer {within}"
        elif resolver.is_under_way(url.raw_host or ""):
            return exchange.result(Fault.DNS, f"The name {url.host} could not be resolved {within}")
        else:
            message = f"No connection to {url.host}:{url.port} {within}"
        return exchange.result(Fault.TIMEOUT, message)

    def _make_resolver(self, policy: AddressPolicy | None) -> PolicyResolver:
        return PolicyResolver(policy=policy, pool=self._pool, lookup=self._lookup)

    def _make_session(
        self, resolver: PolicyResolver, policy: AddressPolicy | None, *, limit: int, limit_per_host: int = 0
    ) -> aiohttp.ClientSession:
        connector = _Connector(
            resolver=resolver,
            socket_factory=partial(_make_socket, policy),
            limit=limit,
            limit_per_host=limit_per_host,
            keepalive_timeout=_KEEPALIVE_S,
            ssl=self._tls or True,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            # Ours is the only deadline; aiohttp's own would round theirs up to whole seconds.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"Accept-Encoding": "identity"},
        )
        # Not a public option: without it PUT and DELETE would be repeated on a stale connection.
        session._retry_connection = False
        return session


_NO_URL: Final = URL()


@lru_cache(maxsize=4096)
def _target(
    text: str, is_trusted: bool, policy: AddressPolicy, allow_http: bool
) -> tuple[URL, UrlRefusal | None]:
    """The URL to call, or why it may not be called. Cached: jobs call the same URLs again and again."""
    try:
        url = parse_url(text)
    except ValueError:
        return _NO_URL, UrlRefusal(sentence="The URL is not valid.")
    if not is_trusted:
        return url, judge_url(text, policy, allow_http=allow_http)
    if url.scheme in ("http", "https") and url.raw_host and "@" not in url.raw_authority:
        return url, None
    return url, UrlRefusal(sentence="The configured URL is not a plain http(s) URL.")


def _make_socket(policy: AddressPolicy | None, info: aiohttp.AddrInfoType) -> socket.socket:
    """Create the socket for a final address, or refuse: nothing gets past this."""
    family, kind, proto, _, sockaddr = info
    check_sockaddr(policy, str(sockaddr[0]))
    return socket.socket(family=family, type=kind, proto=proto)


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: strip_unstorable(headers[name])[:_MAX_HEADER_CHARS] for name in _KEPT_HEADERS if name in headers
    }
