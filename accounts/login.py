"""Signing in with a password, throttled; one answer for every way in which it can fail."""

from __future__ import annotations

from datetime import datetime

from accounts import throttle
from accounts.backends import IdentifierBackend
from accounts.models import User
from cronsched.core.errors import DomainError


class InvalidCredentials(DomainError):
    status = 401
    error = "Invalid credentials"


def sign_in(*, identifier: str, password: str, address: str, now: datetime) -> User:
    """The active user with this username or e-mail address and password.

    InvalidCredentials alike for an unknown name, a wrong password and an inactive account;
    Throttled after too many of them. `address` is where the request came from.
    """
    throttle.charge(identifier=identifier, address=address, now=now)
    user = IdentifierBackend().authenticate(None, username=identifier, password=password)
    if user is None:
        raise InvalidCredentials("Invalid email/username or password")
    throttle.forgive(identifier=identifier, address=address)
    User.objects.filter(pk=user.pk).update(last_login=now)
    return user
