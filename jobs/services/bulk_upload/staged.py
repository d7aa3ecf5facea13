"""An upload in two phases, checked and then stored, a part at a time: for a page that shows its progress.

    begin_upload   keeps the file; what is wrong with it as a whole is told at once
    take_step      checks, or stores, the next part
    confirm        from checked to storing
    refused_lines  the refused rows as CSV, with the reason, to be mended and uploaded again

The file waits in the database, so that each step may be another process's; a step that is cut short
is done again, and what it had stored already changes nothing.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Final

from django.conf import settings
from django.db.models import Q

from accounts.audit import as_kept
from accounts.models import User
from cronsched.core import cells
from cronsched.core.crypto import decrypt, encrypt
from cronsched.core.db import retry_conflicts
from cronsched.core.errors import Conflict, TooLarge
from jobs.models import Job, JobUpload, UploadPhase
from jobs.services.bulk_upload.engine import (
    Action,
    Outcome,
    Upload,
    check_default_owner,
    tell_of_upload,
    upload_part,
)
from jobs.services.bulk_upload.sheet import Sheet
from jobs.services.bulk_upload.table import Row

# Entries of one step: a second or two of work, two turns of the engine.
STEP: Final = 1_000
# Rows of each list that a page shows; of the refused ones all are kept, for their file.
SHOWN: Final = 500
KEPT_FOR: Final = timedelta(days=1)
STEP_TIMEOUT: Final = timedelta(seconds=120)
ERROR_TITLE: Final = "Error"
_COUNTED: Final = {
    Action.CREATED: "created",
    Action.UPDATED: "updated",
    Action.UNCHANGED: "unchanged",
    Action.FAILED: "failed",
}


def begin_upload(
    *, file: BinaryIO, size: int, filename: str, default_github_owner: str, by: User, now: datetime
) -> JobUpload:
    """Keep the file to be checked. TableFault, TooLarge or InvalidInput where it cannot be used at all."""
    if size > settings.UPLOAD_MAX_BYTES:
        raise TooLarge(f"The file is larger than {settings.UPLOAD_MAX_BYTES} bytes: split it.", field="file")
    owner = check_default_owner(default_github_owner)
    content = file.read()
    sheet = Sheet(io.BytesIO(content))
    upload = JobUpload(
        user=by,
        filename=filename[-255:],
        content=_packed(content),
        default_github_owner=owner,
        entry_count=sheet.entry_count,
        empty_count=sheet.empty_count,
        unknown_columns=sheet.unknown_columns,
        report=_empty_report(),
        created_at=now,
    )
    return _store(upload, now)


@retry_conflicts
def _store(upload: JobUpload, now: datetime) -> JobUpload:
    """One for each user: whoever chooses another file is done with the one before, if it is not at work."""
    earlier = JobUpload.objects.filter(user=upload.user).exclude(phase=UploadPhase.STORING)
    earlier.delete()
    delete_old_uploads(now=now)
    upload.save(force_insert=True)
    return upload


def delete_old_uploads(*, now: datetime) -> int:
    """Files that nobody came back for. The count."""
    return int(JobUpload.objects.filter(created_at__lt=now - KEPT_FOR).delete()[0])


@retry_conflicts
def confirm(upload: JobUpload, *, now: datetime) -> None:
    """Let it be stored. Conflict where it is not waiting for that."""
    moved = JobUpload.objects.filter(pk=upload.pk, phase=UploadPhase.CHECKED).update(
        phase=UploadPhase.STORING, position=0, report=_empty_report(), busy_until=None
    )
    if not moved:
        raise Conflict("This upload is being stored already, or was.")


def take_step(upload: JobUpload, *, by: User, now: datetime, count: int = STEP) -> JobUpload:
    """Check or store the next part; the upload as it is then. Where another request is at it: as it is."""
    if not _claim(upload, now):
        upload.refresh_from_db()
        return upload
    upload.refresh_from_db()
    options = _options(upload, by, now)
    entries = Sheet(_opened(upload)).entries()
    outcomes = list(upload_part(entries, options, begin=upload.position, count=count))
    _note(upload, outcomes)
    upload.position = min(upload.position + count, upload.entry_count)
    if upload.position >= upload.entry_count:
        _end_phase(upload, options)
    _release(upload)
    return upload


def refused_lines(upload: JobUpload) -> Iterator[str]:
    """The rows that were refused, under their own columns, with the reason in a last one."""
    errors = {row: error for row, _name, error in upload.report["refused"]}
    sheet = Sheet(_opened(upload))
    titles = [title for title in sheet.header if title != ERROR_TITLE]
    kept = [number for number, title in enumerate(sheet.header) if title != ERROR_TITLE]
    rows = ([*_cells(row, kept), errors[row.number]] for row in sheet.rows() if row.number in errors)
    return cells.csv_lines([*titles, ERROR_TITLE], rows)


def _cells(row: Row, kept: Iterable[int]) -> list[str]:
    """The cells below the kept columns; a row may end before its blank cells do."""
    return [cells.as_written(row.cells[number]) if number < len(row.cells) else "" for number in kept]


@retry_conflicts
def _claim(upload: JobUpload, now: datetime) -> bool:
    free = Q(busy_until__isnull=True) | Q(busy_until__lt=now)
    at_work = JobUpload.objects.filter(
        free, pk=upload.pk, phase__in=(UploadPhase.CHECKING, UploadPhase.STORING)
    )
    return bool(at_work.update(busy_until=now + STEP_TIMEOUT))


@retry_conflicts
def _release(upload: JobUpload) -> None:
    upload.busy_until = None
    names = ("position", "phase", "report", "busy_until", "content")
    # Not `save`: the row may be gone, where its user has chosen another file meanwhile.
    JobUpload.objects.filter(pk=upload.pk).update(**{name: getattr(upload, name) for name in names})


def _options(upload: JobUpload, by: User, now: datetime) -> Upload:
    return Upload(
        by=by,
        owner_id=by.pk,
        now=now,
        dry_run=upload.phase == UploadPhase.CHECKING,
        default_github_owner=upload.default_github_owner,
    )


def _end_phase(upload: JobUpload, options: Upload) -> None:
    if upload.phase == UploadPhase.CHECKING:
        upload.phase = UploadPhase.CHECKED
        return
    upload.phase = UploadPhase.DONE
    if not upload.report["refused"]:
        upload.content = ""
    tell_of_upload({action: upload.report["counts"][word] for action, word in _COUNTED.items()}, options)


def _empty_report() -> dict[str, Any]:
    counts = dict.fromkeys(_COUNTED.values(), 0)
    return {"counts": counts, "created": [], "updated": [], "refused": []}


def _note(upload: JobUpload, outcomes: Iterable[Outcome]) -> None:
    report, counted = upload.report, Counter[Action]()
    for outcome in outcomes:
        counted[outcome.action] += 1
        if outcome.action is Action.FAILED:
            report["refused"].append([outcome.row, outcome.name, outcome.error])
        elif outcome.action is Action.CREATED and len(report["created"]) < SHOWN and outcome.job:
            report["created"].append([outcome.row, outcome.name, _begins(outcome.job)])
        elif outcome.action is Action.UPDATED and len(report["updated"]) < SHOWN:
            report["updated"].append([outcome.row, outcome.name, _shown(outcome.changes)])
    for action, word in _COUNTED.items():
        report["counts"][word] += counted[action]


def _begins(job: Job) -> list[str]:
    """What a table shows of a new job: when, what, whose, until when."""
    team = job.pic_team.name if job.pic_team else ""
    return [job.cron_expression, job.target, team, str(job.end_date)]


def _shown(changes: Mapping[str, tuple[Any, Any]]) -> dict[str, list[Any]]:
    return {name: as_kept(name, *pair) for name, pair in changes.items()}


def _packed(content: bytes) -> str:
    return encrypt(base64.b64encode(zlib.compress(content)).decode())


def _opened(upload: JobUpload) -> BinaryIO:
    return io.BytesIO(zlib.decompress(base64.b64decode(decrypt(upload.content))))
