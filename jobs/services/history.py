"""What becomes of old runs: deleting those of a job, and pruning those of all.

The rows are deleted in the database alone: there may be a million, and none is loaded. What points
at a run is asked of the models, so that apps above this one need no import here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import CASCADE, SET_NULL, QuerySet

from cronsched.core.db import let_others_write, retry_conflicts
from cronsched.core.errors import InvalidInput
from jobs.choices import FINISHED
from jobs.engine.tally import forget
from jobs.models import JobExecution

PRUNE_BATCH: Final = 500
RETENTION_MAX_DAYS: Final = 36_500


def delete_runs(runs: QuerySet[JobExecution]) -> None:
    """Delete these runs, in the caller's transaction. What was told of them stays, without the link."""
    forget(runs)
    _let_go(runs)
    runs._raw_delete(runs.db)


def prunable_runs(*, days: int, now: datetime) -> QuerySet[JobExecution]:
    """Finished runs that started more than `days` ago; what is queued or running is never among them."""
    if not 1 <= days <= RETENTION_MAX_DAYS:
        raise InvalidInput(f"days must be from 1 to {RETENTION_MAX_DAYS}.", field="days")
    runs: QuerySet[JobExecution] = JobExecution.objects.filter(
        status__in=FINISHED, started_at__lt=now - timedelta(days=days)
    )
    return runs


def prune_executions(*, days: int, now: datetime) -> Iterator[int]:
    """Delete what `prunable_runs` finds, oldest first, a small transaction at a time; yields their counts."""
    runs = prunable_runs(days=days, now=now).order_by("started_at", "id")
    while count := _prune_batch(runs):
        yield count
        if count < PRUNE_BATCH:
            return
        let_others_write()


@retry_conflicts
def _prune_batch(runs: QuerySet[JobExecution]) -> int:
    with transaction.atomic():
        # By id, read first: MariaDB runs a subquery in an UPDATE once for each row of the table.
        ids = list(runs.values_list("pk", flat=True)[:PRUNE_BATCH])
        if ids:
            batch = JobExecution.objects.filter(pk__in=ids)
            forget(batch)
            _let_go(ids)
            batch._raw_delete(batch.db)
    return len(ids)


def _let_go(runs: QuerySet[JobExecution] | list[UUID]) -> None:
    """Clear or delete what points at these runs, as each foreign key says."""
    for relation in _pointing_at_runs():
        rows: Any = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": runs})
        if relation.on_delete is SET_NULL:
            rows.update(**{relation.field.name: None})
        elif relation.on_delete is CASCADE:
            rows._raw_delete(rows.db)
        else:
            raise NotImplementedError(f"{relation.name}: what becomes of it when a run is deleted?")


def _pointing_at_runs() -> list[Any]:
    """The foreign keys to an execution, those without a name for the way back too."""
    every = JobExecution._meta.get_fields(include_hidden=True)
    return [
        relation
        for relation in every
        if relation.one_to_many or (relation.one_to_one and relation.auto_created)
    ]
