"""Entries become jobs: validated as everywhere, compared with what is stored, written in batches.

A batch is one transaction on locked rows, so that edits from elsewhere are neither lost nor undone,
and costs the same number of statements however many rows it has. One bad row never stops the others.
What is stored stays stored: after a crash the same file is uploaded again, and what is there
already changes nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from accounts.models import User
from accounts.roles import is_within_team, may_change_job
from cronsched.core.db import insert_each, is_conflict, let_others_write, locked, retry_conflicts
from cronsched.core.errors import InvalidInput
from cronsched.core.text import name_key
from jobs.engine.tell import tell_batch_changed, tell_uploaded
from jobs.models import Job
from jobs.services import fields
from jobs.services.batches import KnownJobs, store_edits
from jobs.services.bulk_upload.columns import Entry
from jobs.services.edits import Edit, edit_job, make_job
from jobs.services.validation import clean_job, refuse_other_team
from jobs.signals import JobChange

logger = logging.getLogger(__name__)

BATCH: Final = 500
# Another upload may take names while this one does; each time the rows are read anew.
ATTEMPTS: Final = 3
_NOT_OWN: Final = "This job belongs to somebody else, and you can only update your own: rename the row."
_NOT_STORED: Final = "This row could not be stored just now: upload it again."


class Action(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """Who uploads, and how. `by` None is the installation itself (a command): it may change any job.

    `owner_id` owns the jobs that are created; an update keeps the owner. `via` is as in `jobs.signals`.
    """

    by: User | None
    owner_id: UUID | None
    now: datetime
    via: str = "csv"
    dry_run: bool = False
    default_github_owner: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one entry. `changes` are field → (old, new) of an update; `error` is for a person.

    In a dry run `job` is what would be stored.
    """

    row: int
    name: str
    action: Action
    job: Job | None = None
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    error: str = ""
    # The error's messages by field, where fields are at fault.
    details: Mapping[str, Sequence[str]] = field(default_factory=dict)
    edit: Edit | None = None


def check_default_owner(text: str) -> str:
    """What rows with a repository, but no owner, are given. InvalidInput where it can be nobody's name."""
    owner = text.strip()
    try:
        fields.check_github_name("default_github_owner", owner)
    except fields.Refused as refusal:
        raise InvalidInput(str(refusal), field="default_github_owner") from None
    return owner


def upload_jobs(entries: Iterable[Entry], upload: Upload) -> Generator[Outcome]:
    """Store the entries, a batch at a time, and say what became of each once its batch is stored.

    What was stored is told once, at the end, or when the caller stops asking.
    """
    counts: Counter[Action] = Counter()
    try:
        for outcome in upload_part(entries, upload):
            counts[outcome.action] += 1
            yield outcome
    finally:
        tell_of_upload(counts, upload)


def upload_part(
    entries: Iterable[Entry], upload: Upload, *, begin: int = 0, count: int | None = None
) -> Generator[Outcome]:
    """As `upload_jobs`, `count` entries from `begin` on (0 is the first), and nobody is told.

    `entries` are those of the whole file all the same: a repeated name is found across its parts.
    """
    end = None if count is None else begin + count
    part = islice(_without_repeats(entries), begin, end)
    for number, batch in enumerate(_batches(part)):
        if number and not upload.dry_run:
            let_others_write()
        yield from _stored(batch, upload)


def tell_of_upload(counts: Mapping[Action, int], upload: Upload) -> None:
    """Tell once of a whole upload that is over; of a dry run, or of one that changed nothing, nothing."""
    if upload.dry_run:
        return
    created, updated = counts.get(Action.CREATED, 0), counts.get(Action.UPDATED, 0)
    if not (created or updated):
        return
    failed = counts.get(Action.FAILED, 0)
    try:
        tell_uploaded(
            created=created, updated=updated, failed=failed, now=upload.now, by=upload.by, via=upload.via
        )
    except DatabaseError:
        # What is stored is stored: its answer must not be lost for the sake of a notice.
        logger.exception("upload: nobody was told of it")


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, BATCH)):
        yield batch


def _without_repeats(entries: Iterable[Entry]) -> Iterator[Entry]:
    """A name's second row is refused, whatever came of the first: nobody can tell which was meant."""
    seen: dict[str, int] = {}
    for entry in entries:
        key = name_key(entry.name)
        first = seen.setdefault(key, entry.row) if key else entry.row
        if first != entry.row and not entry.fault:
            fault = (
                f"The same name stands in row {first} already: keep one of the two rows, or rename this one."
            )
            yield replace(entry, fault=fault)
        else:
            yield entry


# ---- storing ----------------------------------------------------------------------------------


