"""/auth/users/{id}/preferences: the contract's answers."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from cronsched.testing.fixtures_api import ApiClient

pytestmark = pytest.mark.django_db

DEFAULTS = {
    "email_on_job_success": True,
    "email_on_job_failure": True,
    "email_on_job_disabled": False,
    "browser_notifications": False,
    "daily_digest": False,
    "weekly_report": False,
}


@pytest.fixture
def path(a_user: User) -> str:
    return f"/auth/users/{a_user.pk}/preferences"


def test_the_first_read_gives_the_defaults(user_api: ApiClient, path: str) -> None:
    for _ in range(2):
        response = user_api.get(path)
        assert (response.status_code, response.json()) == (
            200,
            {"message": "Notification preferences retrieved successfully", "preferences": DEFAULTS},
        )


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_update_is_partial(user_api: ApiClient, path: str, name: str) -> None:
    changed = {**DEFAULTS, name: not DEFAULTS[name]}

    response = user_api.put(path, {name: changed[name], "unknown": 7})

    assert (response.status_code, response.json()) == (
        200,
        {"message": "Notification preferences updated successfully", "preferences": changed},
    )
    assert user_api.get(path).json()["preferences"] == changed


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"unknown": True},
        {"daily_digest": "true"},
        {"daily_digest": 1},
        {"daily_digest": None},
        {"daily_digest": True, "weekly_report": []},
    ],
)
def test_updates_that_mean_nothing_are_refused(user_api: ApiClient, path: str, body: dict[str, Any]) -> None:
    response = user_api.put(path, body)

    assert response.status_code == 400
    assert user_api.get(path).json()["preferences"] == DEFAULTS


def test_an_admin_changes_anybodys(admin_api: ApiClient, user_api: ApiClient, path: str) -> None:
    assert admin_api.put(path, {"daily_digest": True}).status_code == 200
    assert user_api.get(path).json()["preferences"]["daily_digest"] is True


def test_who_is_not_there_is_404(admin_api: ApiClient) -> None:
    assert admin_api.get("/auth/users/7/preferences").json() == {
        "error": "User not found",
        "message": "No user found with ID: 7",
    }
