from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.urls("cronsched.core.api.tests.urls")]

NO_FIELD = "non_field_errors"


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        (
            "invalid",
            400,
            {
                "error": "Validation error",
                "message": "Name is taken.",
                "details": {"name": ["Name is taken."]},
            },
        ),
        ("forbidden", 403, {"error": "Forbidden", "message": "Not yours."}),
        ("not-found", 404, {"error": "Job not found", "message": "No job 7."}),
        ("conflict", 409, {"error": "Duplicate slug", "message": "Slug x exists."}),
        ("throttled", 429, {"error": "Too many requests", "message": "Wait."}),
        (
            "serializer",
            400,
            {
                "error": "Validation error",
                "message": "emails.1: Not an address.",
                "details": {"emails.1": ["Not an address."], "name": ["Required."]},
            },
        ),
        (
            "serializer-plain",
            400,
            {
                "error": "Validation error",
                "message": "Both at once make no sense.",
                "details": {NO_FIELD: ["Both at once make no sense."]},
            },
        ),
        ("parse", 400, {"error": "Invalid payload", "message": "Malformed."}),
        (
            "model",
            400,
            {"error": "Validation error", "message": "name: Too long.", "details": {"name": ["Too long."]}},
        ),
        (
            "model-plain",
            400,
            {"error": "Validation error", "message": "Odd.", "details": {NO_FIELD: ["Odd."]}},
        ),
        ("http404", 404, {"error": "Not found", "message": "There is nothing at this address."}),
        ("django-forbidden", 403, {"error": "Forbidden", "message": "You may not do this."}),
        (
            "too-big",
            413,
            {"error": "Payload too large", "message": "The request is larger than this server accepts."},
        ),
    ],
)
def test_every_refusal_has_one_shape(
    anonymous_api: Any, kind: str, status: int, body: dict[str, Any]
) -> None:
    response = anonymous_api.get(f"/things/refuse/{kind}")

    assert (response.status_code, response.json()) == (status, body)
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize(("kind", "seconds"), [("throttled", "1"), ("drf-throttled", "13")])
def test_who_was_too_quick_is_told_when_to_come_back(anonymous_api: Any, kind: str, seconds: str) -> None:
    response = anonymous_api.get(f"/things/refuse/{kind}")

    assert response.status_code == 429
    assert response["Retry-After"] == seconds


def test_what_is_no_refusal_passes_on_to_be_logged(anonymous_api: Any) -> None:
    with pytest.raises(RuntimeError):
        anonymous_api.get("/things/broken")
