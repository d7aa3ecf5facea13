"""Reads query and form parameters strictly: what cannot be understood is a 400 that names it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from uuid import UUID

from cronsched.core.errors import InvalidInput
from cronsched.core.text import is_storable

# Query parameters as Django parses them: the last one wins where a name is repeated.
Params = Mapping[str, str]

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)
# More digits than any bound has; int() would refuse thousands of them, which is not "too large".
_MOST_DIGITS = 18


def parse_uuid(text: str) -> UUID | None:
    """The id, or None for whatever is not written as 36 characters: such a thing cannot exist."""
    return UUID(text) if _UUID.fullmatch(text) else None


def parse_bool(text: str, *, field: str) -> bool:
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise InvalidInput(f"{field} must be true or false (or 1/0, yes/no, on/off).", field=field)


def read_bool(params: Params, name: str, *, default: bool | None = None) -> bool | None:
    """The parameter as a boolean; `default` where it is absent."""
    return parse_bool(params[name], field=name) if name in params else default


def read_int(params: Params, name: str, *, default: int, maximum: int) -> int:
    """A whole number from 1: a larger one than `maximum` is clamped, anything else refused."""
    if name not in params:
        return default
    text = params[name].strip()
    if not _WHOLE_NUMBER.fullmatch(text):
        raise InvalidInput(f"{name} must be a whole number.", field=name)
    digits = text.lstrip("+-").lstrip("0")
    if text.startswith("-") or not digits:
        raise InvalidInput(f"{name} must be 1 or more.", field=name)
    return maximum if len(digits) > _MOST_DIGITS else min(int(digits), maximum)


def read_uuid(params: Params, name: str) -> UUID | None:
    """None where the parameter is absent; 400 where it is no id."""
    if name not in params:
        return None
    value = parse_uuid(params[name].strip())
    if value is None:
        raise InvalidInput(f"{name} must be a UUID.", field=name)
    return value


def read_choice(params: Params, name: str, choices: Collection[str]) -> str | None:
    if name not in params:
        return None
    return _known(params[name].strip(), name, choices)


def read_choices(params: Params, name: str, choices: Collection[str]) -> list[str] | None:
    """One or more comma-separated words of `choices`; None where the parameter is absent."""
    if name not in params:
        return None
    return [_known(word.strip(), name, choices) for word in params[name].split(",")]


def refuse_unstorable(params: Params) -> None:
    """NUL and lone surrogates never reach the database, which would refuse them with an error."""
    for name in params:
        if not is_storable(name) or not is_storable(params[name]):
            shown = name if is_storable(name) else "query"
            raise InvalidInput(f"{shown} holds a character that cannot be stored.", field=shown)


def _known(word: str, name: str, choices: Collection[str]) -> str:
    if word not in choices:
        raise InvalidInput(f"{name} must be one of: {', '.join(choices)}.", field=name)
    return word
