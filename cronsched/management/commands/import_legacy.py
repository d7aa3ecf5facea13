"""Moving in from the earlier system; docs/cutover.md is the whole way."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from cronsched.core import clock
from cronsched.legacy.context import Import, Options
from cronsched.legacy.report import Kind, Report
from cronsched.legacy.run import bring_all, last_sign_of_life
from cronsched.legacy.source import Legacy, open_legacy
from cronsched.management.base import ProductCommand, Progress, counted
from jobs.schedule import ZoneError, load_zone


class Command(ProductCommand):
    help = (
        "Bring over the earlier system's users, teams, categories, jobs, history, notices and settings. "
        "Its database is only read. May be repeated: what is here already stays. Exits with 1 where "
        "something was left out."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database",
            required=True,
            metavar="URL",
            help="sqlite:////path/cron_jobs.db or mysql://user:pass@host/db",
        )
        parser.add_argument("--dry-run", action="store_true", help="store nothing, say what would come over")
        parser.add_argument(
            "--paused",
            action="store_true",
            help="active jobs come over paused: for a rehearsal, nothing fires",
        )
        parser.add_argument(
            "--update",
            action="store_true",
            help="what was changed there since is taken anew, and jobs wake that --paused had paused",
        )
        parser.add_argument(
            "--timezone",
            default="",
            metavar="ZONE",
            help="SCHEDULER_TIMEZONE of the earlier system, where it differs",
        )
        parser.add_argument(
            "--weekdays",
            choices=["as-written", "as-fired"],
            default="as-written",
            help="0 is Sunday, as was documented (default); or the days on which the earlier system did run",
        )
        parser.add_argument(
            "--report", metavar="FILE.csv", help="every row that was not simply taken, as CSV"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = Options(
            now=clock.now(),
            zone=_zone(options["timezone"]),
            dry_run=options["dry_run"],
            paused=options["paused"],
            update=options["update"],
            as_fired=options["weekdays"] == "as-fired",
        )
        legacy = open_legacy(options["database"], settings.BASE_DIR)
        try:
            report = self._bring(legacy, chosen, options["report"])
        finally:
            legacy.close()
        if report.left_out:
            raise CommandError(f"{counted(report.left_out, 'row')} left out; the rest is taken.")

    def _bring(self, legacy: Legacy, options: Options, csv_path: str | None) -> Report:
        report = Report(csv_path)
        run = Import(legacy=legacy, options=options, report=report, progress=self._progress)
        self._meters: dict[str, Progress] = {}
        if (seen := last_sign_of_life(run)) and not (options.paused or options.dry_run):
            self.stderr.write(
                f"The earlier system began a run at {seen:%H:%M} UTC. Is it stopped? Two schedulers "
                "at work run every job twice; --paused brings the jobs without waking them."
            )
        try:
            bring_all(run)
        finally:
            for meter in self._meters.values():
                meter.end()
            self._tell(report, options)
            report.close()
        return report

    def _progress(self, what: str, count: int, total: int) -> None:
        meter = self._meters.get(what)
        if meter is None:
            for earlier in self._meters.values():
                earlier.end()
            meter = self._meters[what] = self.progress(what, total)
        meter.add(count)

    def _tell(self, report: Report, options: Options) -> None:
        if options.dry_run:
            self.stdout.write("Dry run, nothing was stored.")
        for line in report.lines():
            self.stdout.write(line)
        if differing := report.total(Kind.RUNS_DIFFER):
            self.stdout.write("")
            self.stdout.write(
                f"{counted(differing, 'job')} would run at other times than there: weekday 0 is Sunday here, "
                "as was documented, and Monday to the earlier scheduler. See docs/cutover.md."
            )


def _zone(name: str) -> str:
    try:
        return load_zone(name).key if name else settings.SCHEDULER_TIMEZONE
    except ZoneError as error:
        raise CommandError(f"--timezone: {error}") from None
