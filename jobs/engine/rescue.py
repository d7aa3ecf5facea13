"""RESCUE: what a dead process left behind.

`running` rows past their deadline have a sender that died or forgot them: nobody knows whether the
request arrived, so they end as `failed` ("interrupted"), never sent again; where the job has retries
left they count as one attempt. The deadline decides, not a lost lease: a leader that lost the lease
may still be waiting for answers, and records them.

`queued` rows were never sent, and whoever leads next sends them: unless they are older than the
misfire grace when it takes the lead, for then nobody wants Friday's run on Monday. A job that catches
up does want it; what waits for its next attempt was sent in time.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from cronsched.core.db import DatabaseNow, locked, retry_conflicts
from jobs.choices import CatchUp, Status, TriggerType
from jobs.engine.lease import Term, prove
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.engine.record import BATCH, record
from jobs.engine.recorder import RETRY_MOST_S
from jobs.engine.rows import TOO_LATE_TEXT, end_as_missed
from jobs.models import Job, JobExecution

logger = logging.getLogger(__name__)

# Seconds that a new leader, and one whose database was away, leaves to the senders: their recorders
# try again every RETRY_MOST_S.
PATIENCE_S = 2 * RETRY_MOST_S
# How long past its deadline a run is left to this process itself: judged too early, it could be repeated
# while its first attempt is in flight.
OWN_PATIENCE_S = 300.0

INTERRUPTED_TEXT = (
    "Interrupted: the scheduler that sent this run stopped before the answer came. Whether the request "
    "arrived is unknown. Look at the receiver, then run the job by hand if needed."
)


def rescue_stuck(*, now: datetime, term: Term) -> int:
    """End the rows whose deadline has gone by. The count; logged only when there are any."""
    total = 0
    while True:
        with transaction.atomic():
            prove(term)
            # What this process sent has a sender that lives, and a result that is under way.
            forgotten = ~Q(claimed_by=term.holder) | Q(deadline_at__lt=DatabaseNow(-OWN_PATIENCE_S))
            stuck = JobExecution.objects.stuck(DatabaseNow()).filter(forgotten)
            rows: list[tuple[UUID, UUID, datetime, int]] = list(
                stuck.values_list("pk", "claim_token", "started_at", "attempt")[:BATCH]
            )
        if rows:
            done = record([_interrupted(*row, now=now) for row in rows], now=now)
            ended = done.failed + done.retried
            total += ended
            if not ended:
                # Their own senders were faster: nothing of this page is stuck any more.
                break
        if len(rows) < BATCH:
            break
    if total:
        logger.warning("rescue: interrupted runs ended count=%d", total)
    return total


def _interrupted(
    pk: UUID, token: UUID, started_at: datetime, attempt: int, *, now: datetime
) -> DeliveryResult:
    return DeliveryResult(
        execution_id=pk,
        claim_token=token,
        outcome=Outcome.FAILED,
        attempt=attempt,
        reason=Reason.INTERRUPTED,
        started_at=started_at,
        completed_at=now,
        duration_s=max((now - started_at).total_seconds(), 0.0),
        error_message=INTERRUPTED_TEXT,
    )


def miss_stale_queue(*, now: datetime, term: Term, grace_s: float) -> int:
    """At the start of a term: scheduled rows queued under an earlier one and now too late. The count."""
    total = 0
    while moved := _miss_batch(now=now, term=term, grace_s=grace_s):
        total += moved
    if total:
        logger.warning("rescue: queued runs were too late to send count=%d", total)
    return total


@retry_conflicts
def _miss_batch(*, now: datetime, term: Term, grace_s: float) -> int:
    with transaction.atomic():
        prove(term)
        late = JobExecution.objects.filter(
            status=Status.QUEUED,
            trigger_type=TriggerType.SCHEDULED,
            attempt=1,
            scheduled_for__lt=now - timedelta(seconds=grace_s),
            job__in=Job.objects.filter(catch_up=CatchUp.SKIP),
        )
        ids = list(locked(late.order_by("available_at", "id")).values_list("pk", flat=True)[:BATCH])
        if not ids:
            return 0
        runs = list(
            JobExecution.objects.filter(pk__in=ids).select_related("job").defer("overrides", "output")
        )
        end_as_missed(runs, reason=Reason.MISFIRE, text=TOO_LATE_TEXT, now=now)
    return len(ids)
