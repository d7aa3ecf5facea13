"""Signs in by username or e-mail address, for the admin site and the API alike."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest

from accounts.models import User


class IdentifierBackend(BaseBackend):
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """The active user whom the identifier and the password belong to, or None.

        An unknown name, a wrong password and an inactive account cost the same: one hash.
        """
        if username is None or password is None:
            return None
        user = User.objects.identified_by(username).first()
        if user is None:
            make_password(password)
            return None
        is_right = user.check_password(password)
        return user if is_right and user.is_active else None

    def get_user(self, user_id: UUID | str) -> User | None:
        """The session's user, as long as the account is active."""
        return User.objects.active().filter(pk=user_id).first()
