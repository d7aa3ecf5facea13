"""One rule for when two names are the same: trimmed, in Unicode NFC, without case.

The database is never asked: MariaDB's default collation calls `é` and `e`, and any two emoji, the
same; SQLite and PostgreSQL do not. Names are compared by a stored key made here.
"""

from __future__ import annotations

import re
import unicodedata

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Control characters and line separators; and what reorders the text around it (Unicode TR 36, 2.5),
# which right-to-left text has no need of.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean_name(value: str) -> str:
    """The text as it is kept and shown: trimmed and in NFC."""
    return unicodedata.normalize("NFC", value).strip()


def name_key(value: str) -> str:
    """The text as it is compared and sorted. Casefolding may undo NFC, so that comes last."""
    return unicodedata.normalize("NFC", clean_name(value).casefold())


def is_storable(value: str) -> bool:
    """False for NUL and lone surrogates, which PostgreSQL and MariaDB refuse."""
    return _UNSTORABLE.search(value) is None


def is_readable_line(value: str) -> bool:
    """False for line breaks, other control characters and those that turn the direction of text around."""
    return _UNREADABLE.search(value) is None


def strip_unstorable(value: str) -> str:
    return _UNSTORABLE.sub("", value)
