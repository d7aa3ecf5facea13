"""Section 1 of the contract, held against every operation of the OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from cronsched.testing.fixtures_api import JSON
from tests.contract.conftest import NOWHERE, World
from tests.contract.document import Operation, operations
from tests.contract.shapes import differences, text

REFUSAL = {"error": text, "message": text}
EVERY = list(operations().values())
# What is signed by its sender is refused before anything in it is read.
SIGNED = {"github_webhook"}
# Read as JSON; a sign-in by form is none.
WITH_BODY = [
    one
    for one in EVERY
    if JSON in one.spec.get("requestBody", {}).get("content", {}) and one.id not in SIGNED
]
WITH_ID = [one for one in EVERY if "{" in one.path]
PATHS = sorted({one.path for one in EVERY})
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What the placeholders of the document are in the world of the tests, by the path before them.
THINGS = {
    "users": "uma",
    "api-keys": "api_key",
    "jobs": "job",
    "job-categories": "category",
    "pic-teams": "team",
    "executions": "run",
    "notifications": "notification",
}


def each(operations_: list[Operation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations_, ids=lambda one: one.id)


def address(world: World, path: str, *, last: str | None = None) -> str:
    """The path with ids of the world in it; `last` in the place of the last one."""
    parts = path.split("/")
    places = [index for index, part in enumerate(parts) if part.startswith("{")]
    for index in places:
        is_last = last is not None and index == places[-1]
        parts[index] = last if is_last else world.ids[THINGS[parts[index - 1]]]  # type: ignore[assignment]
    return "/".join(parts)


def send(world: World, caller: str, method: str, path: str, data: Any = "", **extra: Any) -> Any:
    """Raw, and whatever it writes is undone."""
    with transaction.atomic():
        extra.setdefault("content_type", JSON)
        response = world.clients[caller].generic(method, path, data, **extra)
        transaction.set_rollback(True)
    return response


def assert_refused(response: Any, status: int, error: str | None = None) -> None:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == JSON
    assert list(differences({**REFUSAL, **({"error": error} if error else {})}, response.json())) == []


@each([one for one in EVERY if not one.is_open])
def test_nobody_is_told_anything(world: World, operation: Operation) -> None:
    path = address(world, operation.path)
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"accept": "text/html"}):
        response = send(world, "anonymous", operation.method, path, headers=headers)
        assert_refused(response, 401, "Unauthorized")
        assert response["WWW-Authenticate"].startswith("Bearer")


@each(WITH_ID)
def test_an_id_that_leads_nowhere_is_not_found(world: World, operation: Operation) -> None:
    for bad_id in (NOWHERE, "7", "me", "日本", "%00", "a" * 300, f"{{{NOWHERE}}}"):
        path = address(world, operation.path, last=bad_id)
        assert_refused(send(world, "admin", operation.method, path, "{}"), 404)


@each(EVERY)
def test_the_trailing_slash_is_no_redirect(world: World, operation: Operation) -> None:
    path = address(world, operation.path)

    plain, with_slash = (send(world, "admin", operation.method, f"{path}{end}") for end in ("", "/"))

    assert plain.status_code == with_slash.status_code
    assert plain.status_code not in range(300, 400)


@each(WITH_BODY)
def test_what_is_no_object_is_an_invalid_payload(world: World, operation: Operation) -> None:
    for body in ("{", "[]", '"text"', "7", "null", "[{}]", "\xff", '{"a": NaN}', '{"a" 1}', "a=b"):
        data = body.encode("latin-1")
        response = send(world, "admin", operation.method, address(world, operation.path), data)
        assert_refused(response, 400, "Invalid payload")


@each(WITH_BODY)
def test_nul_and_half_characters_are_refused(world: World, operation: Operation) -> None:
    for body in (r'{"name": "a\u0000b"}', r'{"a\u0000": 1}', r'{"x": {"y": ["\ud800"]}}'):
        assert_refused(send(world, "admin", operation.method, address(world, operation.path), body), 400)


@each(WITH_BODY)
def test_other_types_of_body_are_refused(world: World, operation: Operation) -> None:
    response = send(
        world, "admin", operation.method, address(world, operation.path), "x", content_type="text/plain"
    )

    assert_refused(response, 415, "Unsupported media type")


@each(WITH_BODY)
def test_a_body_too_large_is_refused(world: World, operation: Operation, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    body = '{"name": "%s"}' % ("x" * 200)

    assert_refused(send(world, "admin", operation.method, address(world, operation.path), body), 413)


@each([one for one in EVERY if "406" in one.spec["responses"]])
def test_who_takes_no_json_is_refused_in_json(world: World, operation: Operation) -> None:
    response = send(
        world,
        "admin",
        operation.method,
        address(world, operation.path),
        headers={"accept": "text/html"},
    )

    assert_refused(response, 406, "Not acceptable")


@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_not_allowed(world: World, path: str) -> None:
    documented = {one.method.upper() for one in EVERY if one.path == path}

    for method in (*set(METHODS) - documented, "TRACE"):
        response = send(world, "admin", method, address(world, path))
        assert_refused(response, 405, "Method not allowed")
        assert documented <= set(response["Allow"].split(", "))


@each(EVERY)
def test_a_bug_is_a_500_in_json(
    world: World, operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.EXPOSE_ERROR_DETAILS = False
    client = world.clients["admin"]
    client.raise_request_exception = False

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a secret of the code")

    monkeypatch.setattr("cronsched.core.api.viewsets.ContractViewSet.check_permissions", fail)
    response = send(world, "admin", operation.method, address(world, operation.path))

    assert_refused(response, 500, "Internal server error")
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    "query", ["/jobs?is_active=", "/pic-teams?include_inactive=", "/notifications?unread_only="]
)
def test_booleans_are_read_in_many_words(world: World, query: str) -> None:
    for word in ("true", "1", "yes", "on", "TRUE", "Yes", "false", "0", "no", "OFF"):
        assert send(world, "admin", "GET", f"{query}{word}").status_code == 200, word


@pytest.mark.parametrize(
    ("query", "name", "clamped"),
    [
        ("/executions?limit=", "limit", 200),
        ("/jobs?per_page=", "per_page", 1000),
        ("/executions?page=", "page", 1_000_000_000),
    ],
)
@pytest.mark.parametrize("number", ["2000000000", "9" * 400])
def test_numbers_too_large_are_clamped(
    world: World, query: str, name: str, clamped: int, number: str
) -> None:
    assert send(world, "admin", "GET", f"{query}{number}").json()[name] == clamped


@pytest.mark.parametrize(
    ("range_", "found"),
    [
        ("", 1),
        ("?from=2026-03-10T11:59:00Z&to=2026-03-10T11:59:01Z", 1),
        ("?from=2026-03-10T11:59:00.000001Z", 0),
        ("?to=2026-03-10T11:59:00Z", 0),
        ("?from=2026-03-10T11:59:00&to=2026-03-10T12:00:00", 1),
        ("?from=2026-03-10T20:59:00%2B09:00&to=2026-03-10T21:00:00%2B09:00", 1),
        ("?from=2026-03-10&to=2026-03-10", 1),
        ("?from=2026-03-11", 0),
        ("?to=2026-03-09", 0),
    ],
)
def test_from_is_inclusive_and_to_is_not(world: World, range_: str, found: int) -> None:
    from jobs.models import JobExecution
    from jobs.tests.factories import NOON

    JobExecution.objects.filter(pk=world.ids["run"]).update(started_at=NOON.replace(hour=11, minute=59))
    path = "/api/v2/jobs/{job}/executions".format(**world.ids)

    assert send(world, "viewer", "GET", f"{path}{range_}").json()["total_executions"] == found


@pytest.mark.parametrize("path", ["/", "/nothing", "/jobs/x/y/z", "/auth"])
def test_what_is_not_there_is_not_found_in_json(world: World, path: str) -> None:
    assert_refused(send(world, "admin", "GET", path), 404, "Not found")
