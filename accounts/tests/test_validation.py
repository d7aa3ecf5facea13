from __future__ import annotations

from typing import Any

import pytest

from accounts.validation import clean_fields
from cronsched.core.errors import InvalidInput

GOOD: list[tuple[str, Any, Any]] = [
    ("username", "abc", "abc"),
    ("username", "John_Doe_1", "John_Doe_1"),
    ("username", " padded ", "padded"),
    ("username", "x" * 80, "x" * 80),
    ("username", "田中太郎", "田中太郎"),
    ("username", "Ju\u0308rgen", "Jürgen"),
    ("email", "a@example.com", "a@example.com"),
    ("email", " A.B+c@Example.co.jp ", "A.B+c@Example.co.jp"),
    ("email", "a" * 60 + "@" + "b" * 55 + ".com", "a" * 60 + "@" + "b" * 55 + ".com"),
    ("password", "123456", "123456"),
    ("password", "      ", "      "),
    ("password", " ünïcödé 🔑 ", " ünïcödé 🔑 "),
    ("role", "admin", "admin"),
    ("is_active", False, False),
]

BAD: list[tuple[str, Any]] = [
    *(
        ("username", value)
        for value in ("", "ab", "x" * 81, "a b c", "a-b-c", "a@b.c", "abc\x00", "ab🔑", None, 7, [])
    ),
    *(
        ("email", value)
        for value in ("", "a", "a@", "@b.com", "a b@c.com", "a@b", "a@b..com", None, 7, {}, "a\x00@b.com")
    ),
    ("email", "a" * 61 + "@" + "b" * 55 + ".com"),
    *(("password", value) for value in ("", "12345", None, 123456, ["123456"], "12345\x00", "12345\ud800")),
    *(("is_active", value) for value in (None, "true", 1, 0, "", [])),
]


@pytest.mark.parametrize(("field", "value", "expected"), GOOD)
def test_good_values_are_kept_as_they_are_meant(field: str, value: Any, expected: Any) -> None:
    assert clean_fields({field: value}) == {field: expected}


@pytest.mark.parametrize(("field", "value"), BAD)
def test_bad_values_name_their_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        clean_fields({field: value})

    assert list(refusal.value.details) == [field]
    assert refusal.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize("role", ["", "root", "Admin", None, 7, [], {}, True])
def test_an_unknown_role_is_refused_in_the_words_of_the_contract(role: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        clean_fields({"role": role})

    assert refusal.value.error == "Invalid role"
    assert refusal.value.message == "Role must be one of: admin, user, viewer"


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refusal:
        clean_fields({"username": "a", "email": "b", "password": "c"})

    assert list(refusal.value.details) == ["username", "email", "password"]
