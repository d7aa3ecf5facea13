"""A job's signing secret: written, never shown, encrypted at rest, changed with a day of both."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from cronsched.core.crypto import SecretUnreadable, decrypt, encrypt
from jobs.models import Job

# What changes along with a secret, and says nothing to anybody.
ROTATION_COLUMNS: Final = frozenset({"previous_signing_secret", "signing_secret_changed_at"})


def changed_secret(job: Job | None, secret: str, *, now: datetime) -> dict[str, Any]:
    """The columns to store for `secret` ("" takes it away); none where it is the present one."""
    present = _readable(job)
    if secret == present and (secret or job is None or not job.signing_secret):
        return {}
    is_rotation = job is not None and bool(secret and present)
    return {
        "signing_secret": encrypt(secret) if secret else "",
        "previous_signing_secret": job.signing_secret if job is not None and is_rotation else "",
        "signing_secret_changed_at": now if secret else None,
    }


def _readable(job: Job | None) -> str:
    """The present secret; "" where there is none, or none that can be read any more."""
    if job is None or not job.signing_secret:
        return ""
    try:
        return decrypt(job.signing_secret)
    except SecretUnreadable:
        return ""
