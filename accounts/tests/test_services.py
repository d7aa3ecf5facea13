from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts import services
from accounts.models import JOBS_TABLE_COLUMNS, User
from accounts.roles import Role
from accounts.services import LAST_ADMIN
from accounts.signals import user_changed
from accounts.tests.factories import UserFactory
from cronsched.core.errors import Conflict, InvalidInput, NotFound

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def hear(sender: Any, signal: Any, **values: Any) -> None:
        heard.append(values)

    user_changed.connect(hear)
    yield heard
    user_changed.disconnect(hear)


def register(**values: Any) -> User:
    data = {"username": "new_user", "email": "new@example.com", "password": "secret1", **values}
    return services.register_user(**data, by=None, now=NOW)


def update(user: User, **changes: Any) -> User:
    return services.update_user(user, changes=changes, by=None, now=NOW).user


def test_a_new_user_is_an_active_viewer(told: list[dict[str, Any]]) -> None:
    user = register()

    assert (user.role, user.is_active) == ("viewer", True)
    assert user.check_password("secret1")
    assert [(event["action"], event["user"]) for event in told] == [("created", user)]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"username": "UMA"}, "Username already exists"),
        ({"username": " uma "}, "Username already exists"),
        ({"email": "UMA@Example.com"}, "Email already exists"),
        ({"username": "Uma", "email": "uma@example.com"}, "Username already exists"),
    ],
)
def test_names_and_addresses_are_unique_without_case(values: dict[str, str], error: str) -> None:
    UserFactory(username="uma")

    with pytest.raises(Conflict) as refusal:
        register(**values)
    assert refusal.value.error == error
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("taken", "error"),
    [
        ({"username": "New_User"}, "Username already exists"),
        ({"email": "NEW@example.com"}, "Email already exists"),
    ],
)
def test_who_loses_the_race_for_a_name_gets_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, taken: dict[str, str], error: str
) -> None:
    """The rival's row comes between our look and our insert."""
    look = services._refuse_taken
    looks: list[Any] = []

    def look_then_lose(**values: Any) -> None:
        look(**values)
        if not looks:
            UserFactory(**taken)
        looks.append(values)

    monkeypatch.setattr(services, "_refuse_taken", look_then_lose)

    with pytest.raises(Conflict) as refusal:
        register()
    assert refusal.value.error == error


def test_an_update_changes_what_it_names_and_tells_of_it(told: list[dict[str, Any]]) -> None:
    user = UserFactory(username="uma")
    admin = UserFactory(admin=True)

    result = services.update_user(
        user, changes={"role": "viewer", "email": " New@Example.com", "nickname": "u"}, by=admin, now=NOW
    )

    assert result.updated_fields == ["email", "role"]
    stored = User.objects.get(pk=user.pk)
    assert (stored.email, stored.email_key, stored.role) == ("New@Example.com", "new@example.com", "viewer")
    assert told[0]["changes"] == {"email": ("uma@example.com", "New@Example.com"), "role": ("user", "viewer")}
    assert (told[0]["by"], told[0]["action"]) == (admin, "updated")


@pytest.mark.parametrize("changes", [{}, {"username": "other"}, {"id": "7"}, {"token_version": 9}])
def test_an_update_without_a_known_field_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        update(UserFactory(), **changes)

    assert refusal.value.error == "No valid fields to update"


def test_ones_own_address_is_not_taken() -> None:
    user = UserFactory(username="uma")

    assert update(user, email="UMA@example.com").email == "UMA@example.com"


def test_an_address_of_another_is_taken() -> None:
    UserFactory(username="uma")

    with pytest.raises(Conflict) as refusal:
        update(UserFactory(), email="Uma@Example.com")
    assert refusal.value.error == "Email already exists"


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"password": "another1"}, True),
        ({"is_active": False}, True),
        ({"is_active": True}, False),
        ({"role": "viewer"}, False),
        ({"email": "x@example.com"}, False),
    ],
)
def test_which_changes_end_earlier_tokens(changes: dict[str, Any], ends: bool) -> None:
    user = update(UserFactory(), **changes)
    user.refresh_from_db()

    assert (user.token_version, user.tokens_valid_after) == ((2, NOW) if ends else (1, None))


def test_activating_again_does_not_bring_old_tokens_back() -> None:
    user = update(UserFactory(), is_active=False)

    assert update(user, is_active=True).token_version == 2


def test_the_password_is_never_told(told: list[dict[str, Any]]) -> None:
    user = services.change_password(UserFactory(), password="another1", by=None, now=NOW)

    assert user.check_password("another1")
    assert told[0]["changes"] == {"password": ("***", "***")}


