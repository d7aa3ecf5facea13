"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA256) under `ENCRYPTION_KEYS`.

The first key encrypts, every key decrypts. A secret that cannot be read raises
`SecretUnreadable`: the job it belongs to fails with that message, never the batch.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from cronsched.core.errors import DomainError


class NoKeys(DomainError):
    """Nothing secret can be kept: the operator has to give the installation a key first."""

    status = 503
    error = "Not configured"


class SecretUnreadable(Exception):
    """The stored secret was written under a key that ENCRYPTION_KEYS no longer holds."""


def encrypt(plain: str) -> str:
    return _fernet().encrypt(plain.encode()).decode()


def decrypt(token: str) -> str:
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise SecretUnreadable(
            "A stored secret cannot be read with the present ENCRYPTION_KEYS: add the key it was "
            "written under, or enter the secret again."
        ) from None


def reencrypt(token: str) -> str:
    """The same secret under the first key."""
    try:
        return _fernet().rotate(token.encode()).decode()
    except InvalidToken:
        raise SecretUnreadable("It was written under a key that ENCRYPTION_KEYS does not hold.") from None


def _fernet() -> MultiFernet:
    keys = settings.ENCRYPTION_KEYS
    if not keys:
        raise NoKeys(
            "This server keeps no secrets yet: its operator has to set ENCRYPTION_KEYS "
            "(manage.py generate_key makes a key)."
        )
    return MultiFernet([Fernet(key) for key in keys])
