"""Reading an answer that may be hostile: bounded in bytes, decompressed within the same bound.

We ask for `Accept-Encoding: identity`. A server may compress nevertheless, by mistake or to fill
our memory, so decompression is ours: it stops at the limit, whatever the ratio.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Mapping
from email.message import Message
from functools import lru_cache
from typing import Final

from cronsched.core.text import strip_unstorable

# Bytes of an answer that are kept, after decompression.
MAX_BODY_BYTES: Final = 64 * 1024
# Compressed bytes read at most, for each byte kept: an endless stream that decompresses to nothing must
# end as well.
_WIRE_FACTOR: Final = 4

# Text codecs that are not for answers: slow on purpose-made input, or a source of lone surrogates.
_REFUSED_CODECS: Final = frozenset({"idna", "punycode", "utf-7", "unicode-escape", "raw-unicode-escape"})


class BodyReader:
    """Collects one answer. What was read stays readable when the connection breaks half-way."""

    def __init__(self, limit: int = MAX_BODY_BYTES) -> None:
        self.limit = limit
        self.is_truncated = False
        self._content = bytearray()
        self._charset = "utf-8"
        self._note = ""
        self._wire_bytes = 0
        self._decode: Callable[[bytes], bytes] | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """What the head says of the body. Lowercase names."""
        self._charset = _charset(headers.get("content-type", ""))
        self._decode = self._decoder(headers.get("content-encoding", "").lower())

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; beyond the limit it `is_truncated`, and no more need come."""
        self._wire_bytes += len(chunk)
        if self._decode is not None:
            self._content += self._decode(chunk)
        if len(self._content) > self.limit or self._wire_bytes > _WIRE_FACTOR * self.limit:
            self.is_truncated = True

    def text(self) -> str:
        """The answer as text that any database takes."""
        if self._note:
            return self._note
        content = bytes(self._content[: self.limit])
        decoder = codecs.getincrementaldecoder(self._charset)(errors="replace")
        # Not final when cut: the limit may have split a character, which is no fault of the server.
        return strip_unstorable(decoder.decode(content, not self.is_truncated))

    def _decoder(self, encoding: str) -> Callable[[bytes], bytes] | None:
        if encoding in ("", "identity"):
            return bytes
        if encoding in ("gzip", "x-gzip", "deflate"):
            return self._inflate()
        self._note = f"[the answer is encoded as {encoding[:40]}, which was not asked for and is not shown]"
        return None

    def _inflate(self) -> Callable[[bytes], bytes]:
        # 32 + 15: zlib tells gzip from zlib by itself.
        inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)

        def inflate(chunk: bytes) -> bytes:
            room = self.limit + 1 - len(self._content)
            try:
                return inflater.decompress(chunk, room)
            except zlib.error:
                self._note = "[the answer is compressed in a way that could not be read]"
                return b""

        return inflate


@lru_cache(maxsize=256)
def _charset(content_type: str) -> str:
    head = Message()
    head["content-type"] = content_type
    return _codec(head.get_content_charset("utf-8"))


def _codec(charset: str) -> str:
    """The codec for a charset that a server named; UTF-8 where there is none, or none for text."""
    try:
        found = codecs.lookup(charset)
        # `bytes.decode` refuses what is no text encoding (`hex`, `rot13`); trying finds out.
        bytes(4).decode(found.name, "replace")
    except (LookupError, ValueError):
        return "utf-8"
    is_refused = found.name.replace("_", "-") in _REFUSED_CODECS or found.incrementaldecoder is None
    return "utf-8" if is_refused else found.name
