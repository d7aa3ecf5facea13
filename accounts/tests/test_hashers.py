"""Hashes of the earlier system, made by passlib 1.7.4 (`pbkdf2_sha256.hash`, 29,000 rounds)."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher, make_password

from accounts import hashers
from accounts.hashers import from_passlib
from accounts.models import User
from accounts.tests.factories import UserFactory

PASSLIB = {
    "secret123": "$pbkdf2-sha256$29000$BoCQci6ltDbGWMsZo9Qa4w$iPBhcSrWaeIPlvoGUvJi0Xah3l6Cmoq7cTtDQdsCJ8A",
    "パスワード🔑 ü": "$pbkdf2-sha256$29000$8t5b6z3nvDfmfE9pDeEc4w"
    "$.I5beBvTyULInChOFzPntiB1njv38oDJVQ8WNeakLbU",
}


@pytest.mark.parametrize("password", PASSLIB)
def test_passlib_hashes_verify_in_both_spellings(password: str) -> None:
    raw = PASSLIB[password]

    assert hashers.verify(password, raw) == (True, True)
    assert hashers.verify(password, from_passlib(raw)) == (True, True)
    assert check_password(password, from_passlib(raw))


@pytest.mark.parametrize("password", PASSLIB)
def test_wrong_passwords_do_not(password: str) -> None:
    for wrong in ("", password + "x", password.upper(), password[:-1]):
        assert hashers.verify(wrong, PASSLIB[password])[0] is False


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "password", ["abcdef", "x" * 4000, " leading and trailing ", "日本語のパスワード", "émoji 🧨"]
)
def test_what_passlib_makes_now_verifies(password: str) -> None:
    pbkdf2_sha256 = pytest.importorskip("passlib.hash").pbkdf2_sha256
    made = pbkdf2_sha256.using(rounds=1000).hash(password)

    assert hashers.verify(password, made) == (True, True)
    assert hashers.verify(password + "x", made)[0] is False


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "!",
        "$",
        "$pbkdf2-sha256$",
        "$pbkdf2-sha256$29000$abc",
        "$pbkdf2-sha256$many$BoCQci6ltDbGWMsZo9Qa4w$iPBhcSrWaeIPlvoGUvJi0Xah3l6Cmoq7cTtDQdsCJ8A",
        "$pbkdf2-sha256$0$BoCQci6ltDbGWMsZo9Qa4w$iPBhcSrWaeIPlvoGUvJi0Xah3l6Cmoq7cTtDQdsCJ8A",
        "$pbkdf2-sha256$29000$BoCQci6ltDbGWMsZo9Qa4w$not~base64",
        "$pbkdf2-sha512$29000$BoCQci6ltDbGWMsZo9Qa4w$iPBhcSrWaeIPlvoGUvJi0Xah3l6Cmoq7cTtDQdsCJ8A",
        "plain text",
    ],
)
def test_what_is_no_hash_lets_nobody_in(stored: str) -> None:
    assert hashers.verify("secret123", stored)[0] is False


def test_other_hashes_are_left_alone() -> None:
    modern = make_password("secret123", hasher="pbkdf2_sha256")

    assert from_passlib(modern) == modern
    assert hashers.verify("secret123", modern)[0] is True


def test_a_summary_tells_the_rounds_and_no_secret() -> None:
    encoded = from_passlib(PASSLIB["secret123"])

    assert identify_hasher(encoded).safe_summary(encoded) == {
        "algorithm": "passlib_pbkdf2_sha256",
        "iterations": 29000,
    }


def test_a_wrong_password_against_an_old_hash_costs_a_hash_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(hashers, "make_password", hashed.append)

    hashers.verify("wrong", PASSLIB["secret123"])
    assert hashed == ["wrong"]
    hashers.verify("secret123", PASSLIB["secret123"])
    assert hashed == ["wrong"]


@pytest.mark.django_db
@pytest.mark.parametrize("stored", [PASSLIB["secret123"], from_passlib(PASSLIB["secret123"])])
def test_the_first_good_password_upgrades_the_hash_and_a_bad_one_changes_nothing(stored: str) -> None:
    user = UserFactory()
    User.objects.filter(pk=user.pk).update(password=stored)
    user.refresh_from_db()

    assert user.check_password("wrong") is False
    assert User.objects.get().password == stored

    assert user.check_password("secret123") is True
    upgraded = User.objects.get()
    assert upgraded.password == user.password != stored
    assert upgraded.password.startswith("md5$"), "the preferred hasher of the tests"
    assert upgraded.check_password("secret123") is True
    assert (upgraded.token_version, upgraded.tokens_valid_after) == (1, None), "no token ends by it"


@pytest.mark.django_db
def test_an_upgrade_does_not_undo_a_password_changed_meanwhile() -> None:
    user = UserFactory()
    User.objects.filter(pk=user.pk).update(password=PASSLIB["secret123"])
    user.refresh_from_db()
    changed = make_password("another one")
    User.objects.filter(pk=user.pk).update(password=changed)

    assert user.check_password("secret123") is True
    assert User.objects.get().password == changed
