"""/auth/users: the contract's answers, to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import JOBS_TABLE_COLUMNS, User
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tokens import issue_tokens
from cronsched.core import clock
from cronsched.testing.fixtures_api import ApiClient
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db

USER_KEYS = {"id", "username", "email", "role", "is_active", "created_at", "updated_at"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_list_is_by_name_and_counted(admin_api: ApiClient, django_assert_num_queries: Any) -> None:
    for name in ("Zoe", "bob", "Älex"):
        UserFactory(username=name, inactive=name == "bob")

    with django_assert_num_queries(2):
        body = admin_api.get("/auth/users").json()

    assert set(body) == {"count", "users"}
    assert body["count"] == 4
    assert [user["username"] for user in body["users"]] == ["ada_admin", "bob", "Zoe", "Älex"]
    assert all(set(user) == USER_KEYS for user in body["users"])


def test_a_profile_is_for_oneself_and_admins(
    admin_api: ApiClient, user_api: ApiClient, a_user: User, another_user: User
) -> None:
    assert user_api.get(f"/auth/users/{a_user.pk}").json()["user"]["username"] == "uma_user"
    assert admin_api.get(f"/auth/users/{a_user.pk}").json()["user"]["username"] == "uma_user"

    refused = user_api.get(f"/auth/users/{another_user.pk}")
    assert refused.status_code == 403
    assert refused.json()["error"] == "Forbidden. You can only view your own profile."


@pytest.mark.parametrize("method", ["get", "put", "delete"])
@pytest.mark.parametrize("id_", [UNKNOWN, "7", "me"])
def test_who_is_not_there_is_404(admin_api: ApiClient, method: str, id_: str) -> None:
    response = getattr(admin_api, method)(f"/auth/users/{id_}")

    assert response.status_code == 404
    assert response.json() == {"error": "User not found", "message": f"No user found with ID: {id_}"}


# ---- update -----------------------------------------------------------------------------------


def test_everybody_changes_their_own_address_and_password(viewer_api: ApiClient, a_viewer: User) -> None:
    body = viewer_api.put(
        f"/auth/users/{a_viewer.pk}", {"email": "Vera@New.example.com", "password": "another-1"}
    ).json()

    assert set(body) == {"message", "updated_fields", "user"}
    assert body["message"] == "User updated successfully"
    assert sorted(body["updated_fields"]) == ["email", "password"]
    assert body["user"]["email"] == "Vera@New.example.com"
    a_viewer.refresh_from_db()
    assert a_viewer.check_password("another-1")


def test_an_admin_changes_roles_and_activity(admin_api: ApiClient, a_user: User) -> None:
    body = admin_api.put(f"/auth/users/{a_user.pk}", {"role": "viewer", "is_active": False}).json()

    assert sorted(body["updated_fields"]) == ["is_active", "role"]
    assert (body["user"]["role"], body["user"]["is_active"]) == ("viewer", False)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"email": "OTTO_other@example.com"}, 409, "Email already exists"),
        ({"email": "nonsense"}, 400, "Validation error"),
        ({"email": None}, 400, "Validation error"),
        ({"password": "12345"}, 400, "Validation error"),
        ({"password": None}, 400, "Validation error"),
        ({"role": "root"}, 400, "Invalid role"),
        ({"role": None}, 400, "Invalid role"),
        ({"is_active": None}, 400, "Validation error"),
        ({"is_active": "false"}, 400, "Validation error"),
        ({}, 400, "No valid fields to update"),
        ({"username": "renamed"}, 400, "No valid fields to update"),
    ],
)
def test_updates_that_are_refused(
    admin_api: ApiClient, a_user: User, another_user: User, body: dict[str, Any], status: int, error: str
) -> None:
    response = admin_api.put(f"/auth/users/{a_user.pk}", body)

    assert (response.status_code, response.json()["error"]) == (status, error)
    assert User.objects.get(pk=a_user.pk).updated_at == a_user.updated_at


def test_the_role_message_is_the_contracts(admin_api: ApiClient, a_user: User) -> None:
    response = admin_api.put(f"/auth/users/{a_user.pk}", {"role": "root"})

    assert response.json()["message"] == "Role must be one of: admin, user, viewer"


@pytest.mark.parametrize(
    "body", [{"role": "admin"}, {"role": "user"}, {"is_active": True}, {"is_active": None, "email": "x"}]
)
def test_only_admins_send_role_and_is_active(user_api: ApiClient, a_user: User, body: dict[str, Any]) -> None:
    response = user_api.put(f"/auth/users/{a_user.pk}", body)

    assert response.status_code == 403
    assert User.objects.get().role == "user"


def test_nobody_updates_another(user_api: ApiClient, another_user: User) -> None:
    assert user_api.put(f"/auth/users/{another_user.pk}", {"email": "x@example.com"}).status_code == 403
    assert user_api.put(f"/auth/users/{another_user.pk}", {}).status_code == 403


@pytest.mark.parametrize("body", [{"password": "another-1"}, {"is_active": False}])
def test_a_new_password_and_a_deactivation_end_every_token(
    admin_api: ApiClient, user_api: ApiClient, a_user: User, body: dict[str, Any]
) -> None:
    refresh = issue_tokens(a_user, now=clock.now()).refresh

    assert admin_api.put(f"/auth/users/{a_user.pk}", body).status_code == 200
    admin_api.put(f"/auth/users/{a_user.pk}", {"is_active": True})

    assert user_api.get("/auth/me").status_code == 401
    assert user_api.post("/auth/refresh", {"refresh_token": refresh}).status_code == 401
    password = body.get("password", PASSWORD)
    assert user_api.post("/auth/login", {"username": "uma_user", "password": password}).status_code == 200


@pytest.mark.parametrize("body", [{"role": "user"}, {"is_active": False}])
def test_the_last_admin_stays(admin_api: ApiClient, an_admin: User, body: dict[str, Any]) -> None:
    response = admin_api.put(f"/auth/users/{an_admin.pk}", body)

    assert (response.status_code, response.json()["error"]) == (400, "Last admin")
    assert admin_api.get("/auth/users").status_code == 200


# ---- delete -----------------------------------------------------------------------------------


def test_who_is_deleted_leaves_their_jobs_ownerless(admin_api: ApiClient, a_user: User) -> None:
    job = JobFactory(created_by=a_user)

    response = admin_api.delete(f"/auth/users/{a_user.pk}")

    assert (response.status_code, response.json()) == (
        200,
        {
            "message": "User deleted successfully",
            "deleted_user": {"id": str(a_user.pk), "username": "uma_user"},
        },
    )
    job.refresh_from_db()
    assert job.created_by is None
    assert admin_api.get(f"/auth/users/{a_user.pk}").status_code == 404


def test_nobody_deletes_themselves(admin_api: ApiClient, an_admin: User) -> None:
    UserFactory(admin=True)

    response = admin_api.delete(f"/auth/users/{an_admin.pk}")

    assert (response.status_code, response.json()["error"]) == (400, "Cannot delete your own account")


# ---- ui preferences ---------------------------------------------------------------------------


def test_columns_are_read_and_changed(user_api: ApiClient, a_user: User) -> None:
    path = f"/auth/users/{a_user.pk}/ui-preferences"

    assert user_api.get(path).json() == {"preferences": {"jobs_table_columns": JOBS_TABLE_COLUMNS}}
    changed = {**JOBS_TABLE_COLUMNS, "created_by": True}
    response = user_api.put(path, {"jobs_table_columns": {"created_by": True, "unknown": True}})
    assert (response.status_code, response.json()) == (200, {"preferences": {"jobs_table_columns": changed}})
    assert user_api.get(path).json() == {"preferences": {"jobs_table_columns": changed}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"jobs_table_columns": None},
        {"jobs_table_columns": []},
        {"jobs_table_columns": "name"},
        {"jobs_table_columns": {}},
        {"jobs_table_columns": {"unknown": True}},
        {"jobs_table_columns": {"name": "yes"}},
        {"name": True},
    ],
)
def test_columns_that_are_refused(user_api: ApiClient, a_user: User, body: dict[str, Any]) -> None:
    response = user_api.put(f"/auth/users/{a_user.pk}/ui-preferences", body)

    assert response.status_code == 400
    assert list(response.json()["details"]) == ["jobs_table_columns"]
