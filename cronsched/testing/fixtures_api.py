"""API clients, one for each kind of caller. They speak JSON and say who they are."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from accounts.roles import Role
from accounts.tests.factories import UserFactory
from accounts.tokens import issue_tokens
from cronsched.core import clock

API = "/api/v2"
JSON = "application/json"


class ApiClient(Client):
    """Django's client with JSON bodies, paths below /api/v2, and one user's access token.

    `client.put("/auth/users/…", {"email": …})`; a path that begins with /api is left as it is.
    """

    def __init__(self, user: User | None = None, **defaults: Any) -> None:
        super().__init__(**defaults)
        self.user = user
        if user is not None:
            token = issue_tokens(user, now=clock.now()).access
            self.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    def generic(self, method: str, path: Any, *args: Any, **kwargs: Any) -> Any:
        full = path if str(path).startswith("/api") else f"{API}{path}"
        return super().generic(method, full, *args, **kwargs)

    def post(self, path: Any, data: Any = None, content_type: str = JSON, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().post(path, {} if data is None else data, content_type=content_type, **kwargs)

    def put(self, path: Any, data: Any = None, content_type: str = JSON, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().put(path, {} if data is None else data, content_type=content_type, **kwargs)

    def patch(self, path: Any, data: Any = None, content_type: str = JSON, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().patch(path, {} if data is None else data, content_type=content_type, **kwargs)


def _make(**values: Any) -> User:
    user: User = UserFactory(**values)
    return user


@pytest.fixture
def an_admin(db: None) -> User:
    return _make(username="ada_admin", role=Role.ADMIN)


@pytest.fixture
def a_user(db: None) -> User:
    return _make(username="uma_user", role=Role.USER)


@pytest.fixture
def another_user(db: None) -> User:
    return _make(username="otto_other", role=Role.USER)


@pytest.fixture
def a_viewer(db: None) -> User:
    return _make(username="vera_viewer", role=Role.VIEWER)


@pytest.fixture
def anonymous_api() -> ApiClient:
    return ApiClient()


@pytest.fixture
def admin_api(an_admin: User) -> ApiClient:
    return ApiClient(an_admin)


@pytest.fixture
def user_api(a_user: User) -> ApiClient:
    return ApiClient(a_user)


@pytest.fixture
def other_api(another_user: User) -> ApiClient:
    return ApiClient(another_user)


@pytest.fixture
def viewer_api(a_viewer: User) -> ApiClient:
    return ApiClient(a_viewer)
