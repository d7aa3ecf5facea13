from __future__ import annotations

import io
import json
from typing import Any

import pytest

from cronsched.core.api.exceptions import InvalidPayload
from cronsched.core.api.parsers import MAX_DEPTH, JsonObjectParser
from cronsched.core.errors import DomainError, InvalidInput


def parse(body: bytes) -> Any:
    return JsonObjectParser().parse(io.BytesIO(body))


def nested(depth: int) -> str:
    return '{"metadata": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", {}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('{"name": "日本語 🗾"}'.encode(), {"name": "日本語 🗾"}),
        (rb'{"name": "\ud83d\uddfe"}', {"name": "🗾"}),
        (b'{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        (nested(MAX_DEPTH).encode(), json.loads(nested(MAX_DEPTH))),
    ],
)
def test_objects_are_read(body: bytes, expected: Any) -> None:
    assert parse(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"{'a': 1}",
        b"[]",
        b'"text"',
        b"7",
        b"null",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1} trailing',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        rb'{"\u0000": 1}',
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_other_bodies_are_invalid_payloads(body: bytes) -> None:
    with pytest.raises(InvalidPayload) as refusal:
        parse(body)

    assert (refusal.value.status, refusal.value.error) == (400, "Invalid payload")


@pytest.mark.parametrize(
    "value",
    [
        r'"a\u0000b"',
        r'"\ud800"',
        r'["fine", {"deep": "\udfff"}]',
        r'{"ke\u0000y": 1}',
        "1e999",
        "[-1e400]",
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * 400 + "1" + "}" * 400,
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_stored_names_its_field(value: str) -> None:
    with pytest.raises(DomainError) as refusal:
        parse(f'{{"fine": "ok", "metadata": {value}}}'.encode())

    assert isinstance(refusal.value, InvalidInput)
    assert list(refusal.value.details) == ["metadata"]