def test_an_update_works_on_the_row_as_it_is_now() -> None:
    user = UserFactory()
    User.objects.update(role=Role.VIEWER, token_version=7)

    update(user, password="another1")

    stored = User.objects.get()
    assert (stored.role, stored.token_version) == ("viewer", 8)


def test_who_is_gone_cannot_be_changed() -> None:
    user = UserFactory()
    User.objects.all().delete()

    with pytest.raises(NotFound):
        update(user, password="another1")
    with pytest.raises(NotFound):
        services.delete_user(user, by=None, now=NOW)


TAKING_AN_ADMIN_AWAY = [
    lambda admin: update(admin, role="user"),
    lambda admin: update(admin, role="viewer", is_active=True),
    lambda admin: update(admin, is_active=False),
    lambda admin: services.delete_user(admin, by=None, now=NOW),
]


@pytest.mark.parametrize("take_away", TAKING_AN_ADMIN_AWAY)
def test_the_last_active_admin_stays(take_away: Any) -> None:
    admin = UserFactory(admin=True)
    UserFactory(admin=True, inactive=True)
    UserFactory()

    with pytest.raises(InvalidInput) as refusal:
        take_away(admin)

    assert refusal.value.message == LAST_ADMIN
    assert User.objects.admins().get() == admin


@pytest.mark.parametrize("take_away", TAKING_AN_ADMIN_AWAY)
def test_one_of_two_admins_may_go(take_away: Any) -> None:
    stays = UserFactory(admin=True)
    take_away(UserFactory(admin=True))

    assert User.objects.admins().get() == stays


@pytest.mark.parametrize("take_away", TAKING_AN_ADMIN_AWAY)
def test_an_admin_who_is_none_any_more_may_go(take_away: Any) -> None:
    UserFactory(admin=True)

    take_away(UserFactory(admin=True, inactive=True))


def test_nobody_deletes_themselves() -> None:
    admin = UserFactory(admin=True)
    UserFactory(admin=True)

    with pytest.raises(InvalidInput) as refusal:
        services.delete_user(admin, by=admin, now=NOW)
    assert refusal.value.error == "Cannot delete your own account"


def test_a_deletion_is_told_with_the_last_state(told: list[dict[str, Any]]) -> None:
    user = UserFactory()
    services.delete_user(user, by=None, now=NOW)

    assert [(event["action"], event["user"].username) for event in told] == [("deleted", user.username)]
    assert not User.objects.exists()


def test_ensure_admin_creates() -> None:
    user, is_new = services.ensure_admin(
        username="root", email="root@example.com", password="secret1", now=NOW
    )

    assert is_new
    assert (user.role, user.is_active, user.check_password("secret1")) == ("admin", True, True)


def test_ensure_admin_promotes_and_keeps_the_password() -> None:
    UserFactory(username="Root", viewer=True, inactive=True, password="kept-1")

    user, is_new = services.ensure_admin(username="root", email="new@example.com", password=None, now=NOW)

    assert not is_new
    assert (user.role, user.is_active, user.email) == ("admin", True, "new@example.com")
    assert user.check_password("kept-1")
    assert services.ensure_admin(username="root", email="new@example.com", password=None, now=NOW)[0] == user


def test_ensure_admin_refuses_bad_input() -> None:
    UserFactory(username="uma")

    with pytest.raises(InvalidInput, match="password"):
        services.ensure_admin(username="root", email="root@example.com", password=None, now=NOW)
    with pytest.raises(Conflict):
        services.ensure_admin(username="root", email="uma@example.com", password="secret1", now=NOW)
    assert User.objects.admins().count() == 0


def test_columns_are_the_defaults_until_changed() -> None:
    user = UserFactory()

    assert services.jobs_table_columns(user) == JOBS_TABLE_COLUMNS
    changed = services.update_jobs_table_columns(user, columns={"name": False, "unknown": True})
    assert changed == {**JOBS_TABLE_COLUMNS, "name": False}
    changed = services.update_jobs_table_columns(user, columns={"created_by": True})
    assert changed == {**JOBS_TABLE_COLUMNS, "name": False, "created_by": True}
    assert services.jobs_table_columns(user) == changed


@pytest.mark.parametrize("columns", [{}, {"unknown": True}, {"name": "true"}, {"name": 1}, {"name": None}])
def test_columns_that_mean_nothing_are_refused(columns: dict[str, Any]) -> None:
    user = UserFactory()

    with pytest.raises(InvalidInput):
        services.update_jobs_table_columns(user, columns=columns)
    assert services.jobs_table_columns(user) == JOBS_TABLE_COLUMNS
