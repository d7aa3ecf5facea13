from __future__ import annotations

from uuid import UUID

import pytest

from cronsched.core.api.params import (
    parse_uuid,
    read_bool,
    read_choice,
    read_choices,
    read_int,
    read_uuid,
    refuse_unstorable,
)
from cronsched.core.errors import InvalidInput

ID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(word, True) for word in ("true", "True", "TRUE", "1", "yes", "on", " on ")]
    + [(word, False) for word in ("false", "FALSE", "0", "no", "Off")],
)
def test_booleans_in_any_case(text: str, expected: bool) -> None:
    assert read_bool({"flag": text}, "flag") is expected


@pytest.mark.parametrize("text", ["", "2", "-1", "yep", "null", "tru", "t", "1.0"])
def test_other_words_are_no_booleans(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_bool({"flag": text}, "flag")

    assert list(refusal.value.details) == ["flag"]


def test_an_absent_boolean_is_the_default() -> None:
    assert read_bool({}, "flag") is None
    assert read_bool({}, "flag", default=True) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("20", 20),
        (" 7 ", 7),
        ("+7", 7),
        ("007", 7),
        ("200", 200),
        ("201", 200),
        ("99999999999999999999", 200),
        ("9" * 6000, 200),
    ],
)
def test_numbers_are_clamped_to_the_maximum(text: str, expected: int) -> None:
    assert read_int({"limit": text}, "limit", default=20, maximum=200) == expected


@pytest.mark.parametrize(
    "text", ["0", "-1", "000", "", "ten", "1.5", "1e3", "٣", "１", "0x10", "1_000", "--1"]
)
def test_numbers_below_one_and_what_is_no_number_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_int({"limit": text}, "limit", default=20, maximum=200)

    assert list(refusal.value.details) == ["limit"]


@pytest.mark.parametrize("text", [ID, ID.upper()])
def test_ids_have_36_characters(text: str) -> None:
    assert parse_uuid(text) == UUID(ID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        ID + "\n",
        ID[:-1],
        ID[:-1] + "g",
        ID + "\x00",
    ],
)
def test_other_spellings_are_no_ids(text: str) -> None:
    assert parse_uuid(text) is None


def test_a_bad_id_in_a_query_is_refused() -> None:
    assert read_uuid({"job_id": ID}, "job_id") == UUID(ID)
    assert read_uuid({}, "job_id") is None
    with pytest.raises(InvalidInput):
        read_uuid({"job_id": "7"}, "job_id")


def test_choices_are_known_words_separated_by_commas() -> None:
    known = ("queued", "running")

    assert read_choices({"status": "queued, running"}, "status", known) == ["queued", "running"]
    assert read_choices({}, "status", known) is None
    assert read_choice({"status": "queued"}, "status", known) == "queued"
    for text in ("", "queued,", "QUEUED", "done"):
        with pytest.raises(InvalidInput, match="must be one of: queued, running"):
            read_choices({"status": text}, "status", known)


@pytest.mark.parametrize("params", [{"search": "a\x00b"}, {"search": "\ud800"}, {"a\x00": "b"}])
def test_what_no_database_stores_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        refuse_unstorable(params)
