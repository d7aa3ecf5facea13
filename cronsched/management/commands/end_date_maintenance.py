"""Pauses jobs whose end date has gone by and, where asked, reminds of those that end soon."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from cronsched.core import clock
from cronsched.management.base import ProductCommand, counted
from jobs.services.maintenance import expire_jobs
from notifications.reminders import send_end_date_reminders


class Command(ProductCommand):
    help = "Pause jobs whose end date has gone by, as the scheduler does by itself. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--remind", action="store_true", help="also send the weekly reminders of jobs that end soon"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.now()
        self.stdout.write(f"{counted(expire_jobs(now=now), 'job')} paused.")
        if options["remind"]:
            self.stdout.write(f"{counted(send_end_date_reminders(now=now), 'reminder')} sent.")
