"""What is in a token, which are good, and which are not; the earlier system's are made by PyJWT."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from accounts.models import User
from accounts.roles import Role
from accounts.tests.factories import UserFactory
from accounts.tokens import AccessToken, RefreshToken, issue_tokens, revoke_refresh, user_of, user_of_refresh
from cronsched.core import clock

pytestmark = pytest.mark.django_db

SPREAD = timedelta(hours=1)


@pytest.fixture
def user() -> User:
    return UserFactory(role=Role.USER)


@pytest.fixture
def now() -> datetime:
    return clock.now()


def legacy(user: User, now: datetime, *, key: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    """A token as the earlier system made it: six claims, no `jti`. None takes a claim away."""
    payload = {
        "sub": str(user.pk),
        "role": user.role,
        "email": user.email,
        "type": "access",
        "iat": int(now.timestamp()),
        "exp": int((now + SPREAD).timestamp()),
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key or settings.JWT_SECRET_KEY, algorithm=algorithm)


def test_the_claims_are_those_of_the_contract(user: User, now: datetime) -> None:
    pair = issue_tokens(user, now=now)

    for text, type_, lifetime in (
        (pair.access, "access", settings.JWT_ACCESS_TOKEN_EXPIRES),
        (pair.refresh, "refresh", settings.JWT_REFRESH_TOKEN_EXPIRES),
    ):
        claims = jwt.decode(text, settings.JWT_SECRET_KEY, algorithms=["HS256"])
        assert jwt.get_unverified_header(text)["alg"] == "HS256"
        assert claims.pop("jti")
        assert claims == {
            "sub": str(user.pk),
            "role": "user",
            "email": user.email,
            "type": type_,
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + lifetime,
            "ver": 1,
        }


def test_issuing_stores_nothing(user: User, now: datetime, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        issue_tokens(user, now=now)


def test_a_legacy_token_signs_in(user: User, now: datetime) -> None:
    assert user_of(AccessToken(legacy(user, now))) == user
    assert user_of_refresh(legacy(user, now, type="refresh")) == user


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"exp": "99999999999"},
        {"exp": 10**30},
        {"iat": None},
        {"iat": "now"},
        {"iat": 10**11},
        {"sub": None},
        {"sub": 7},
        {"sub": "7"},
        {"sub": "3f0c9d2e-6f0a-4b7e-9a59-5b8a6d1f2c77"},
        {"type": None},
        {"type": "refresh"},
        {"type": 7},
        {"ver": 2},
        {"ver": "1"},
        {"ver": None, "jti": 7},
    ],
    ids=str,
)
def test_tokens_with_other_claims_do_not_sign_in(user: User, now: datetime, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        user_of(AccessToken(legacy(user, now, **claims)))


@pytest.mark.parametrize(
    "text",
    ["", "x", "a.b.c", "..", "Bearer", "日本", "\x00", "a" * 10_000],
)
def test_what_is_no_token_does_not_sign_in(text: str) -> None:
    with pytest.raises(TokenError):
        AccessToken(text)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_token_signed_otherwise_does_not_sign_in(user: User, now: datetime) -> None:
    unsigned = jwt.encode(
        {"sub": str(user.pk), "type": "access", "exp": now + SPREAD}, None, algorithm="none"
    )

    for text in (unsigned, legacy(user, now, key="x" * 40), legacy(user, now, algorithm="HS512")):
        with pytest.raises(TokenError):
            AccessToken(text)


def test_the_database_decides_who_is_active_and_what_they_may(user: User, now: datetime) -> None:
    token = issue_tokens(user, now=now).access

    User.objects.update(role=Role.ADMIN)
    assert user_of(AccessToken(token)).role == Role.ADMIN
    User.objects.update(is_active=False)
    with pytest.raises(TokenError):
        user_of(AccessToken(token))


def test_a_new_version_ends_the_tokens_before_it(user: User, now: datetime) -> None:
    before = issue_tokens(user, now=now)
    user.token_version = 2
    user.save()

    with pytest.raises(TokenError):
        user_of(AccessToken(before.access))
    with pytest.raises(TokenError):
        user_of_refresh(before.refresh)
    assert user_of(AccessToken(issue_tokens(user, now=now).access)) == user


@pytest.mark.parametrize(
    ("valid_after_s", "is_good"),
    [(-1, True), (0, True), (0.001, False), (0.999, False), (1, False), (60, False)],
)
def test_legacy_tokens_are_judged_by_their_second(user: User, valid_after_s: float, is_good: bool) -> None:
    """`iat` cannot tell what came first within one second: such a token is refused."""
    issued_at = clock.now().replace(microsecond=0) - timedelta(minutes=5)
    User.objects.update(tokens_valid_after=issued_at + timedelta(seconds=valid_after_s))
    token = AccessToken(legacy(user, issued_at))

    if is_good:
        assert user_of(token) == user
    else:
        with pytest.raises(TokenError):
            user_of(token)


def test_a_revoked_refresh_token_is_over_and_others_are_not(user: User, now: datetime) -> None:
    first, second = issue_tokens(user, now=now), issue_tokens(user, now=now)

    assert revoke_refresh(first.refresh, owner=user) is True
    assert revoke_refresh(first.refresh, owner=user) is False
    with pytest.raises(TokenError):
        user_of_refresh(first.refresh)
    assert user_of_refresh(second.refresh) == user


def test_only_the_owner_revokes(user: User, now: datetime) -> None:
    token = issue_tokens(user, now=now).refresh

    assert revoke_refresh(token, owner=UserFactory()) is False
    assert user_of_refresh(token) == user


@pytest.mark.parametrize("text", ["", "nonsense"])
def test_nothing_else_can_be_revoked(user: User, now: datetime, text: str) -> None:
    assert revoke_refresh(text, owner=user) is False
    assert revoke_refresh(issue_tokens(user, now=now).access, owner=user) is False
    assert not OutstandingToken.objects.exists()


def test_a_revoked_legacy_token_stays_revoked_in_every_spelling(user: User, now: datetime) -> None:
    """Base64 may be padded or not: two texts, one token."""
    token = legacy(user, now, type="refresh")
    revoke_refresh(token, owner=user)

    for spelling in (token, token + "="):
        assert jwt.decode(spelling, settings.JWT_SECRET_KEY, algorithms=["HS256"])
        with pytest.raises(TokenError, match="blacklisted"):
            user_of_refresh(spelling)
    assert BlacklistedToken.objects.count() == 1


def test_a_very_long_jti_can_be_revoked_too(user: User, now: datetime) -> None:
    token = legacy(user, now, type="refresh", jti="x" * 400)

    assert revoke_refresh(token, owner=user) is True
    with pytest.raises(TokenError):
        user_of_refresh(token)


def test_an_access_token_is_no_refresh_token(user: User, now: datetime) -> None:
    with pytest.raises(TokenError):
        user_of_refresh(issue_tokens(user, now=now).access)
    with pytest.raises(TokenError):
        RefreshToken(legacy(user, now))


def test_a_future_token_does_not_sign_in(user: User) -> None:
    with pytest.raises(TokenError):
        AccessToken(legacy(user, datetime.now(UTC) + timedelta(hours=2)))
