"""Values as a history may keep them: of a secret only that there was one, and whether it changed.

What is secret is told by its name: a key (`api_token`, `clientSecret`), a parameter of a URL
(`?token=…`), or its place (`https://user:password@host`). Pure; no database.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

SET: Final = "[set]"
CHANGED: Final = "[changed]"
MARKS: Final = (SET, CHANGED)

_SECRET_WORDS: Final = frozenset(
    (
        *("password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "token", "tokens"),
        *("apikey", "auth", "authorization", "credential", "credentials", "cookie", "jwt", "bearer"),
        *("signature", "sig"),
    )
)
_SECRET_PAIRS: Final = frozenset({"api key", "private key", "access key", "signing key", "encryption key"})
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD: Final = re.compile(r"[a-z0-9]+")
USERINFO: Final = re.compile(r"(?<=://)[^/?#\s@]+(?=@)")
_PARAMETER: Final = re.compile(r"(?<=[?&;])([^=&;#\s]{1,100})=([^&;#\s]+)")
_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")
_MISSING: Final = object()


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name is a secret: `authToken` is, `author` is not."""
    words = _WORD.findall(_HUMP.sub(" ", name).lower())
    pairs = {f"{first} {second}" for first, second in itertools.pairwise(words)}
    return not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairs)


def masked_pair(old: Any, new: Any) -> list[Any]:
    """`[old, new]` without secrets; where only a secret changed, the new side says so."""
    return [_masked(old, _MISSING), _masked(new, old)]


def masked_target(target: str) -> str:
    """What a run called, for a message that leaves the house: without what may be a key to it.

    Of a URL the query is left out, and of a part of its path that looks like a token all but the last
    letters, as the Slack settings show theirs: "https://hooks.slack.com/services/T000/B000/…mnop". A
    path to a GitHub workflow stays as it is.
    """
    scheme, separator, rest = target.partition("://")
    if not separator:
        return target
    host, *parts = rest.partition("?")[0].partition("#")[0].split("/")
    return f"{scheme}://{'/'.join([host.rpartition('@')[2], *map(_masked_part, parts)])}"


def _masked_part(part: str) -> str:
    return f"…{part[-4:]}" if any(map(_is_tokenlike, _SEPARATORS.split(part))) else part


def _is_tokenlike(word: str) -> bool:
    """Words and short numbers are none; letters mixed with digits, or capitals with small letters, are."""
    is_mixed = not (word.isalpha() or word.isdigit())
    is_mixed_case = not (word.islower() or word.isupper() or word.istitle())
    size = len(word)
    return size >= 20 or (size >= 12 and is_mixed_case) or (size >= 8 and is_mixed)


def has_marks(value: Any) -> bool:
    """Whether something was taken out of the value, so that it cannot be put back as it is."""
    if isinstance(value, Mapping):
        return any(has_marks(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_marks(inner) for inner in value)
    return isinstance(value, str) and any(mark in value for mark in MARKS)


def filled_in(value: Any, present: Any) -> Any:
    """The value with what was taken out of it put back from `present`, as far as that has it.

    Ask `has_marks` of the answer: what is still marked has no counterpart any more.
    """
    if isinstance(value, Mapping):
        inner = present if isinstance(present, Mapping) else {}
        return {key: filled_in(each, inner.get(key)) for key, each in value.items()}
    if isinstance(value, list) and isinstance(present, list) and len(value) == len(present):
        return [filled_in(each, other) for each, other in zip(value, present, strict=True)]
    if not isinstance(value, str) or not has_marks(value):
        return value
    is_counterpart = value in MARKS or _plain(str(present)) == value.replace(CHANGED, SET)
    return present if present is not None and is_counterpart else value


def _masked(value: Any, before: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked_item(key, inner, before) for key, inner in value.items()}
    if isinstance(value, list):
        others = before if isinstance(before, list) and len(before) == len(value) else [_MISSING] * len(value)
        return [_masked(inner, other) for inner, other in zip(value, others, strict=True)]
    return _masked_text(value, before) if isinstance(value, str) and "/" in value else value


def _masked_item(key: str, value: Any, before: Any) -> Any:
    other = before.get(key, _MISSING) if isinstance(before, Mapping) else _MISSING
    if value in (None, "", False) or not is_secret_name(key):
        return _masked(value, other)
    return SET if other in (_MISSING, value) else CHANGED


def _masked_text(text: str, before: Any) -> str:
    """A text that may hold URLs."""
    mark = CHANGED if isinstance(before, str) and before != text and _plain(before) == _plain(text) else SET
    return _without_secrets(text, mark)


def _plain(text: str) -> str:
    return _without_secrets(text, SET)


def _without_secrets(text: str, mark: str) -> str:
    def parameter(found: re.Match[str]) -> str:
        return f"{found[1]}={mark}" if is_secret_name(unquote_plus(found[1])) else found[0]

    return _PARAMETER.sub(parameter, USERINFO.sub(mark, text))