def _stored(batch: list[Entry], upload: Upload) -> list[Outcome]:
    """Store the batch; where the database refuses it, each row alone, so that one stops no other."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _store(batch, upload)
        except InterfaceError:
            raise
        except DatabaseError as error:
            if isinstance(error, OperationalError) and not is_conflict(error):
                # The database is gone; what the batches before have stored stays.
                raise
            logger.info("upload: a batch was refused rows=%d attempt=%d error=%s", len(batch), attempt, error)
    if len(batch) > 1:
        return [outcome for entry in batch for outcome in _stored([entry], upload)]
    logger.error("upload: row %d could not be stored", batch[0].row)
    return [_failed(batch[0], _NOT_STORED)]


@retry_conflicts
def _store(batch: list[Entry], upload: Upload) -> list[Outcome]:
    if upload.dry_run:
        return _judge_all(batch, _jobs_named(batch), upload)
    with transaction.atomic():
        outcomes = _judge_all(batch, locked(_jobs_named(batch)), upload)
        _write(outcomes, upload)
    return outcomes


def _jobs_named(batch: Sequence[Entry]) -> Any:
    keys = {name_key(entry.name) for entry in batch if not entry.fault}
    # In the order of the key: two uploads at once then wait for each other instead of crossing.
    return (
        Job.objects.filter(name_key__in=keys)
        .defer("previous_signing_secret", "search_text")
        .order_by("name_key")
    )


def _write(outcomes: Sequence[Outcome], upload: Upload) -> None:
    new = [outcome.job for outcome in outcomes if outcome.action is Action.CREATED and outcome.job]
    edits = [outcome.edit for outcome in outcomes if outcome.edit]
    for job in new:
        job.refresh_keys()
    insert_each(new)
    store_edits(edits, now=upload.now)
    changes = [JobChange(job=job, action="created", changes={}) for job in new]
    changes += [JobChange(job=edit.job, action=edit.action, changes=edit.changes) for edit in edits]
    tell_batch_changed(changes, now=upload.now, by=upload.by, via=upload.via)


# ---- judging: no writes from here on ----------------------------------------------------------


def _judge_all(batch: Sequence[Entry], jobs: Iterable[Job], upload: Upload) -> list[Outcome]:
    known = KnownJobs(jobs)
    return [_judge(entry, known, upload) for entry in batch]


def _judge(entry: Entry, known: KnownJobs, upload: Upload) -> Outcome:
    """What one entry comes to. The job in memory is changed already; nothing is stored."""
    if entry.fault:
        return _failed(entry, entry.fault)
    job = known.jobs.get(name_key(entry.name))
    if job is not None and not _may_change(job, upload.by):
        return _failed(entry, _NOT_OWN)
    try:
        clean = clean_job(_data(entry, job, upload), instance=job, now=upload.now, lookups=known)
        refuse_other_team(clean, upload.by)
        return _applied(entry, job, clean, upload)
    except InvalidInput as error:
        return _failed(entry, error.message, error.details)


def _may_change(job: Job, by: User | None) -> bool:
    if by is None:
        return True
    slug = job.pic_team.slug if job.pic_team is not None else None
    return may_change_job(by, created_by_id=job.created_by_id) and is_within_team(by, slug)


def _data(entry: Entry, job: Job | None, upload: Upload) -> Mapping[str, Any]:
    """The entry's values, and what depends on the job that is there: the branch, the default owner."""
    data = dict(entry.data)
    if entry.branch:
        stored = job.metadata if job is not None else {}
        metadata = data.get("metadata", stored) or {}
        if isinstance(metadata, Mapping) and "branchDetails" not in metadata:
            data["metadata"] = {**metadata, "branchDetails": entry.branch}
    if upload.default_github_owner and _lacks_owner(data, job):
        data["github_owner"] = upload.default_github_owner
    return data


def _lacks_owner(data: Mapping[str, Any], job: Job | None) -> bool:
    stored = job.github_owner if job is not None else ""
    repository = data.get("github_repo")
    is_bare = isinstance(repository, str) and bool(repository) and "/" not in repository
    return is_bare and not data.get("github_owner", stored)


def _applied(entry: Entry, job: Job | None, clean: Mapping[str, Any], upload: Upload) -> Outcome:
    if job is None:
        new = make_job(clean, owner_id=upload.owner_id, now=upload.now)
        return _outcome(entry, Action.CREATED, job=new)
    if not clean:
        return _outcome(entry, Action.UNCHANGED, job=job)
    edit = edit_job(job, clean, now=upload.now)
    return _outcome(entry, Action.UPDATED, job=job, changes=edit.changes, edit=edit)


def _failed(entry: Entry, error: str, details: Mapping[str, Sequence[str]] | None = None) -> Outcome:
    return _outcome(entry, Action.FAILED, error=error, details=details or {})


def _outcome(entry: Entry, action: Action, **values: Any) -> Outcome:
    return Outcome(row=entry.row, name=entry.name[: fields.NAME_MAX], action=action, **values)
