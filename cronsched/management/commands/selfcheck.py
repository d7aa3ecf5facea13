"""Is this installation well? Ends non-zero where something is to be mended, and says how."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cronsched.core import clock
from cronsched.selfcheck import Grade, Options, run_checks


class Command(BaseCommand):
    help = "Look at database, scheduler, clock, secrets, mail and Slack; say what to mend."
    # The database may be what is broken: it is the first thing looked at.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--send", action="store_true", help="also send a test message by mail and to Slack"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        failures = 0
        for finding in run_checks(Options(now=clock.now(), send=options["send"])):
            failures += finding.grade is Grade.FAILED
            self.stdout.write(f"{finding.grade:6}  {finding.what}: {finding.text}")
        if failures:
            raise CommandError(f"{failures} to mend.")
        self.stdout.write("All well.")
