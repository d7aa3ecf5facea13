"""Who may do what under /auth: one table, run for every kind of caller, allowed and denied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from cronsched.testing.fixtures_api import ApiClient

pytestmark = pytest.mark.django_db

NEW = {"username": "new_user", "email": "new@example.com", "password": "secure_password"}
COLUMNS = {"jobs_table_columns": {"name": False}}
WISHES = {"daily_digest": True}
MAIL = {"email": "moved@example.com"}

# {me} is the caller, {uma} a user that is nobody else's. Columns: what anonymous, a viewer, a user
# and an admin are answered.
TABLE: list[tuple[str, str, Any, int, int, int, int]] = [
    ("get", "/health", None, 200, 200, 200, 200),
    ("get", "/openapi.json", None, 200, 200, 200, 200),
    ("post", "/auth/login", {}, 400, 400, 400, 400),
    ("post", "/auth/refresh", {}, 401, 401, 401, 401),
    ("post", "/auth/logout", {}, 401, 200, 200, 200),
    ("get", "/auth/verify", None, 401, 200, 200, 200),
    ("get", "/auth/me", None, 401, 200, 200, 200),
    ("post", "/auth/register", NEW, 401, 403, 403, 201),
    ("get", "/auth/users", None, 401, 403, 403, 200),
    ("get", "/auth/users/{me}", None, 401, 200, 200, 200),
    ("get", "/auth/users/{uma}", None, 401, 403, 403, 200),
    ("put", "/auth/users/{me}", MAIL, 401, 200, 200, 200),
    ("put", "/auth/users/{uma}", MAIL, 401, 403, 403, 200),
    ("put", "/auth/users/{me}", {"role": "admin"}, 401, 403, 403, 200),
    ("put", "/auth/users/{uma}", {"role": "viewer"}, 401, 403, 403, 200),
    ("delete", "/auth/users/{me}", None, 401, 403, 403, 400),
    ("delete", "/auth/users/{uma}", None, 401, 403, 403, 200),
    ("get", "/auth/users/{me}/preferences", None, 401, 200, 200, 200),
    ("get", "/auth/users/{uma}/preferences", None, 401, 403, 403, 200),
    ("put", "/auth/users/{me}/preferences", WISHES, 401, 200, 200, 200),
    ("put", "/auth/users/{uma}/preferences", WISHES, 401, 403, 403, 200),
    ("get", "/auth/users/{me}/ui-preferences", None, 401, 200, 200, 200),
    ("get", "/auth/users/{uma}/ui-preferences", None, 401, 403, 403, 200),
    ("put", "/auth/users/{me}/ui-preferences", COLUMNS, 401, 200, 200, 200),
    ("put", "/auth/users/{uma}/ui-preferences", COLUMNS, 401, 403, 403, 200),
    ("get", "/scheduler/status", None, 401, 403, 403, 200),
    ("post", "/scheduler/resync", None, 401, 403, 403, 200),
]


@pytest.fixture
def caller(request: pytest.FixtureRequest) -> Callable[[str], ApiClient]:
    return lambda kind: request.getfixturevalue(f"{kind}_api")


@pytest.mark.parametrize("kind", ["anonymous", "viewer", "other", "admin"])
@pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row[0]} {row[1]} {'' if row[2] is None else ','.join(row[2])}"
)
def test_who_may_do_what(caller: Callable[[str], ApiClient], a_user: User, row: Any, kind: str) -> None:
    method, path, body, *expected = row
    api = caller(kind)
    me = api.user.pk if api.user else a_user.pk
    send = getattr(api, method)
    full = path.format(me=me, uma=a_user.pk)

    response = send(full) if body is None else send(full, body)

    assert (
        response.status_code
        == dict(zip(("anonymous", "viewer", "other", "admin"), expected, strict=True))[kind]
    )
    if response.status_code >= 400:
        assert {"error", "message"} <= set(response.json())
