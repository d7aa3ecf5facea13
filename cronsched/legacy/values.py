"""What stands in the earlier system's columns, as Python values. Pure.

SQLite keeps times, dates and booleans as text and numbers, MySQL as types of their own; both keep
ids, JSON and lists as text. Times are UTC without saying so.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from cronsched.core.text import strip_unstorable

_FALSE = frozenset({"", "0", "false", "f", "no", "n", "off"})


def moment(value: Any) -> datetime | None:
    """An aware UTC time. None for nothing, and for what is no time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        return None


def day(value: Any) -> date | None:
    """A date; of a time, its day. ValueError for what is none."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(str(value).strip()[:10])


def flag(value: Any, default: bool) -> bool:
    if value is None:
        return default
    return value.strip().lower() not in _FALSE if isinstance(value, str) else bool(value)


def text(value: Any) -> str:
    """ "" for nothing; without what no database of ours can hold."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None else strip_unstorable(str(value))


def uuid_of(value: Any) -> UUID | None:
    """None for what is no id."""
    with suppress(ValueError, AttributeError):
        return UUID(text(value).strip())
    return None


def number(value: Any) -> float | None:
    with suppress(TypeError, ValueError):
        found = float(value)
        return found if abs(found) < 1e15 else None
    return None


def json_object(value: Any) -> dict[str, Any]:
    """The object in a JSON text; {} for nothing. ValueError for anything else."""
    found = json.loads(value) if isinstance(value, str | bytes) and value.strip() else value
    if found is None or found in ("", b""):
        return {}
    if isinstance(found, str):
        # Encoded twice: what a JSON column makes of a text.
        found = json.loads(found) if found.strip() else {}
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def addresses(value: Any) -> list[str]:
    """E-mail addresses of a comma-separated text, or of a JSON list."""
    plain = text(value).strip()
    if plain.startswith("["):
        with suppress(ValueError):
            return [text(item).strip() for item in json.loads(plain) if text(item).strip()]
    return [item.strip() for item in plain.replace(";", ",").split(",") if item.strip()]
