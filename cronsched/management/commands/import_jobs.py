"""Bulk upload from a shell: the same engine, rules and messages as `POST /jobs/bulk-upload`."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from accounts.models import User
from cronsched.core import clock
from cronsched.management.base import ProductCommand, counted
from jobs.services.bulk_upload.engine import Action, Outcome, Upload, check_default_owner, upload_jobs
from jobs.services.bulk_upload.report import Report
from jobs.services.bulk_upload.sheet import Sheet


class Command(ProductCommand):
    help = (
        "Create and update jobs from a CSV file, by name. Imports what it can, and exits with 1 where a row "
        "failed. A file that export_jobs wrote changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.csv", help="CSV in UTF-8: commas, semicolons or tabs")
        parser.add_argument("--dry-run", action="store_true", help="store nothing, say what would happen")
        parser.add_argument(
            "--owner", metavar="USER", help="username or e-mail address of who owns the jobs that are created"
        )
        parser.add_argument(
            "--default-github-owner", default="", metavar="OWNER", help="for repositories without an owner"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        owner = _find_owner(options["owner"]) if options["owner"] is not None else None
        upload = Upload(
            by=None,
            owner_id=owner.pk if owner else None,
            now=clock.now(),
            via="command",
            dry_run=options["dry_run"],
            default_github_owner=check_default_owner(options["default_github_owner"]),
        )
        with _opened(options["file"]) as file:
            report = self._import(Sheet(file), upload, is_told=upload.dry_run or options["verbosity"] > 1)
        would = "Dry run, nothing was stored: " if upload.dry_run else ""
        self.stdout.write(f"{would}{report.summary} ({report.unchanged} of the updated had nothing new).")
        if report.failed:
            count = report.created + report.updated + report.failed
            raise CommandError(f"{report.failed} of {counted(count, 'row')} failed.")

    def _import(self, sheet: Sheet, upload: Upload, *, is_told: bool) -> Report:
        if sheet.unknown_columns:
            names = ", ".join(f'"{name}"' for name in sheet.unknown_columns)
            self.stderr.write(f"Columns left aside, as nobody knows them: {names}", lambda text: text)
        progress = self.progress("Rows", sheet.entry_count)
        report = Report()
        # Closed also where Ctrl-C ends it: what was stored is told.
        with contextlib.closing(upload_jobs(sheet.entries(), upload)) as outcomes:
            for outcome in outcomes:
                report.add(outcome)
                self._tell(outcome, progress, is_told=is_told)
                progress.add()
        progress.end()
        return report

    def _tell(self, outcome: Outcome, progress: Any, *, is_told: bool) -> None:
        if outcome.action is Action.FAILED:
            progress.end()
            self.stderr.write(f"Row {outcome.row}, {outcome.name or '(no name)'}: {outcome.error}")
        elif is_told and outcome.action is not Action.UNCHANGED:
            progress.end()
            self.stdout.write(f"Row {outcome.row}, {outcome.name}: {outcome.action}{_difference(outcome)}")


def _difference(outcome: Outcome) -> str:
    changes = [f"\n    {field}: {old!r} → {new!r}" for field, (old, new) in outcome.changes.items()]
    return "".join(changes)


def _find_owner(identifier: str) -> User:
    user = User.objects.identified_by(identifier).first()
    if user is None:
        raise CommandError(f'--owner: there is no user "{identifier}".')
    if not user.is_active:
        raise CommandError(f"--owner: {user.username} is deactivated and cannot be given jobs.")
    return user


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The file, or a copy of what comes through a pipe (/dev/stdin): it is read more than once."""
    try:
        with open(path, "rb") as file:
            if file.seekable():
                yield file
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(file, copy)
                yield copy
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
