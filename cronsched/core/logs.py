"""Log lines that nobody can forge, and that give no secret away; nor does an error that is shown.

Our own messages end in `name=value` words ("planned due=3 queued=3"), so that a line reads well and
can be taken apart; as JSON each of them is a field.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime
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
        self._secrets = longest_first(secrets)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = record.message.translate(_ESCAPES)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        # Indented, so that an exception's text cannot pass for a line of the log either.
        return "\n".join(f"    {line}" for line in super().formatException(ei).splitlines())

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._secrets)


class JsonFormatter(logging.Formatter):
    """One record, one JSON object on one line: time, level, logger, event, the event's fields, the error.

    Values are text, as they stand in the message. Known `secrets` are cut out.
    """

    def __init__(self, *, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = longest_first(secrets)

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        event, fields = _take_apart(record)
        entry: dict[str, Any] = {
            **fields,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": event or message,
            "message": message,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        # Before it is written as JSON, where a quotation mark in a secret would read otherwise.
        return json.dumps({name: redact(value, self._secrets) for name, value in entry.items()})


# In a message before its values stand in it: "%s", and "name=%s" as a word.
_PLACE = re.compile(r"(?:(?<!\S)(?P<name>[a-z][a-z_0-9]*)=)?(?P<spec>%[#0\- +]*\d*(?:\.\d+)?[a-zA-Z%])")
# In one that has none. A field's value ends at the next field, or with the line: "error=no such table: x".
_FIELD = re.compile(r"(?:^|(?<=\s))([a-z][a-z_0-9]*)=(.*?)(?=\s+[a-z][a-z_0-9]*=|$)", re.DOTALL)


def _take_apart(record: logging.LogRecord) -> tuple[str, dict[str, str]]:
    """The event and its fields, by the places of the values: none of them can pass for a field."""
    template, values = str(record.msg), record.args
    if not values:
        return _FIELD.split(template)[0].strip(" ,"), dict(_FIELD.findall(template))
    places = [place for place in _PLACE.finditer(template) if place["spec"] != "%%"]
    named = [number for number, place in enumerate(places) if place["name"]]
    if not named or not isinstance(values, tuple):
        return record.getMessage().strip(" ,"), {}
    event = template[: places[named[0]].start()] % values[: named[0]]
    return event.strip(" ,"), {
        places[number]["name"]: places[number]["spec"] % (values[number],) for number in named
    }


def longest_first(secrets: Iterable[str]) -> list[str]:
    """Secrets in the order in which `redact` has to look for them: a longer one may hold a shorter one."""
    return sorted({one for one in secrets if len(one) >= _LEAST_CHARS}, key=len, reverse=True)


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` with a mark in the place of each of `secrets`, as `longest_first` gives them."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text
