"""Bearer tokens: what is in them, which are still good, and how a request is signed in by one.

A token's claims name the user and never their rights: role and `is_active` are the database's.
New tokens carry the user's `token_version` in `ver`; the earlier system's have neither `ver` nor
`jti` and are judged by their time of issue (`tokens_valid_after`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.tokens import AccessToken as BaseAccessToken
from rest_framework_simplejwt.tokens import RefreshToken as BaseRefreshToken
from rest_framework_simplejwt.tokens import Token
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts.api_keys import KEY_MARK, user_of_key
from accounts.models import ApiKey, User
from cronsched.core import clock
from cronsched.core.api.params import parse_uuid

VERSION_CLAIM = "ver"
_LONGEST_JTI = 255


class _LegacyTolerant(Token):
    """Gives a token without `jti` one of its own, and turns odd claims into refusals."""

    def verify(self) -> None:
        try:
            jti = self.payload.get("jti")
            if not jti or len(jti) > _LONGEST_JTI:
                self.payload["jti"] = self._derived_jti()
            super().verify()
        except (ArithmeticError, OSError, TypeError, ValueError) as error:
            raise TokenError("Token has a claim that cannot be read") from error

    def _derived_jti(self) -> str:
        """From the claims, not from the text: base64 spells one signature in several ways."""
        claims = json.dumps(self.payload, sort_keys=True).encode()
        return f"legacy-{hashlib.sha256(claims).hexdigest()[:32]}"


class AccessToken(_LegacyTolerant, BaseAccessToken):
    pass


class RefreshToken(_LegacyTolerant, BaseRefreshToken):  # type: ignore[misc]
    pass


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    access: str
    refresh: str


def issue_tokens(user: User, *, now: datetime) -> TokenPair:
    """A new pair for `user`. Nothing is stored: only a revoked token gets a row."""
    return TokenPair(
        access=str(_filled(AccessToken(), user, now)),
        refresh=str(_filled(RefreshToken(), user, now)),
    )


def user_of(token: Token) -> User:
    """The active user a verified token belongs to. TokenError where it was revoked since."""
    user_id = parse_uuid(str(token.get("sub", "")))
    user = User.objects.active().filter(pk=user_id).first() if user_id else None
    if user is None:
        raise TokenError("The account does not exist or is not active")
    if VERSION_CLAIM in token:
        is_current = token[VERSION_CLAIM] == user.token_version
    else:
        is_current = _legacy_is_current(token, user)
    if not is_current:
        raise TokenError("Token was revoked")
    return user


def user_of_refresh(text: str) -> User:
    """The user whom a refresh token signs in; TokenError for any other token."""
    return user_of(RefreshToken(text))  # type: ignore[arg-type]


def revoke_refresh(text: str, *, owner: User) -> bool:
    """End `owner`'s refresh token. False where it is not theirs, or no good refresh token anyway."""
    try:
        token = RefreshToken(text)  # type: ignore[arg-type]
        if user_of(token).pk != owner.pk:
            return False
    except TokenError:
        return False
    token.blacklist()
    return True


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header; None where there is no bearer header."""
    scheme, token = _credentials(request)
    return token if scheme == "bearer" else None


def _credentials(request: Request) -> tuple[str, str]:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    return scheme.lower(), token.strip()


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>`; one query, so that a change of role acts at once.

    A program sends its API key in the place of the token, or as `Api-Key <key>`.
    """

    def authenticate(self, request: Request) -> tuple[User, Token | ApiKey] | None:
        scheme, text = _credentials(request)
        if scheme == "api-key" or (scheme == "bearer" and text.startswith(KEY_MARK)):
            return user_of_key(text, now=clock.now())
        if scheme != "bearer":
            return None
        try:
            token = AccessToken(text)  # type: ignore[arg-type]
            return user_of(token), token
        except ExpiredTokenError:
            raise AuthenticationFailed(
                "The access token has expired: refresh it, or sign in again."
            ) from None
        except TokenError:
            raise AuthenticationFailed("The access token is not valid: sign in again.") from None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _filled(token: Token, user: User, now: datetime) -> Token:
    token.set_iat(at_time=now)
    token.set_exp(from_time=now)
    claims: dict[str, Any] = {
        "sub": str(user.pk),
        "role": user.role,
        "email": user.email,
        VERSION_CLAIM: user.token_version,
    }
    for name, value in claims.items():
        token[name] = value
    return token


def _legacy_is_current(token: Token, user: User) -> bool:
    """`iat` has whole seconds, so a token of the very second of a change counts as older than it."""
    try:
        issued_at = datetime_from_epoch(token["iat"])
    except (KeyError, ArithmeticError, OSError, TypeError, ValueError):
        return False
    return user.tokens_valid_after is None or issued_at >= user.tokens_valid_after
