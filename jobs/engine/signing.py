"""Which secrets sign a webhook: the job's own, during a rotation the one before it too, else the operator's.

After a change both sign for a day (Standard Webhooks sends several signatures in one header), so that
a receiver may be given the new secret at any time of that day and refuses no call.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from cronsched.core.crypto import SecretUnreadable, decrypt
from jobs.models import Job

logger = logging.getLogger(__name__)

OVERLAP: Final = timedelta(hours=24)


def signing_secrets(job: Job, *, now: datetime, default: str) -> tuple[str, ...]:
    """The secrets in the order of their signatures, newest first. Raises SecretUnreadable."""
    if not job.signing_secret:
        return (default,) if default else ()
    return decrypt(job.signing_secret), *_previous(job, now=now)


def _previous(job: Job, *, now: datetime) -> tuple[str, ...]:
    changed_at = job.signing_secret_changed_at
    if not job.previous_signing_secret or changed_at is None or now - changed_at >= OVERLAP:
        return ()
    try:
        return (decrypt(job.previous_signing_secret),)
    except SecretUnreadable:
        # The present one is what counts; a run must not fail for one that is on its way out.
        logger.warning("previous signing secret unreadable, it does not sign job=%s", job.pk)
        return ()
