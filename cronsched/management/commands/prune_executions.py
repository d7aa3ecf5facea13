"""Deletes old history by hand; the scheduler does the same once a day."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from cronsched.core import clock
from cronsched.management.base import ProductCommand, counted
from jobs.services.history import prunable_runs, prune_executions


class Command(ProductCommand):
    help = "Delete executions that started long ago, in small batches. What is queued or running stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=settings.EXECUTION_RETENTION_DAYS,
            help="how old, 1 or more (default: EXECUTION_RETENTION_DAYS, %(default)s)",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args: Any, **options: Any) -> None:
        days, now = options["days"], clock.now()
        total = prunable_runs(days=days, now=now).count()
        if options["dry_run"]:
            self.stdout.write(
                f"{counted(total, 'execution')} older than {counted(days, 'day')}; none was deleted."
            )
            return
        progress = self.progress("Deleted", total)
        for count in prune_executions(days=days, now=now):
            progress.add(count)
        progress.end()
        self.stdout.write(f"{counted(progress.done, 'execution')} older than {counted(days, 'day')} deleted.")
