"""Every call, by every kind of caller: the status, the keys, the literal messages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.calls import CALLS, Call
from tests.contract.conftest import CALLERS, World
from tests.contract.document import faults, operations, untold
from tests.contract.shapes import differences, text

REFUSAL = {"error": text, "message": text}


@pytest.mark.parametrize("row", CALLS, ids=lambda row: f"{row.call} {','.join(row.body or ())}".strip())
def test_who_may_and_what_is_answered(world: World, row: Call) -> None:
    answers = {caller: send(world, caller, row) for caller in CALLERS}

    statuses = {caller: answer.status_code for caller, answer in answers.items()}
    assert statuses == dict(zip(CALLERS, map(int, row.who.split()), strict=True))
    for caller, answer in answers.items():
        shape = row.answer if answer.status_code < 400 else REFUSAL
        assert list(differences(shape, answer.json(), caller)) == []
        assert as_documented(row.op, answer) == []


def test_no_operation_of_the_document_is_without_a_row() -> None:
    assert {row.op for row in CALLS} == set(operations())


def test_every_row_is_the_operation_that_it_says() -> None:
    for row in CALLS:
        method, path = row.call.partition("?")[0].split(" ")
        operation = operations()[row.op]
        names = [part.startswith("{") for part in path.split("/")]
        documented = operation.path.removeprefix("/api/v2").split("/")
        assert (operation.method.upper(), len(documented)) == (method, len(names)), row
        for part, given in zip(documented, path.split("/"), strict=True):
            assert part.startswith("{") or part == given, row


def send(world: World, caller: str, row: Call) -> Any:
    return world.send(caller, row.call, row.body, form=row.form)


def as_documented(name: str, answer: Any) -> list[str]:
    """Nothing, or what the OpenAPI document says otherwise of this answer."""
    operation = operations()[name]
    status = str(answer.status_code)
    if status not in operation.spec["responses"]:
        return [f"{status} is not documented"]
    if answer["Content-Type"] != "application/json":
        return [f"Content-Type is {answer['Content-Type']}"]
    schema = operation.media(status)["schema"]
    extra = [] if name == "openapi_document" else list(untold(schema, answer.json()))
    return faults(schema, answer.json()) + [f"{key} is not documented" for key in extra]
