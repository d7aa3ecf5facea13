"""Log lines that nobody can forge, and that give no secret away."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

REDACTED = "[redacted]"
# Shorter ones are found in every other word.
_LEAST_CHARS = 6
# Control characters, written as Python writes them: a name with a line end must not look like a line.
_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029)}


class LineFormatter(logging.Formatter):
    """One record, one line; only a traceback follows on lines of its own. Known `secrets` are cut out."""

    def __init__(
        self, format: str, *, datefmt: str | None = None, style: Any = "{", secrets: Iterable[str] = ()
    ) -> None:
        super().__init__(format, datefmt=datefmt, style=style)
        # A longer one may hold a shorter one.
        self._secrets = sorted({one for one in secrets if len(one) >= _LEAST_CHARS}, key=len, reverse=True)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = record.message.translate(_ESCAPES)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        # Indented, so that an exception's text cannot pass for a line of the log either.
        return "\n".join(f"    {line}" for line in super().formatException(ei).splitlines())

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text
