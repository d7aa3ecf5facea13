"""Jobs that fire no more, of which a handler failed to tell: kept as rows, and told by the sweep.

As `jobs.engine.tell` does for runs. Other changes of jobs are notices for those who are curious; one
that is lost is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from django.db import OperationalError, transaction
from django.db.models import F

from accounts.models import User
from cronsched.core.db import is_conflict
from jobs.models import Job
from notifications.models import UntoldChange

logger = logging.getLogger(__name__)

STOPS: Final = frozenset({"expired", "broken", "disabled"})
MAX_ATTEMPTS: Final = 10
LIMIT: Final = 500

Stopped = Sequence[tuple[Job, str]]
Tell = Callable[[Stopped, User | None, datetime], None]


@contextmanager
def kept_if_untold(changed: Stopped, by: User | None, now: datetime) -> Iterator[None]:
    """What fails within is undone to a savepoint; the stops among `changed` are kept for `sweep_changes`."""
    try:
        with transaction.atomic():
            yield
    except Exception as error:
        stops = [(job, action) for job, action in changed if action in STOPS]
        if not stops or (isinstance(error, OperationalError) and is_conflict(error)):
            raise
        logger.exception("a handler failed, told later: jobs=%d", len(stops))
        rows = [UntoldChange(job=job, action=action, by=by, since=now) for job, action in stops]
        UntoldChange.objects.bulk_create(rows)


def sweep_changes(tell: Tell, *, now: datetime) -> int:
    """Tell again, one by one; given up after ten attempts. The count told."""
    waiting = UntoldChange.objects.select_related("job", "by")[:LIMIT]
    return sum(_sweep(entry, tell, now) for entry in waiting)


def _sweep(entry: UntoldChange, tell: Tell, now: datetime) -> bool:
    try:
        with transaction.atomic():
            tell([(entry.job, entry.action)], entry.by, now)
            entry.delete()
    except Exception:
        logger.exception("a handler failed again: job=%s action=%s", entry.job_id, entry.action)
        rows = UntoldChange.objects.filter(pk=entry.pk)
        if not rows.filter(attempts__lt=MAX_ATTEMPTS - 1).update(attempts=F("attempts") + 1):
            logger.error("given up, nobody hears of it: job=%s action=%s", entry.job_id, entry.action)
            rows.delete()
        return False
    return True
