"""One import from end to end. Each step commits batch by batch; what is stored is not stored twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

from accounts.audit import record
from accounts.choices import AuditAction, AuditKind, Via
from cronsched.legacy.context import Import
from cronsched.legacy.history import bring_history
from cronsched.legacy.notices import bring_notices
from cronsched.legacy.people import bring_preferences, bring_users
from cronsched.legacy.settings import bring_slack
from cronsched.legacy.taxa import bring_taxa
from cronsched.legacy.values import moment
from cronsched.legacy.work import bring_jobs

logger = logging.getLogger(__name__)

# In the order of what refers to what.
STEPS: tuple[Callable[[Import], None], ...] = (
    bring_users,
    bring_preferences,
    bring_taxa,
    bring_jobs,
    bring_history,
    bring_notices,
    bring_slack,
)
# A scheduler whose last run is younger may well be at work still.
_ALIVE = timedelta(minutes=10)


def bring_all(run: Import) -> None:
    try:
        for step in STEPS:
            step(run)
    finally:
        if not run.options.dry_run:
            _note(run)


def _note(run: Import) -> None:
    """One line in the history of changes for the whole, whatever came of it: thousands would bury it."""
    counts = {
        f"{table}: {what}": (None, count)
        for table, each in run.report.counts.items()
        for what, count in each.items()
        if count and what in ("new", "updated", "left out")
    }
    record(
        kind=AuditKind.INSTALLATION,
        object_id=uuid4(),
        name="import_legacy",
        action=AuditAction.IMPORTED,
        changes=counts,
        by=None,
        now=run.options.now,
        via=Via.COMMAND,
    )


def last_sign_of_life(run: Import) -> datetime | None:
    """When the earlier system last began a run, if that is so lately that it may be at work still."""
    last = moment(run.legacy.newest("job_executions", "started_at"))
    return last if last is not None and run.options.now - last < _ALIVE else None
