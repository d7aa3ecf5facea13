"""How the scheduler is: asked of the database, so that every process gives the same answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper

from jobs.engine.lease import is_held
from jobs.models import Job, SchedulerLease
from jobs.models.lease import LEASE_ID


@dataclass(frozen=True, kw_only=True)
class SchedulerStatus:
    """`scheduler_running`: the lease is held and not expired, by the database's clock.

    `leader` names the process that holds it ("" where none does), `term` is its fencing number.
    `last_heartbeat_at` is when the lease was last renewed, by whoever led then. The lags are of the leader's
    ticks (jobs.engine.ticker.Lag); None where it has told none yet.
    """

    scheduler_running: bool
    leader: str
    term: int
    leader_since: datetime | None
    last_heartbeat_at: datetime | None
    lease_expires_at: datetime | None
    tick_lag_ms: int | None
    tick_lag_worst_ms: int | None
    scheduled_jobs_count: int
    timezone: str
    checked_at: datetime


def scheduler_status(*, now: datetime) -> SchedulerStatus:
    """Two short queries, whatever the number of jobs and runs. `now` is only echoed."""
    is_live = ExpressionWrapper(is_held(settings.SCHEDULER_LOCK_STALE_SECONDS), output_field=BooleanField())
    row: Any = SchedulerLease.objects.annotate(is_live=is_live).filter(pk=LEASE_ID).first()
    live = row if row and row.is_live else None
    return SchedulerStatus(
        scheduler_running=live is not None,
        leader=live.holder if live else "",
        term=row.term if row else 0,
        leader_since=live.acquired_at if live else None,
        last_heartbeat_at=row.renewed_at if row else None,
        lease_expires_at=live.expires_at if live else None,
        tick_lag_ms=live.tick_lag_ms if live else None,
        tick_lag_worst_ms=live.tick_lag_worst_ms if live else None,
        scheduled_jobs_count=Job.objects.scheduled().count(),
        timezone=settings.SCHEDULER_TIMEZONE,
        checked_at=now,
    )
