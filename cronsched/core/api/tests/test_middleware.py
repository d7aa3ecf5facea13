from __future__ import annotations

from typing import Any

import pytest

from cronsched.testing.fixtures_api import ApiClient

pytestmark = [pytest.mark.urls("cronsched.core.api.tests.urls")]


@pytest.fixture
def api() -> ApiClient:
    return ApiClient(raise_request_exception=False)


def is_error(response: Any, status: int, error: str) -> bool:
    body = response.json()
    return (
        response.status_code == status
        and response["Content-Type"] == "application/json"
        and body["error"] == error
        and bool(body["message"])
        and set(body) == {"error", "message"}
    )


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
@pytest.mark.parametrize(
    "path", ["/api/v2/nothing", "/api/v2/nothing/", "/api/", "/api", "/api/v1/jobs", "/api/v2//things"]
)
def test_unknown_paths_are_404_in_json(
    api: ApiClient, settings: Any, debug: bool, method: str, path: str
) -> None:
    settings.DEBUG = debug

    assert is_error(getattr(api, method)(path), 404, "Not found")


@pytest.mark.parametrize("debug", [False, True])
def test_an_unknown_host_is_400_in_json(api: ApiClient, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = ["cron.example.com"]

    assert is_error(api.get("/things/open", headers={"host": "evil.example.com"}), 400, "Bad request")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("path", ["/things/broken", "/broken-page"])
def test_a_bug_is_500_in_json_and_tells_nothing(
    api: ApiClient, settings: Any, debug: bool, path: str
) -> None:
    settings.DEBUG = debug
    settings.EXPOSE_ERROR_DETAILS = False

    response = api.get(path)

    assert is_error(response, 500, "Internal server error")
    assert "42" not in response.content.decode()


@pytest.mark.parametrize("debug", [False, True])
def test_the_exception_is_told_where_the_operator_wants_it(
    api: ApiClient, settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    settings.EXPOSE_ERROR_DETAILS = True

    response = api.get("/things/broken")

    assert response.json() == {"error": "Internal server error", "message": "RuntimeError: the secret is 42"}


def test_the_exception_is_told_without_the_servers_own_secrets(api: ApiClient, settings: Any) -> None:
    settings.EXPOSE_ERROR_DETAILS = True
    settings.KNOWN_SECRETS = ["secret is 42", "secret"]

    response = api.get("/things/broken")

    assert response.json()["message"] == "RuntimeError: the [redacted]"


def test_headers_of_inner_layers_stay(api: ApiClient, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["http://localhost:5173"]

    response = api.get("/html", headers={"origin": "http://localhost:5173"})

    assert is_error(response, 400, "Bad request")
    assert response["Retry-After"] == "7"
    assert response["Content-Length"] == str(len(response.content))
    assert response["Access-Control-Allow-Origin"] == "http://localhost:5173"


def test_a_preflight_is_answered_to_known_origins_only(api: ApiClient, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["http://localhost:5173"]
    asking = {"access-control-request-method": "PUT", "access-control-request-headers": "authorization"}

    known = api.options("/things/open", headers={"origin": "http://localhost:5173", **asking})
    unknown = api.options("/things/open", headers={"origin": "http://elsewhere", **asking})

    assert known.status_code == 200
    assert known["Access-Control-Allow-Origin"] == "http://localhost:5173"
    assert "PUT" in known["Access-Control-Allow-Methods"]
    assert "authorization" in known["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Origin" not in unknown


def test_pages_outside_the_api_stay_html(client: Any) -> None:
    client.raise_request_exception = False

    assert client.get("/page")["Content-Type"].startswith("text/html")
    assert client.get("/apish")["Content-Type"].startswith("text/html")
