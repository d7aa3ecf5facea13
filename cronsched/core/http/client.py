"""The one way out: HTTP calls to addresses that a user chose, bounded in time, size and reach.

`HttpClient.send` returns a result for everything the network can do and raises only when it is
cancelled. It follows no redirect, keeps no cookie, reads no proxy from the environment, and sends a
request once, whatever the connection does.

Reach is checked three times: the URL's shape, each resolved address, and each socket's address. The
last one is needed because literal addresses never pass through a resolver. A host that the operator
configured (`is_trusted`) has its own pool, so that a trusted connection can never serve another call.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

from yarl import URL

from cronsched.core.http.body import MAX_BODY_BYTES
from cronsched.core.http.connection import Answer
from cronsched.core.http.faults import Fault, explain
from cronsched.core.http.guard import AddressPolicy, UrlRefusal, judge_parsed, parse_url
from cronsched.core.http.pool import Pool
from cronsched.core.http.resolver import Lookup, LookupPool, PolicyResolver
from cronsched.core.text import strip_unstorable

__all__ = ["AddressPolicy", "Fault", "HttpClient", "HttpRequest", "HttpResult"]

# GitHub refuses more than 100 concurrent requests (docs: rate limits for the REST API).
_TRUSTED_PER_HOST: Final = 80
_OWN_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity"}


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
    """How far one call got."""

    __slots__ = ("answer", "gate", "was_sent")

    def __init__(self, gate: Callable[[], bool] | None, max_body_bytes: int) -> None:
        self.gate = gate
        self.was_sent = False
        self.answer = Answer(max_body_bytes)

    def open(self) -> None:
        """Between the connection and the request: the latest moment there is."""
        if self.gate is not None and not self.gate():
            raise _Withheld
        self.was_sent = True

    def result(self, error: Fault | None = None, message: str = "") -> HttpResult:
        status, body = self.answer.status, self.answer.body
        return HttpResult(
            status=status,
            headers=self.answer.headers if status is not None else {},
            body=body.text() if status is not None else "",
            is_truncated=body.is_truncated,
            error=error,
            message=f"{strip_unstorable(message).rstrip('.')}." if error else "",
            was_sent=self.was_sent,
        )


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
        self._lookups = LookupPool()
        self._resolver = self._make_resolver(self._policy)
        self._trusted_resolver = self._make_resolver(None)
        tls = self._tls or _default_tls()
        self._untrusted = Pool(policy=self._policy, resolver=self._resolver, tls=tls, limit=self._limit)
        self._trusted = Pool(
            policy=None, resolver=self._trusted_resolver, tls=tls, limit=_TRUSTED_PER_HOST, is_per_host=True
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lookups.close()
        self._untrusted.close()
        self._trusted.close()
        # Let the loop close the sockets.
        await asyncio.sleep(0)

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
        except (OSError, ValueError) as error:
            if deadline.expired():
                return self._timed_out(exchange, request, url)
            told = explain(
                error,
                host=url.host or "",
                port=url.port,
                was_sent=exchange.was_sent,
                has_status=exchange.answer.status is not None,
            )
            return exchange.result(told.fault, told.sentence)
        return exchange.result()

    async def _exchange(self, exchange: _Exchange, request: HttpRequest, url: URL) -> None:
        pool = self._trusted if request.is_trusted else self._untrusted
        message = _encode(request, url)
        async with pool.seat(url):
            connection = await pool.take(url)
            try:
                exchange.open()
                await connection.exchange(message, exchange.answer)
            finally:
                # One whose exchange did not come to its end is not kept.
                pool.give_back(url, connection)

    def _timed_out(self, exchange: _Exchange, request: HttpRequest, url: URL) -> HttpResult:
        within = f"within {request.timeout_s:g} s"
        resolver = self._trusted_resolver if request.is_trusted else self._resolver
        if exchange.answer.status is not None:
            message = f"The answer (status {exchange.answer.status}) did not end {within}"
        elif exchange.was_sent:
            message = f"No answer {within}"
        elif resolver.is_under_way(url.raw_host or ""):
            return exchange.result(Fault.DNS, f"The name {url.host} could not be resolved {within}")
        else:
            message = f"No connection to {url.host}:{url.port} {within}"
        return exchange.result(Fault.TIMEOUT, message)

    def _make_resolver(self, policy: AddressPolicy | None) -> PolicyResolver:
        return PolicyResolver(policy=policy, pool=self._lookups, lookup=self._lookup)


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
        return url, judge_parsed(text, url, policy, allow_http=allow_http)
    if url.scheme in ("http", "https") and url.raw_host and "@" not in url.raw_authority:
        return url, None
    return url, UrlRefusal(sentence="The configured URL is not a plain http(s) URL.")


def _encode(request: HttpRequest, url: URL) -> bytes:
    """The request as it goes over the wire. Raises ValueError for a header that would break it."""
    headers = {**_OWN_HEADERS, **request.headers}
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if fields.count("\n") != len(headers) or fields.count("\r") != len(headers) or "\0" in fields:
        raise ValueError("a header holds a line break")
    head = (
        f"{request.method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        f"{fields}Content-Length: {len(request.body)}\r\n\r\n"
    )
    return head.encode() + request.body


@lru_cache(maxsize=1)
def _default_tls() -> ssl.SSLContext:
    """Made once: it reads the system's certificates."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
