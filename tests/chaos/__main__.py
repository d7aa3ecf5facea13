"""`make chaos`: the breaker at length, on a database of its own. `--help` says what can be chosen."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "chaos.md"
KINDS = ("sqlite", "mariadb", "postgresql")


def main() -> int:
    # As Ctrl-C: schedulers and servers are ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = read_options()
    code = 0
    for kind in KINDS if options.database == "all" else (options.database,):
        if options.database == "all":
            argv = ["--database", kind, "--seconds", str(options.seconds), "--seed", str(options.seed)]
            argv += ["--report"] if options.report else []
            code |= subprocess.run([sys.executable, "-m", "tests.chaos", *argv]).returncode
        else:
            code = run(kind, options)
    return code


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--database", choices=(*KINDS, "all"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep-logs", action="store_true", help="also where nothing was violated")
    parser.add_argument("--report", action="store_true", help="add a line to docs/chaos.md")
    return parser.parse_args()


def run(kind: str, options: argparse.Namespace) -> int:
    from tests.chaos.servers import open_database

    with tempfile.TemporaryDirectory(prefix="cronsched-chaos-") as name:
        # A server of another user has to get through.
        Path(name).chmod(0o755)
        folder = Path(name) / "database"
        folder.mkdir()
        with open_database(kind, folder) as database:
            prepare(database.url)
            return break_things(database, Path(name), options)


def prepare(url: str) -> None:
    """Django on that database, migrated."""
    os.environ.update(
        DATABASE_URL=url,
        TESTING="false",
        SECRET_KEY="chaos-only-secret-key-of-more-than-32-bytes",
        ENCRYPTION_KEYS="Y2hhb3Mtb25seS1rZXktb2YtMzItYnl0ZXMtLi4uLi4=",
        DJANGO_SETTINGS_MODULE="cronsched.settings",
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def break_things(database, folder: Path, options: argparse.Namespace) -> int:  # type: ignore[no-untyped-def]
    from django.db import connection

    from cronsched.testing.http_sink import HttpSink
    from tests.chaos.accountant import account
    from tests.chaos.breaker import Breaker, Chaos
    from tests.chaos.harness import schedulers_in
    from tests.chaos.report import Report

    began, clock = datetime.now(UTC), time.monotonic()
    say(f"chaos: {options.seconds:g} s on {database.name}, seed {options.seed}")
    chaos = Chaos(seconds=options.seconds, seed=options.seed)
    with HttpSink() as sink, schedulers_in(folder) as schedulers:
        breaker = Breaker(chaos, schedulers, sink, database.disturbances())
        breaker.run()
        verdict = account(breaker.jobs, sink.calls)
        report = Report.of(
            breaker, verdict, began=began, took_s=time.monotonic() - clock, database=connection
        )
        if verdict.violations or options.keep_logs:
            kept = Path(tempfile.mkdtemp(prefix="cronsched-chaos-logs-"))
            (kept / "schedulers.log").write_text(schedulers.logs())
            say(f"chaos: the schedulers' logs are in {kept}")
    for violation in verdict.violations[:50]:
        say(f"chaos: VIOLATION {violation}")
    if options.report:
        report.append_to(REPORT)
    say(report.story())
    say(report.line())
    return 1 if verdict.violations else 0


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
