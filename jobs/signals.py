"""How jobs tells the world. Handlers insert rows and nothing else; they run inside the transaction.

`job_changed`: sender=Job, action ("created", "updated", "deleted", "enabled", "disabled",
"expired", "broken"), job (the Job; for "deleted" its last state), by (a User or None), now,
changes (field -> (old, new)), via ("api", "admin", "csv", "command", "scheduler").

`runs_finished`: sender=JobExecution, runs (a list of JobExecution with `job` loaded), now: a whole
batch of runs that have just become success, failed or missed.
"""

from __future__ import annotations

from django.dispatch import Signal

job_changed = Signal()
runs_finished = Signal()
