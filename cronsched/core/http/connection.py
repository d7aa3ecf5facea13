"""One HTTP/1.1 connection: a request goes out, its answer comes in, for as many calls as the server lets.

The grammar is httptools' (llhttp, the parser of Node.js). Ours are the bounds: a head that has no end, a
body beyond its limit and a server that hangs up end the exchange, and the connection with it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from cronsched.core.http.body import MAX_BODY_BYTES, BodyReader

_MAX_FIELD: Final = 8190
_MAX_HEAD: Final = 64 * 1024
# For each byte of the body that is kept: with the frames of its chunks, and what follows the last of them.
_ANSWER_FACTOR: Final = 16
# Lower case; the few that someone reads.
_KEPT: Final = frozenset(
    {
        b"content-encoding",
        b"content-type",
        b"date",
        b"etag",
        b"github-authentication-token-expiration",
        b"location",
        b"retry-after",
        b"x-accepted-github-permissions",
        b"x-github-request-id",
        b"x-oauth-scopes",
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
    }
)


class InvalidAnswer(ConnectionError):
    """What came is not HTTP, or a head without end."""


class HungUp(ConnectionError):
    """The server closed the connection before its answer ended."""


class Answer:
    """One answer as far as it has come. `status` is None until its head is whole."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = BodyReader(max_body_bytes)


class Connection(asyncio.Protocol):
    """Used by one call at a time, in the loop that opened it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._parser: Any = None
        self._loss: Exception | None = None
        # Whether another call may follow: known when an answer has ended.
        self.is_reusable = False

    async def exchange(self, request: bytes, answer: Answer) -> None:
        """Send the request (never a HEAD) and fill in the answer, to its end or the limit of its body.

        Raises OSError; what came until then stands in the answer. The end of the request is not waited for:
        a server that answered early need never read it.
        """
        self.is_reusable = False
        if self._transport.is_closing():
            raise self._loss or HungUp
        self._answer = answer
        self._bytes = 0
        self._ends_with_connection = True
        self._parser = HttpResponseParser(self)
        # As lenient as browsers are with servers that are careless about spaces and line ends.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            await self._ended
        finally:
            # It refers to us as we do to it: without this, both would wait for the garbage collector.
            self._answer = self._parser = None

    def close(self) -> None:
        """Drop the connection. What the server has not read of our request goes with it."""
        self.is_reusable = False
        self._transport.abort()

    # What the loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it where the loop is uvloop's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            # Nobody asked: whatever it is, the next call must not take it for its answer.
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            # What follows is no HTTP any more, although the parser would keep it.
            self.is_reusable = False
            self._end()
        except HttpParserError:
            self._end(InvalidAnswer())
        self._bound(len(data))

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        if self._answer is None:
            self._loss = self._loss or error
            return
        is_whole = error is None and self._answer.status is not None and self._ends_with_connection
        self._end(None if is_whole else error or HungUp())

    # What the parser tells.

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) + len(value) > _MAX_FIELD:
            raise InvalidAnswer
        name = name.lower()
        if name in _KEPT and self._answer is not None:
            self._answer.headers.setdefault(name.decode(), value.decode("utf-8", "ignore").strip())
        elif name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
            self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._answer is None:
            # A second answer to one request.
            raise InvalidAnswer
        if _is_interim(status):
            self._answer.headers.clear()
            self._ends_with_connection = True
            return
        self._answer.status = status
        self._answer.body.begin(self._answer.headers)

    def on_body(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.body.feed(data)
            if self._answer.body.is_truncated:
                self._end()

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status is not None:
            is_sent = not self._transport.get_write_buffer_size()
            self.is_reusable = self._parser.should_keep_alive() and is_sent
            self._end()

    def on_message_begin(self) -> None:
        # After the end of our answer: the connection is out of step.
        self.is_reusable = self.is_reusable and self._answer is not None

    def _bound(self, size: int) -> None:
        self._bytes += size
        if self._answer is None:
            return
        if self._answer.status is None and self._bytes > _MAX_HEAD:
            self._end(InvalidAnswer())
        elif self._bytes > _MAX_HEAD + _ANSWER_FACTOR * self._answer.body.limit:
            self._answer.body.is_truncated = True
            self._end()

    def _end(self, error: Exception | None = None) -> None:
        self._answer = None
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


def _is_interim(status: int) -> bool:
    """100 Continue, 103 Early Hints: the answer is still to come. 101 ends the talk in HTTP."""
    return 100 <= status < 200 and status != 101
