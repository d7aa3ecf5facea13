"""What the engine counts and times, for Prometheus: the figures of this process.

The scheduler serves them where METRICS_PORT says. What is true of the whole installation, whoever
asks (who leads, how long the queue is), is read from the database at `/metrics` of the web server.
Names and units follow Prometheus' practice: base units, `_total` for what only grows.
"""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from jobs.choices import Status, TriggerType
from jobs.engine.messages import Delivery, DeliveryResult
from jobs.models import JobExecution

logger = logging.getLogger("jobs.runs")

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SHORT_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
_RUN_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def _make(kind: Any, name: str, says: str, **more: Any) -> Any:
    return kind(f"cronsched_{name}", says, registry=REGISTRY, **more)


LAG = _make(
    Histogram, "run_lag_seconds", "From the slot until its run was claimed to be sent.", buckets=_LAG_S
)
RUN = _make(Histogram, "run_duration_seconds", "How long the calls took.", buckets=_RUN_S)
TICK = _make(Histogram, "tick_seconds", "How long the ticks of the leader took.", buckets=_SHORT_S)
DATABASE = _make(
    Histogram,
    "database_seconds",
    "How long the transactions of the engine took.",
    labelnames=("stage",),
    buckets=_SHORT_S,
)
DUE = _make(Counter, "slots_due_total", "Slots that came due and were planned.")
SENT = _make(Counter, "runs_sent_total", "Attempts handed to the sender.")
ENDED = _make(Counter, "runs_total", "Runs that ended.", labelnames=("status",))
RETRIED = _make(Counter, "runs_retried_total", "Attempts that failed and are made again.")
BROKEN = _make(Counter, "jobs_broken_total", "Jobs that were switched off as unreadable.")
IN_FLIGHT = _make(Gauge, "runs_in_flight", "Calls that this process waits for.")
LEADING = _make(Gauge, "leading", "1 while this process leads, by a lease that it may trust; else 0.")
LEASE_AGE = _make(Gauge, "lease_age_seconds", "Since this process last renewed the lease; 0 on a standby.")

for _status in (Status.SUCCESS, Status.FAILED, Status.MISSED):
    # So that a rate can be told from the first failure on.
    ENDED.labels(_status.value)


def note_lags(runs: Iterable[JobExecution]) -> None:
    """How late these claimed runs are; a retry and a run by hand have no slot to be late for."""
    for run in runs:
        if run.attempt == 1 and run.trigger_type == TriggerType.SCHEDULED and run.scheduled_for:
            LAG.observe((run.started_at - run.scheduled_for).total_seconds())


def note_sent(deliveries: Sequence[Delivery]) -> None:
    """Count these attempts, which go to the sender now."""
    SENT.inc(len(deliveries))
    if logger.isEnabledFor(logging.DEBUG):
        for one in deliveries:
            logger.debug("run sent execution=%s job=%s attempt=%d", one.execution_id, one.job_id, one.attempt)


def note_retried(again: Iterable[tuple[JobExecution, DeliveryResult]]) -> None:
    """Log attempts that failed and are made again, once their transaction stands."""
    lines = [(run.pk, run.job_id, run.attempt, result.reason.value) for run, result in again]
    _log_on_commit("run is tried again execution=%s job=%s attempt=%d reason=%s", lines)


def note_released(rows: Iterable[tuple[UUID, UUID]]) -> None:
    """Log runs (id, job) that were claimed and not sent, once their transaction stands."""
    _log_on_commit("run was not sent, it is queued again execution=%s job=%s", list(rows))


def _log_on_commit(message: str, lines: Sequence[tuple[Any, ...]]) -> None:
    def say() -> None:
        for line in lines:
            logger.info(message, *line)

    if lines:
        transaction.on_commit(say)


def note_ended(runs: Sequence[JobExecution]) -> None:
    """Count these runs and log each, once their transaction stands."""
    if runs:
        transaction.on_commit(partial(_note_ended, runs))


def _note_ended(runs: Sequence[JobExecution]) -> None:
    for status, count in Tally(str(run.status) for run in runs).items():
        ENDED.labels(status).inc(count)
    for run in runs:
        if run.duration_seconds is not None:
            RUN.observe(run.duration_seconds)
        logger.info(_LINE, *_line(run))


_LINE: Final = "run ended execution=%s job=%s status=%s reason=%s response=%s attempt=%d slot=%s"


def _line(run: JobExecution) -> tuple[Any, ...]:
    slot = run.scheduled_for.isoformat() if run.scheduled_for else "-"
    return (
        run.pk,
        run.job_id,
        run.status,
        run.reason or "-",
        run.response_status or "-",
        run.attempt,
        slot,
    )
