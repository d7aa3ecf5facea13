"""/auth: the contract's answers, to the letter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test.client import MULTIPART_CONTENT

from accounts.models import User
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.test_hashers import PASSLIB
from accounts.tests.test_tokens import legacy
from accounts.throttle import ACCOUNT_LIMIT, ADDRESS_LIMIT
from accounts.tokens import issue_tokens
from cronsched.core import clock
from cronsched.testing.fixtures_api import ApiClient

pytestmark = pytest.mark.django_db

REFUSED = {"error": "Invalid credentials", "message": "Invalid email/username or password"}
USER_KEYS = {"id", "username", "email", "role", "is_active", "created_at", "updated_at"}
URLENCODED = "application/x-www-form-urlencoded"


@pytest.fixture
def uma() -> User:
    return UserFactory(username="uma", email="uma@example.com")


def login(api: ApiClient, **body: Any) -> Any:
    return api.post("/auth/login", {"password": PASSWORD, **body})


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"authorization": f"Bearer {token}"}}


# ---- login ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who",
    [
        {"username": "uma"},
        {"username": "UMA"},
        {"email": "uma@example.com"},
        {"email": "Uma@EXAMPLE.com"},
        {"username": "uma@example.com"},
        {"username": "uma", "email": "uma@example.com"},
        {"username": "", "email": "uma@example.com"},
        {"username": "uma", "email": None},
    ],
)
def test_login_by_name_or_address(anonymous_api: ApiClient, uma: User, who: dict[str, str]) -> None:
    response = login(anonymous_api, **who)

    body = response.json()
    assert response.status_code == 200
    assert set(body) == {"message", "access_token", "refresh_token", "user"}
    assert body["message"] == "Login successful"
    assert set(body["user"]) == USER_KEYS
    assert body["user"]["id"] == str(uma.pk)
    assert body["user"]["created_at"].endswith("Z")
    assert anonymous_api.get("/auth/me", **bearer(body["access_token"])).status_code == 200


@pytest.mark.parametrize(
    "body", [{"username": "nobody"}, {"username": "uma", "password": "wrong-one"}, {"username": "gone"}]
)
def test_login_is_refused_in_one_way(anonymous_api: ApiClient, uma: User, body: dict[str, str]) -> None:
    UserFactory(username="gone", inactive=True)

    response = login(anonymous_api, **body)

    assert (response.status_code, response.json()) == (401, REFUSED)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "password"),
        ({"username": "uma"}, "password"),
        ({"password": PASSWORD}, "username"),
        ({"username": "", "password": PASSWORD}, "username"),
        ({"username": None, "password": PASSWORD}, "username"),
        ({"username": ["uma"], "password": PASSWORD}, "username"),
        ({"username": "uma", "password": None}, "password"),
        ({"username": "uma", "password": 123456}, "password"),
        ({"username": "u\x00ma", "password": PASSWORD}, "username"),
    ],
)
def test_login_without_a_field_is_400(anonymous_api: ApiClient, uma: User, body: Any, field: str) -> None:
    response = anonymous_api.post("/auth/login", body)

    assert response.status_code == 400
    assert field in response.json()["details"]


@pytest.mark.parametrize("body", ["", "[]", "{", '"uma"'])
def test_login_with_another_body_is_an_invalid_payload(anonymous_api: ApiClient, body: str) -> None:
    response = anonymous_api.generic("POST", "/auth/login", body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["error"] == ("Validation error" if body == "" else "Invalid payload")


def test_login_notes_when_and_upgrades_an_old_hash(anonymous_api: ApiClient, uma: User) -> None:
    User.objects.update(password=PASSLIB["secret123"])

    assert login(anonymous_api, username="uma", password="secret123").status_code == 200

    uma.refresh_from_db()
    assert uma.last_login is not None
    assert not uma.password.startswith("$")
    assert login(anonymous_api, username="uma", password="secret123").status_code == 200


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART_CONTENT])
def test_login_by_form(anonymous_api: ApiClient, uma: User, content_type: str) -> None:
    form = f"username=uma%40example.com&password={PASSWORD}"
    data = form if content_type == URLENCODED else {"username": "uma", "password": PASSWORD}

    response = anonymous_api.post("/auth/login/form", data, content_type=content_type)

    assert response.status_code == 200
    assert set(response.json()) == {"access_token", "refresh_token", "token_type"}
    assert response.json()["token_type"] == "bearer"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("username=uma&password=wrong-one", 401),
        ("username=uma", 400),
        ("username=&password=x", 400),
        ("", 400),
        ("username=u%00ma&password=x", 400),
        ("username=%ED%A0%80&password=x", 401),
    ],
)
def test_login_by_form_is_refused_as_login_is(
    anonymous_api: ApiClient, uma: User, data: str, status: int
) -> None:
    response = anonymous_api.post("/auth/login/form", data, content_type=URLENCODED)

    assert response.status_code == status
    if status == 401:
        assert response.json() == REFUSED


# ---- throttling -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uma", "nobody"])
def test_an_account_is_throttled_whether_it_exists_or_not(
    anonymous_api: ApiClient, uma: User, name: str
) -> None:
    answers = [login(anonymous_api, username=name, password="wrong-one") for _ in range(ACCOUNT_LIMIT + 1)]

    assert [answer.status_code for answer in answers] == [401] * ACCOUNT_LIMIT + [429]
    assert answers[-1].json()["error"] == "Too many requests"
    assert 0 < int(answers[-1]["Retry-After"]) <= 900
    assert login(anonymous_api, username=name).status_code == 429, "the right password waits, too"


def test_the_form_is_counted_with_the_json(anonymous_api: ApiClient, uma: User) -> None:
    for _ in range(ACCOUNT_LIMIT):
        login(anonymous_api, username="uma", password="wrong-one")

    form = anonymous_api.post(
        "/auth/login/form", f"username=uma&password={PASSWORD}", content_type=URLENCODED
    )
    assert form.status_code == 429


def test_an_address_is_throttled_and_others_are_not(anonymous_api: ApiClient, uma: User) -> None:
    for n in range(ADDRESS_LIMIT):
        login(anonymous_api, username=f"name{n}", password="wrong-one")

    assert login(anonymous_api, username="uma").status_code == 429
    elsewhere = anonymous_api.post(
        "/auth/login", {"username": "uma", "password": PASSWORD}, REMOTE_ADDR="198.51.100.7"
    )
    assert elsewhere.status_code == 200


def test_a_good_login_starts_the_count_again(anonymous_api: ApiClient, uma: User) -> None:
    for _ in range(3):
        for _ in range(ACCOUNT_LIMIT - 1):
            login(anonymous_api, username="uma", password="wrong-one")
        assert login(anonymous_api, username="uma").status_code == 200


# ---- refresh, logout, verify ------------------------------------------------------------------


def test_refresh_takes_the_token_from_the_body_or_the_header(anonymous_api: ApiClient, uma: User) -> None:
    old = issue_tokens(uma, now=clock.now()).refresh

    for response in (
        anonymous_api.post("/auth/refresh", {"refresh_token": old}),
        anonymous_api.post("/auth/refresh", **bearer(old)),
        anonymous_api.generic("POST", "/auth/refresh", **bearer(old)),
    ):
        assert response.status_code == 200
        assert set(response.json()) == {"access_token", "refresh_token"}
        assert anonymous_api.get("/auth/me", **bearer(response.json()["access_token"])).status_code == 200


def test_a_legacy_refresh_token_is_refreshed(anonymous_api: ApiClient, uma: User) -> None:
    token = legacy(uma, clock.now(), type="refresh")

    response = anonymous_api.post("/auth/refresh", {"refresh_token": token})

    assert response.status_code == 200
    assert anonymous_api.get("/auth/me", **bearer(response.json()["access_token"])).status_code == 200


@pytest.mark.parametrize("where", ["body", "header"])
@pytest.mark.parametrize("kind", ["access", "expired", "nonsense", "inactive", "none"])
def test_refresh_refuses_everything_else(anonymous_api: ApiClient, uma: User, kind: str, where: str) -> None:
    now = clock.now()
    token = {
        "access": issue_tokens(uma, now=now).access,
        "expired": issue_tokens(uma, now=now - timedelta(days=31)).refresh,
        "inactive": issue_tokens(uma, now=now).refresh,
    }.get(kind, "nonsense")
    if kind == "inactive":
        User.objects.update(is_active=False)

    if kind == "none":
        response = anonymous_api.post("/auth/refresh")
    elif where == "body":
        response = anonymous_api.post("/auth/refresh", {"refresh_token": token})
    else:
        response = anonymous_api.post("/auth/refresh", **bearer(token))

    assert response.status_code == 401
    assert response.json()["error"] == "Unauthorized"


@pytest.mark.parametrize("value", [7, ["x"], {}])
def test_refresh_with_another_type_is_400(anonymous_api: ApiClient, value: Any) -> None:
    assert anonymous_api.post("/auth/refresh", {"refresh_token": value}).status_code == 400


def test_logout_ends_the_refresh_token_it_is_given(user_api: ApiClient, a_user: User) -> None:
    mine, other = (issue_tokens(a_user, now=clock.now()).refresh for _ in range(2))

    response = user_api.post("/auth/logout", {"refresh_token": mine})

    assert (response.status_code, set(response.json())) == (200, {"message"})
    assert user_api.post("/auth/refresh", {"refresh_token": mine}).status_code == 401
    assert user_api.post("/auth/refresh", {"refresh_token": other}).status_code == 200
    assert user_api.get("/auth/me").status_code == 200
    assert user_api.post("/auth/logout", {"refresh_token": mine}).status_code == 200


def test_logout_ends_nobody_elses(user_api: ApiClient, another_user: User) -> None:
    theirs = issue_tokens(another_user, now=clock.now()).refresh

    assert user_api.post("/auth/logout", {"refresh_token": theirs}).status_code == 200
    assert user_api.post("/auth/refresh", {"refresh_token": theirs}).status_code == 200


@pytest.mark.parametrize("body", [{}, {"refresh_token": "nonsense"}])
def test_logout_with_nothing_to_end(user_api: ApiClient, body: dict[str, Any]) -> None:
    assert user_api.post("/auth/logout", body).status_code == 200
    assert user_api.generic("POST", "/auth/logout").status_code == 200


def test_verify_and_me(user_api: ApiClient, a_user: User) -> None:
    me = user_api.get("/auth/me").json()

    assert set(me) == USER_KEYS
    assert (me["id"], me["username"], me["role"], me["is_active"]) == (
        str(a_user.pk),
        "uma_user",
        "user",
        True,
    )
    assert user_api.get("/auth/verify").json() == {"valid": True, "user": me}


# ---- who is signed in -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer a b c",
        "Basic dW1hOnVtYQ==",
        "Token abc",
        "Bearer \xff\xfe",
        "nonsense",
    ],
)
def test_other_headers_are_401(anonymous_api: ApiClient, header: str) -> None:
    response = anonymous_api.get("/auth/verify", headers={"authorization": header})

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'
    assert set(response.json()) == {"error", "message"}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_without_case(anonymous_api: ApiClient, uma: User, scheme: str) -> None:
    token = issue_tokens(uma, now=clock.now()).access

    assert (
        anonymous_api.get("/auth/verify", headers={"authorization": f"{scheme} {token}"}).status_code == 200
    )


def test_a_legacy_access_token_signs_in(anonymous_api: ApiClient, uma: User) -> None:
    response = anonymous_api.get("/auth/verify", **bearer(legacy(uma, clock.now())))

    assert response.json()["user"]["username"] == "uma"


@pytest.mark.parametrize("kind", ["refresh", "expired", "deleted", "without exp"])
def test_tokens_that_do_not_sign_in(anonymous_api: ApiClient, uma: User, kind: str) -> None:
    now = clock.now()
    token = {
        "refresh": issue_tokens(uma, now=now).refresh,
        "expired": issue_tokens(uma, now=now - timedelta(hours=2)).access,
        "deleted": issue_tokens(uma, now=now).access,
        "without exp": legacy(uma, now, exp=None),
    }[kind]
    if kind == "deleted":
        uma.delete()

    assert anonymous_api.get("/auth/me", **bearer(token)).status_code == 401


def test_the_lifetimes_are_the_settings(uma: User) -> None:
    assert (settings.JWT_ACCESS_TOKEN_EXPIRES, settings.JWT_REFRESH_TOKEN_EXPIRES) == (3600, 2_592_000)


def test_signing_in_by_token_costs_one_query(user_api: ApiClient, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        user_api.get("/auth/me")


def test_a_role_acts_at_the_next_request(user_api: ApiClient) -> None:
    assert user_api.get("/auth/users").status_code == 403
    User.objects.update(role="admin")
    assert user_api.get("/auth/users").status_code == 200
    User.objects.update(is_active=False)
    assert user_api.get("/auth/users").status_code == 401


# ---- register ---------------------------------------------------------------------------------

NEW = {"username": "new_user", "email": "new@example.com", "password": "secure_password"}


@pytest.mark.parametrize("role", [None, "admin", "user", "viewer"])
def test_register(admin_api: ApiClient, anonymous_api: ApiClient, role: str | None) -> None:
    response = admin_api.post("/auth/register", {**NEW, **({"role": role} if role else {})})

    body = response.json()
    assert response.status_code == 201
    assert body["message"] == "User registered successfully"
    assert set(body["user"]) == USER_KEYS
    assert (body["user"]["role"], body["user"]["is_active"]) == (role or "viewer", True)
    assert login(anonymous_api, username="new_user", password=NEW["password"]).status_code == 200


@pytest.mark.parametrize(
    ("values", "status", "error"),
    [
        ({"username": "ADA_admin"}, 409, "Username already exists"),
        ({"email": "Ada_Admin@example.com"}, 409, "Email already exists"),
        ({"username": "ab"}, 400, "Validation error"),
        ({"username": "a b c"}, 400, "Validation error"),
        ({"email": "nobody"}, 400, "Validation error"),
        ({"password": "12345"}, 400, "Validation error"),
        ({"password": None}, 400, "Validation error"),
        ({"role": "root"}, 400, "Invalid role"),
        ({"role": None}, 400, "Validation error"),
    ],
)
def test_register_refuses(admin_api: ApiClient, values: dict[str, Any], status: int, error: str) -> None:
    response = admin_api.post("/auth/register", {**NEW, **values})

    assert (response.status_code, response.json()["error"]) == (status, error)
    assert User.objects.count() == 1


@pytest.mark.parametrize("missing", NEW)
def test_register_needs_every_field(admin_api: ApiClient, missing: str) -> None:
    response = admin_api.post("/auth/register", {key: value for key, value in NEW.items() if key != missing})

    assert response.status_code == 400
    assert response.json()["details"] == {missing: ["This field is required."]}


def test_a_client_without_a_refresh_token_may_say_so(anonymous_api: ApiClient, uma: User) -> None:
    tokens = login(anonymous_api, username="uma").json()

    logout = anonymous_api.post("/auth/logout", {"refresh_token": None}, **bearer(tokens["access_token"]))
    refresh = anonymous_api.post("/auth/refresh", {"refresh_token": None}, **bearer(tokens["refresh_token"]))

    assert (logout.status_code, refresh.status_code) == (200, 200)
