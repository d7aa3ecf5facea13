"""A job whose schedule cannot be read: switched off, with the reason on it and its due slot on record."""

from __future__ import annotations

import logging
from datetime import datetime

from jobs.choices import PausedReason
from jobs.engine.decide import ROW_FAULTS
from jobs.engine.messages import Reason
from jobs.engine.rows import insert_rows, missed_row, note_missed
from jobs.engine.slots import Gap
from jobs.engine.tell import tell_changed
from jobs.models import Job

logger = logging.getLogger(__name__)

BROKEN_TEXT = "Not sent: the job had to be switched off, and with it this slot. The reason stands on the job."


def switch_off(job: Job, *, note: str, now: datetime) -> None:
    """Pause a job that cannot be planned, in the transaction of the caller."""
    logger.warning("job switched off job=%s reason=%s", job.pk, note)
    slot = _due_slot(job, now)
    if slot is not None:
        one = Gap(first=slot, last=slot, count=1)
        row = missed_row(job, one, reason=Reason.CONFIGURATION, text=BROKEN_TEXT, now=now)
        note_missed(insert_rows([row]), now=now)
    Job.objects.filter(pk=job.pk).update(
        is_active=False,
        next_run_at=None,
        paused_reason=PausedReason.BROKEN,
        paused_note=note,
        updated_at=now,
        schedule_version=job.schedule_version + 1,
    )
    job.is_active, job.paused_note = False, note
    tell_changed(job, "broken", now=now)


def _due_slot(job: Job, now: datetime) -> datetime | None:
    try:
        slot: datetime | None = job.next_run_at
    except ROW_FAULTS:
        # The slot itself is what cannot be read: there is none to account for.
        return None
    return slot if slot is not None and slot <= now else None
