"""Verifies the earlier system's password hashes (passlib's `$pbkdf2-sha256$<rounds>$<salt>$<hash>`).

Stored either as they come, with their leading `$`, or in Django's manner with the name in front
(`from_passlib`); both verify. Nothing is ever hashed this way anew: a good sign-in upgrades it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher, identify_hasher, make_password, verify_password

PASSLIB_PREFIX = "$pbkdf2-sha256$"
ALGORITHM = "passlib_pbkdf2_sha256"


class PasslibPBKDF2SHA256Hasher(BasePasswordHasher):
    """`passlib_pbkdf2_sha256$<rounds>$<salt>$<hash>`, the last two in passlib's base64 (`.` for `+`)."""

    algorithm = ALGORITHM

    def verify(self, password: str, encoded: str) -> bool:
        try:
            decoded = self.decode(encoded)
        except ValueError:
            return False
        digest = hashlib.pbkdf2_hmac("sha256", password.encode(), decoded["salt"], decoded["iterations"])
        return hmac.compare_digest(digest, decoded["hash"])

    def decode(self, encoded: str) -> dict[str, Any]:
        """The parts of the hash, salt and hash as bytes. ValueError for what is no such hash."""
        algorithm, iterations, salt, digest = encoded.split("$", 3)
        if algorithm != self.algorithm or int(iterations) < 1:
            raise ValueError("not a passlib hash")
        return {
            "algorithm": algorithm,
            "iterations": int(iterations),
            "salt": _from_ab64(salt),
            "hash": _from_ab64(digest),
        }

    def safe_summary(self, encoded: str) -> dict[Any, Any]:
        decoded = self.decode(encoded)
        return {"algorithm": self.algorithm, "iterations": decoded["iterations"]}

    def must_update(self, encoded: str) -> bool:
        return True

    def harden_runtime(self, password: str, encoded: str) -> None:
        make_password(password)


def from_passlib(encoded: str) -> str:
    """A stored hash in the form that Django finds the hasher by; others come back unchanged."""
    return (
        f"{ALGORITHM}${encoded.removeprefix(PASSLIB_PREFIX)}"
        if encoded.startswith(PASSLIB_PREFIX)
        else encoded
    )


def verify(password: str, encoded: str) -> tuple[bool, bool]:
    """(is it right, should it be hashed anew). A wrong one costs as much as for a hash of today.

    Django does not slow down a wrong password against an old hasher, which would tell an old
    account from an unknown one by its time.
    """
    encoded = from_passlib(encoded)
    is_right, is_outdated = verify_password(password, encoded)
    if not is_right and encoded.startswith(f"{ALGORITHM}$"):
        identify_hasher(encoded).harden_runtime(password, encoded)
    return is_right, is_outdated


def _from_ab64(text: str) -> bytes:
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)
