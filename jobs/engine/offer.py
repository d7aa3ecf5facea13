"""OFFER: the leader tells other processes what is to be sent (SEND_BACKEND=celery).

    leader   queued rows, not offered yet ──▶ message {ids} in the queue of their team
    worker   message ──▶ claim (queued → running, conditional) ──▶ SEND ──▶ RECORD      jobs/engine/worker.py

A message is only a hint. It may be lost, delivered twice or come late: who sends a row is decided by
the claim's conditional update, as ever, and a row that nobody has claimed after REOFFER_S is offered
again. While the broker is away the rows wait in the database; those that nobody took within the grace
end as missed, so that none vanishes.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from cronsched.core.db import locked_skipping, retry_conflicts
from jobs.engine import metrics
from jobs.engine.lease import Term, prove
from jobs.engine.rescue import miss_stale_queue
from jobs.models import JobExecution

logger = logging.getLogger(__name__)

# Seconds after which a row that nobody claimed is offered again: below the grace, and longer than
# a healthy queue takes.
REOFFER_S = 10.0
# And for one that has waited so long: its queue has no worker, and a message for each look would fill it.
PATIENT_AFTER_S = 60.0
PATIENT_REOFFER_S = 300.0
BATCH = 500
# Small enough that several workers share a burst.
IDS_PER_MESSAGE = 100
# After a broker that did not answer, and between two looks for rows that nobody took.
PAUSE_S = 5.0

# publish(queue, ids): raises where the broker did not take the message.
Publish = Callable[[str, Sequence[UUID]], None]


class Offers:
    """Called by the ticker's thread alone; knows when the broker was last silent."""

    def __init__(
        self, publish: Publish, *, grace_s: float, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._publish = publish
        self._grace_s = grace_s
        self._steady = steady
        self._silent_until = self._swept_at = float("-inf")
        self._is_silent = False

    def __call__(self, *, now: datetime, term: Term) -> bool:
        """Offer one batch. Whether there may be more. Raises LeaseLost."""
        self._sweep(now, term)
        if self._steady() < self._silent_until:
            return False
        with metrics.DATABASE.labels("offer").time():
            offered = take(now=now, term=term)
        messages = [
            (queue, ids[first : first + IDS_PER_MESSAGE])
            for queue, ids in offered.items()
            for first in range(0, len(ids), IDS_PER_MESSAGE)
        ]
        for index, (queue, ids) in enumerate(messages):
            if not self._tell(queue, ids):
                _take_back([pk for _, rest in messages[index:] for pk in rest])
                return False
        return sum(map(len, offered.values())) == BATCH

    def _sweep(self, now: datetime, term: Term) -> None:
        """What no worker took in time. A new leader has done it once (jobs.engine.loop)."""
        if self._steady() - self._swept_at >= PAUSE_S:
            self._swept_at = self._steady()
            miss_stale_queue(now=now, term=term, grace_s=self._grace_s)

    def _tell(self, queue: str, ids: Sequence[UUID]) -> bool:
        try:
            self._publish(queue, ids)
        except Exception as error:
            # Whatever the broker's library raises: the rows wait, and nothing else may.
            if not self._is_silent:
                logger.warning("offer: the broker does not answer, runs wait queue=%s error=%s", queue, error)
            self._is_silent = True
            self._silent_until = self._steady() + PAUSE_S
            return False
        if self._is_silent:
            logger.info("offer: the broker answers again")
        self._is_silent = False
        return True


@retry_conflicts
def take(*, now: datetime, term: Term, limit: int = BATCH) -> Mapping[str, list[UUID]]:
    """Mark up to `limit` rows as offered, by the queue that they are for ("": the default one)."""
    waiting = Q(offered_at__isnull=True) | _unclaimed(now, REOFFER_S, waited_at_most_s=PATIENT_AFTER_S)
    waiting |= _unclaimed(now, PATIENT_REOFFER_S)
    queues: dict[str, list[UUID]] = defaultdict(list)
    with transaction.atomic():
        prove(term)
        ids = list(
            locked_skipping(JobExecution.objects.sendable(now).filter(waiting)).values_list("id", flat=True)[
                :limit
            ]
        )
        if ids:
            JobExecution.objects.filter(pk__in=ids).update(offered_at=now)
            rows = JobExecution.objects.filter(pk__in=ids).order_by("available_at", "id")
            for pk, queue in rows.values_list("pk", "job__pic_team__send_queue"):
                queues[queue or ""].append(pk)
    return queues


def _unclaimed(now: datetime, reoffer_s: float, *, waited_at_most_s: float | None = None) -> Q:
    """Runs that were last offered so long ago, and that nobody has claimed since."""
    unclaimed = Q(offered_at__lt=now - timedelta(seconds=reoffer_s))
    if waited_at_most_s is None:
        return unclaimed
    return unclaimed & Q(available_at__gt=now - timedelta(seconds=waited_at_most_s))


def _take_back(ids: Sequence[UUID]) -> None:
    JobExecution.objects.filter(pk__in=ids).update(offered_at=None)
