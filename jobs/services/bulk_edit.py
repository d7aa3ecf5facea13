"""One thing done to many jobs: each judged on its own, written in batches.

A batch is one transaction on locked rows and costs the same number of statements however many jobs it has;
one that is refused stops no other. Of a single job everybody is told as of any edit; of many, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import transaction

from accounts.models import User
from accounts.roles import may_change_job
from cronsched.core.db import database_now, insert_each, let_others_write, locked, retry_conflicts
from cronsched.core.errors import DomainError, Forbidden
from jobs.choices import PausedReason
from jobs.engine.tell import tell_batch_changed, tell_changed, tell_edited
from jobs.models import Job, JobExecution
from jobs.services.batches import KnownJobs, store_edits
from jobs.services.edits import Edit, edit_job
from jobs.services.lifecycle import without_owner
from jobs.services.manual import ended, ended_note, has_ended, new_run
from jobs.services.validation import clean_job, refuse_other_team
from jobs.signals import JobChange

BATCH: Final = 500
NOT_YOURS: Final = "this is not yours to change."

Made = TypeVar("Made")
# What an edit gives a job, by the names of the API. May refuse it with a DomainError.
Change = Callable[[Job], Mapping[str, Any]]


@dataclass(kw_only=True, slots=True)
class Done:
    """`runs` are those that were queued; `refused` are the jobs' names, each with the reason."""

    count: int = 0
    runs: list[JobExecution] = field(default_factory=list)
    refused: list[tuple[str, DomainError]] = field(default_factory=list)

    def add(self, other: Done) -> None:
        self.count += other.count
        self.runs += other.runs
        self.refused += other.refused


def edit_jobs(ids: Sequence[UUID], change: Change, *, by: User, now: datetime, via: str = "api") -> Done:
    """Give each of the jobs what `change` says of it. Those that were deleted meanwhile are passed over."""
    done = Done()
    actions: list[str] = []
    for batch in _batches(ids):
        part, edits = _edit_batch(batch, change, by=by, now=now, via=via, is_single=len(ids) == 1)
        done.add(part)
        actions += [edit.action for edit in edits]
    if len(ids) > 1 and actions:
        tell_edited(count=len(actions), action=actions[0], now=now, by=by, via=via)
    return done


def run_jobs_now(ids: Sequence[UUID], *, by: User, now: datetime, via: str = "api") -> Done:
    """Queue a run of each. One whose end date has gone by is paused and refused, as `run_job_now` does."""
    done = Done()
    for batch in _batches(ids):
        done.add(_run_batch(batch, by=by, now=now, via=via))
    return done


def _batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for begin in range(0, len(ids), BATCH):
        if begin:
            let_others_write()
        yield ids[begin : begin + BATCH]


@retry_conflicts
def _edit_batch(
    ids: Sequence[UUID], change: Change, *, by: User, now: datetime, via: str, is_single: bool
) -> tuple[Done, list[Edit]]:
    with transaction.atomic():
        jobs = _locked(ids)
        known = KnownJobs(jobs)

        def edit(job: Job) -> Edit | None:
            clean = clean_job(without_owner(change(job), by), instance=job, now=now, lookups=known)
            refuse_other_team(clean, by)
            return edit_job(job, clean, now=now) if clean else None

        part, found = _judged(jobs, edit, by)
        edits = [one for one in found if one is not None]
        store_edits(edits, now=now)
        _tell(edits, by=by, now=now, via=via, is_single=is_single)
    return part, edits


@retry_conflicts
def _run_batch(ids: Sequence[UUID], *, by: User, now: datetime, via: str) -> Done:
    with transaction.atomic():
        jobs = _locked(ids)
        available_at = min(now, database_now())
        expired: list[Edit] = []

        def queue(job: Job) -> JobExecution:
            if has_ended(job, now=now):
                if job.is_active:
                    expired.append(
                        edit_job(
                            job,
                            {"is_active": False},
                            now=now,
                            reason=PausedReason.EXPIRED,
                            note=ended_note(job),
                        )
                    )
                raise ended(job)
            return new_run(job, {}, by=by, now=now, available_at=available_at)

        part, runs = _judged(jobs, queue, by)
        part.runs = runs
        insert_each(runs)
        store_edits(expired, now=now)
        _tell(expired, by=by, now=now, via=via, is_single=len(ids) == 1)
    return part


def _locked(ids: Sequence[UUID]) -> list[Job]:
    """In the order of an upload: two at once then wait for each other instead of crossing."""
    return list(locked(Job.objects.filter(pk__in=ids)).order_by("name_key"))


def _judged(jobs: Sequence[Job], make: Callable[[Job], Made], by: User) -> tuple[Done, list[Made]]:
    part, made = Done(), []
    for job in jobs:
        try:
            if not may_change_job(by, created_by_id=job.created_by_id):
                raise Forbidden(NOT_YOURS)
            made.append(make(job))
        except DomainError as refusal:
            part.refused.append((job.name, refusal))
    part.count = len(made)
    return part, made


def _tell(edits: Sequence[Edit], *, by: User, now: datetime, via: str, is_single: bool) -> None:
    if is_single:
        for edit in edits:
            tell_changed(edit.job, edit.action, by=by, now=now, via=via, changes=edit.changes)
        return
    changes = [JobChange(job=edit.job, action=edit.action, changes=edit.changes) for edit in edits]
    tell_batch_changed(changes, now=now, by=by, via=via)
