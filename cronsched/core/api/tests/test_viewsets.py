from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet
from cronsched.testing.fixtures_api import ApiClient

pytestmark = [pytest.mark.urls("cronsched.core.api.tests.urls"), pytest.mark.django_db]

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["/things", "/things/open"])
def test_both_spellings_of_a_path_are_served(user_api: ApiClient, path: str, slash: str) -> None:
    assert user_api.get(path + slash).status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
def test_both_spellings_of_an_object_are_served(user_api: ApiClient, a_user: User, slash: str) -> None:
    assert user_api.get(f"/things/{a_user.pk}{slash}").json() == {"name": a_user.username}
    assert user_api.put(f"/things/{a_user.pk}{slash}", {"name": "x"}).status_code == 200


@pytest.mark.parametrize(
    "id_",
    [UNKNOWN, "7", "not-a-uuid", "a.json", "%00", "%ED%A0%80", "x" * 3000, "{0}", "日本", UNKNOWN + "%0A"],
)
def test_an_id_that_leads_nowhere_is_404(user_api: ApiClient, id_: str) -> None:
    response = user_api.get(f"/things/{id_}")

    assert response.status_code == 404
    assert response.json()["error"] == "Thing not found"


def test_refusals_come_in_the_order_of_the_contract(
    anonymous_api: ApiClient, viewer_api: ApiClient, user_api: ApiClient, a_user: User, an_admin: User
) -> None:
    """Each caller sends a body that is bad, too: the first refusal that holds is the answer."""
    bad = {"data": "{nonsense", "content_type": "application/json"}

    assert anonymous_api.put(f"/things/{UNKNOWN}", **bad).status_code == 401
    assert viewer_api.put(f"/things/{UNKNOWN}", **bad).status_code == 403
    assert user_api.put(f"/things/{UNKNOWN}", **bad).status_code == 404
    assert user_api.put(f"/things/{an_admin.pk}", **bad).json() == {
        "error": "Not your thing",
        "message": "Ask its owner.",
    }
    assert user_api.put(f"/things/{a_user.pk}", **bad).json()["error"] == "Invalid payload"
    assert user_api.put(f"/things/{a_user.pk}", {}).json()["details"] == {"name": ["This field is required."]}


def test_a_role_is_refused_in_words(viewer_api: ApiClient) -> None:
    assert viewer_api.put(f"/things/{UNKNOWN}", {}).json() == {
        "error": "Forbidden",
        "message": "Your role (viewer) does not allow this.",
    }


@pytest.mark.parametrize(
    ("method", "path"), [("delete", "/things"), ("post", f"/things/{UNKNOWN}"), ("put", "/things/open")]
)
def test_a_method_that_is_not_there_is_405_for_everyone(
    anonymous_api: ApiClient, user_api: ApiClient, method: str, path: str
) -> None:
    for api in (anonymous_api, user_api):
        response = getattr(api, method)(path)

        assert response.status_code == 405
        assert response.json()["error"] == "Method not allowed"
        assert response["Allow"]


def test_anonymous_calls_are_told_how_to_sign_in(anonymous_api: ApiClient) -> None:
    response = anonymous_api.get("/things")

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'
    assert response.json()["error"] == "Unauthorized"


def test_what_is_open_is_open_with_a_stale_token_too(anonymous_api: ApiClient) -> None:
    assert anonymous_api.get("/things/open", headers={"authorization": "Bearer stale"}).status_code == 200


def test_head_is_get_without_a_body(user_api: ApiClient) -> None:
    response = user_api.head("/things")

    assert (response.status_code, response.content) == (200, b"")


def test_options_tells_the_methods_to_anyone(anonymous_api: ApiClient) -> None:
    response = anonymous_api.options("/things/open")

    assert response.status_code == 204
    assert set(response["Allow"].split(", ")) == {"GET", "POST", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html,*/*;q=0.8"])
def test_json_is_given_to_who_takes_it(user_api: ApiClient, accept: str) -> None:
    assert user_api.get("/things", headers={"accept": accept}).status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "application/xml"])
def test_who_takes_no_json_gets_406_in_json(user_api: ApiClient, accept: str) -> None:
    response = user_api.get("/things", headers={"accept": accept})

    assert response.status_code == 406
    assert response["Content-Type"] == "application/json"
    assert response.json()["error"] == "Not acceptable"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/json",
        "multipart/form-data; boundary=x",
        "nonsense",
    ],
)
def test_other_bodies_than_json_are_415(anonymous_api: ApiClient, content_type: str) -> None:
    response = anonymous_api.post("/things/open", "a=b", content_type=content_type)

    assert response.status_code == 415
    assert response.json()["error"] == "Unsupported media type"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-16", "application/json; charset=nonsense"],
)
def test_json_is_utf_8_whatever_the_header_says(anonymous_api: ApiClient, content_type: str) -> None:
    response = anonymous_api.generic(
        "POST", "/things/open", '{"name": "日本"}'.encode(), content_type=content_type
    )

    assert response.json() == {"body": {"name": "日本"}}


def test_a_body_too_large_is_413(anonymous_api: ApiClient, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    response = anonymous_api.post("/things/open", {"name": "x" * 200})

    assert response.status_code == 413
    assert response.json()["error"] == "Payload too large"


def test_no_body_is_an_empty_object(anonymous_api: ApiClient) -> None:
    assert anonymous_api.generic("POST", "/things/open").json() == {"body": {}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": 7}, "name"),
        ({"name": True}, "name"),
        ({"name": ["a"]}, "name"),
        ({"name": None}, "name"),
        ({"name": "x", "flag": "true"}, "flag"),
        ({"name": "x", "flag": 1}, "flag"),
        ({"name": "x", "flag": None}, "flag"),
        ({"name": "x", "child": {"a": 1}}, "child.a"),
    ],
)
def test_json_types_are_taken_strictly(user_api: ApiClient, a_user: User, body: Any, field: str) -> None:
    response = user_api.put(f"/things/{a_user.pk}", body)

    assert response.status_code == 400
    assert list(response.json()["details"]) == [field]


def test_a_query_without_sense_is_refused_by_name(user_api: ApiClient) -> None:
    response = user_api.get("/things?search=a%00b")

    assert response.status_code == 400
    assert list(response.json()["details"]) == ["search"]
    assert user_api.get("/things?search=a&search=b&format=xml").json()["params"] == {
        "search": "b",
        "format": "xml",
    }


def test_the_clock_is_read_once(user_api: ApiClient) -> None:
    assert user_api.get("/things").json()["same_now"] is True


def test_an_open_call_asks_the_database_nothing(
    anonymous_api: ApiClient, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        anonymous_api.get("/things/open", headers={"authorization": "Bearer stale"})


def test_an_action_without_a_right_fails_at_import() -> None:
    with pytest.raises(TypeError, match=r"Forgetful\.rights says nothing about: destroy"):

        class Forgetful(ContractViewSet):
            rights = {"list": SIGNED_IN}

            def list(self, request: Any) -> None: ...

            def destroy(self, request: Any, pk: str) -> None: ...
