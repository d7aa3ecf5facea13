"""The OpenAPI document says of each call what it takes, what it answers, and how it refuses."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from accounts.validation import clean_username
from tests.contract.calls import CALLS
from tests.contract.document import ERROR, Operation, document, examples_of, faults, operations

EVERY = pytest.mark.parametrize("operation", operations().values(), ids=lambda operation: operation.id)
# Open to anyone, and still refused: a wrong password, a token that is none.
SIGN_INS = {"auth_login", "auth_login_form", "auth_refresh"}
# What only some calls can answer with; the rest follows from path, body, query and rights.
OWN = {
    "409": {
        "auth_register",
        "users_update",
        "categories_create",
        "categories_update",
        "teams_create",
        "teams_update",
    },
    "429": {"auth_login", "auth_login_form", "cron_tools_test_run"},
    "503": {"system_health"},
    # No body and no query, and yet: oneself, the last admin, and the general category.
    "400": {"users_destroy", "categories_destroy"},
    # Not signed as it should be; nobody has set it up.
    "403": {"github_webhook"},
    "404": {"github_webhook"},
}


def refusals(operation: Operation) -> set[str]:
    return {status for status in operation.spec["responses"] if status >= "400"}


def expected_refusals(operation: Operation) -> set[str]:
    has_body = "requestBody" in operation.spec
    has_query = any(one["in"] == "query" for one in operation.parameters)
    rules = {
        "400": has_body or has_query,
        "401": not operation.is_open or operation.id in SIGN_INS,
        "403": any("403" in row.who for row in CALLS if row.op == operation.id),
        "404": "{" in operation.path,
        "406": operation.id != "system_health",
        "413": has_body,
        "415": has_body,
        "500": True,
    }
    own = {status for status, names in OWN.items() if operation.id in names}
    return own | {status for status, holds in rules.items() if holds}


@EVERY
def test_the_refusals_are_those_that_it_can_answer_with(operation: Operation) -> None:
    assert refusals(operation) == expected_refusals(operation)


@EVERY
def test_every_refusal_has_the_one_shape_and_an_example(operation: Operation) -> None:
    for status in refusals(operation) - {"503"}:
        assert operation.media(status)["schema"] == ERROR
    for status in refusals(operation):
        examples = examples_of(operation.media(status))
        assert examples, status
        assert all(example["error"] and example["message"] for example in examples)


@EVERY
def test_every_example_obeys_its_schema(operation: Operation) -> None:
    for media in media_of(operation):
        for example in examples_of(media):
            assert faults(media["schema"], example) == []


@EVERY
def test_every_request_and_every_answer_has_an_example(operation: Operation) -> None:
    assert all(examples_of(media) for media in media_of(operation))


@EVERY
def test_every_example_says_something(operation: Operation) -> None:
    """`text` stands where cronsched.examples knows nothing better."""
    assert not any('"text"' in json.dumps(examples_of(media)) for media in media_of(operation))


@EVERY
def test_who_has_to_sign_in_is_told_how(operation: Operation) -> None:
    responses = operation.spec["responses"]
    assert operation.spec["summary"]
    assert ("401" not in responses) or "WWW-Authenticate" in responses["401"]["headers"]
    assert ("429" not in responses) or "Retry-After" in responses["429"]["headers"]


def media_of(operation: Operation) -> list[Any]:
    bodies = [operation.spec.get("requestBody", {}), *operation.spec["responses"].values()]
    return [media for body in bodies for media in body.get("content", {}).values()]


@pytest.mark.parametrize(
    "name", ["john_doe", "山田_太郎", "Ångström", "имя9", "٣٤٥", "a b", "a-b", "a.b", "ab", "x" * 81]
)
def test_a_username_is_in_the_document_what_it_is_to_the_server(name: str) -> None:
    properties = document()["components"]["schemas"]["RegisterRequest"]["properties"]
    try:
        clean_username(name)
        is_accepted = True
    except ValueError:
        is_accepted = False

    assert jsonschema_rs.is_valid(properties["username"], name) is is_accepted
