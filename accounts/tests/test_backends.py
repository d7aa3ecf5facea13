from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.test import RequestFactory

from accounts import backends
from accounts.backends import IdentifierBackend
from accounts.models import User
from accounts.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


def sign_in(identifier: str | None, password: str | None = PASSWORD) -> User | None:
    return IdentifierBackend().authenticate(None, username=identifier, password=password)


@pytest.fixture
def user() -> User:
    return UserFactory(username="Jürgen_1", email="Jürgen.Müller@Example.com")


@pytest.mark.parametrize(
    "identifier",
    [
        "Jürgen_1",
        "jürgen_1",
        "JÜRGEN_1",
        "  jürgen_1 ",
        "ju\u0308rgen_1",
        "Jürgen.Müller@Example.com",
        "jürgen.müller@example.com",
        "JÜRGEN.MÜLLER@EXAMPLE.COM",
    ],
)
def test_name_and_address_in_any_case_sign_in(user: User, identifier: str) -> None:
    assert sign_in(identifier) == user


@pytest.mark.parametrize("identifier", ["jurgen_1", "", "jürgen", "jürgen_1@example.com", None, "x" * 5000])
def test_others_do_not(user: User, identifier: str | None) -> None:
    assert sign_in(identifier) is None


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), PASSWORD + " ", None])
def test_a_wrong_password_does_not(user: User, password: str | None) -> None:
    assert sign_in(user.username, password) is None


def test_an_inactive_account_does_not(user: User) -> None:
    User.objects.update(is_active=False)

    assert sign_in(user.username) is None
    assert IdentifierBackend().get_user(user.pk) is None


def test_a_session_ends_with_the_account(user: User) -> None:
    assert IdentifierBackend().get_user(user.pk) == user
    User.objects.all().delete()
    assert IdentifierBackend().get_user(user.pk) is None


def test_an_unknown_name_costs_one_hash_as_a_wrong_password_does(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock is read: that the work is the same is what can be told for certain."""
    hashed: list[str] = []
    monkeypatch.setattr(backends, "make_password", hashed.append)

    def check(user: User, password: str) -> bool:
        hashed.append(password)
        return False

    monkeypatch.setattr(User, "check_password", check)

    sign_in("nobody", "guess")
    sign_in(user.username, "guess")
    User.objects.update(is_active=False)
    sign_in(user.username, "guess")

    assert hashed == ["guess", "guess", "guess"]


def test_the_admin_site_signs_in_by_the_same_backend(user: User) -> None:
    request = RequestFactory().post("/admin/login/")

    assert authenticate(request, username=user.email.upper(), password=PASSWORD) == user
