"""Passwords made for people: strong, and free of letters that look alike."""

from __future__ import annotations

import secrets

_LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 20


def generate_password() -> str:
    """About 115 bits; nothing in it needs quoting in a shell."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
