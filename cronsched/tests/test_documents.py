from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from cronsched.testing.fixtures_api import ApiClient


@pytest.fixture
def document(anonymous_api: ApiClient) -> dict[str, Any]:
    response = anonymous_api.get("/openapi.json")
    assert response["Content-Type"] == "application/json"
    body: dict[str, Any] = response.json()
    return body


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_the_schema_builds_without_a_warning(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))


def test_a_browser_that_asks_for_an_icon_is_given_one(client: Client) -> None:
    assert client.get("/favicon.ico")["Location"] == "/static/cronsched/favicon.svg"


def test_every_operation_has_a_tag_and_a_name_of_its_own(document: dict[str, Any]) -> None:
    assert all(operation["tags"] for operation in operations(document))
    names = [operation["operationId"] for operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_success_is_typed(document: dict[str, Any]) -> None:
    for operation in operations(document):
        good = {code: answer for code, answer in operation["responses"].items() if code < "300"}
        assert good, operation["operationId"]
        for answer in good.values():
            assert all(media.get("schema") for media in answer["content"].values()), operation["operationId"]


def test_paths_are_written_without_a_slash_and_ids_are_uuids(document: dict[str, Any]) -> None:
    for path, operations_ in document["paths"].items():
        assert path.startswith("/api/v2/")
        assert not path.endswith("/")
        for operation in operations_.values():
            ids = [one["schema"] for one in operation.get("parameters", []) if one["in"] == "path"]
            assert ids == [{"type": "string", "format": "uuid"}] * path.count("{")


def test_what_is_open_to_anyone_says_so(document: dict[str, Any]) -> None:
    is_open = {
        operation["operationId"] for operation in operations(document) if not operation.get("security")
    }

    assert is_open == {
        "auth_login",
        "auth_login_form",
        "auth_refresh",
        "system_health",
        "openapi_document",
        # Its signature is its proof.
        "github_webhook",
    }


def test_every_path_of_the_api_is_documented(document: dict[str, Any]) -> None:
    assert len(document["paths"]) == len(
        {pattern for pattern in _patterns(get_resolver()) if "api/v2" in pattern}
    )


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/redoc", "/redoc/", "/redoc/redoc.standalone.js"])
def test_the_pages_name_no_other_host(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    text = response.content.decode()
    assert not re.search(r"//cdn\.|redoc\.ly/|googleapis|gstatic|unpkg|jsdelivr", text)
    if not path.endswith(".js"):
        assert response["Content-Security-Policy"].startswith("default-src 'self';")
        assert "/api/v2/openapi.json" in text
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/redoc/redoc.standalone.js"])
def test_the_pages_are_only_read(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
    assert client.head(path).status_code == 200


@pytest.mark.django_db
def test_every_static_file_of_the_pages_is_there(client: Client) -> None:
    for page in ("/docs", "/redoc"):
        for url in re.findall(r'(?:src|href)="([^"]+)"', client.get(page).content.decode()):
            response = client.get(url)
            assert response.status_code == 200, url
            response.close()


@pytest.mark.django_db
def test_the_root_leads_to_the_admin_site(client: Client) -> None:
    response = client.get("/")

    assert (response.status_code, response["Location"]) == (302, "/admin/")


def _patterns(resolver: URLResolver, prefix: str = "") -> list[str]:
    found: list[str] = []
    for entry in resolver.url_patterns:
        full = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            found += _patterns(entry, full)
        elif isinstance(entry, URLPattern):
            found.append(full)
    return found
