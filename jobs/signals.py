"""How jobs tells the world. Handlers insert rows and nothing else; they run inside the transaction.

`job_changed`: sender=Job, action ("created", "updated", "deleted", "enabled", "disabled",
"expired", "broken"), job (the Job; for "deleted" its last state), by (a User or None), now,
changes (field -> (old, new)), via ("api", "admin", "csv", "command", "scheduler").

`job_batch_changed`: sender=Job, changes (a list of JobChange), by, now, via: what one batch of an
upload stored, or the jobs that expired together, in its transaction. `job_changed` is not sent for
these.

`jobs_uploaded`: sender=Job, created, updated, failed (counts of rows; `updated` of those that did
change), by, now, via: once, when a whole upload is over.

`jobs_edited`: sender=Job, count, action, by, now, via: once, when one change was made to many jobs, whose
batches `job_batch_changed` told of.

`runs_finished`: sender=JobExecution, runs (a list of JobExecution with `job` loaded), now: a whole
batch of runs that have just become success, failed or missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

if TYPE_CHECKING:
    from jobs.models import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class JobChange:
    """One change among many: action, job and changes are those of `job_changed`."""

    job: Job
    action: str
    changes: dict[str, tuple[Any, Any]]


job_changed = Signal()
job_batch_changed = Signal()
jobs_uploaded = Signal()
jobs_edited = Signal()
runs_finished = Signal()
