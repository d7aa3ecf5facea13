"""Everything everywhere: `make nightly`. Writes docs/nightly.md with what it saw.

The whole suite, slow tests included, on SQLite, MariaDB and PostgreSQL; every check; ./start.sh and
./test.sh in a bare copy. Takes its time; the exit code is 1 where something failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cronsched.testing.run import SERVERS, spread

ROOT = Path(__file__).resolve().parent.parent
CHAOS_S = 600
REPORT = ROOT / "docs" / "nightly.md"


@dataclass(frozen=True, kw_only=True)
class Result:
    what: str
    passed: bool
    took_s: float
    counts: str = ""
    failures: tuple[str, ...] = ()


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def run(what: str, argv: Sequence[str], extra: Mapping[str, str] | None = None) -> Result:
    say(f"nightly: {what}")
    began = time.monotonic()
    code = subprocess.run(argv, cwd=ROOT, env=os.environ | (extra or {})).returncode
    return Result(what=what, passed=code == 0, took_s=time.monotonic() - began)


def run_suite(what: str, extra: Mapping[str, str]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "results.xml"
        argv = [
            sys.executable,
            "-m",
            "pytest",
            *spread([], os.cpu_count() or 1),
            "-q",
            "-m",
            "",
            f"--junitxml={xml}",
        ]
        result = run(f"Whole suite on {what}", argv, {"REQUIRE_SERVICES": "1", **extra})
        counts, failures = read_results(xml) if xml.exists() else ("no result", ())
    return Result(
        what=result.what, passed=result.passed, took_s=result.took_s, counts=counts, failures=failures
    )


def read_results(xml: Path) -> tuple[str, tuple[str, ...]]:
    """What pytest wrote, in words, and the names of what failed."""
    suite = ElementTree.parse(xml).getroot().find("testsuite")  # noqa: S314, pytest's own
    if suite is None:
        return "no result", ()
    number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    passed = number["tests"] - failed - number["skipped"]
    names = tuple(
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    )
    return f"{passed} passed, {failed} failed, {number['skipped']} skipped", names


def write_report(results: Sequence[Result], began: datetime) -> None:
    minutes = sum(result.took_s for result in results) / 60
    commit = output("git", "describe", "--always", "--dirty") or "no commit"
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, {database_versions()}"
    lines = [
        "# Nightly results",
        "",
        f"`make nightly`, {began:%Y-%m-%d %H:%M} UTC, commit {commit}; {where}. {minutes:.0f} minutes.",
        "",
        "| What | Result | Tests | Time |",
        "| --- | --- | --- | --- |",
    ]
    for result in results:
        word = "passed" if result.passed else "**failed**"
        lines.append(f"| {result.what} | {word} | {result.counts} | {result.took_s:.0f} s |")
    failures = [f"- {result.what}: `{name}`" for result in results for name in result.failures]
    if failures:
        lines += ["", "## Failures", "", *failures]
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def database_versions() -> str:
    """The servers' own words, asked through Django as the tests ask."""
    asked = []
    for server in SERVERS:
        code = (
            "import django, re; django.setup()\n"
            "from django.db import connection\n"
            "with connection._nodb_cursor() as cursor:\n"
            "    cursor.execute('SELECT version()')\n"
            "    print(re.search(r'[0-9.]+', cursor.fetchone()[0]).group())"
        )
        extra = {
            "DJANGO_SETTINGS_MODULE": "cronsched.testing.settings",
            "TEST_DATABASE_URL": server.url(os.environ),
        }
        asked.append(f"{server.name} {output(sys.executable, '-c', code, extra=extra) or 'unknown'}")
    return ", ".join(asked)


def output(*argv: str, extra: Mapping[str, str] | None = None) -> str:
    run = subprocess.run(argv, cwd=ROOT, env=os.environ | (extra or {}), capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else ""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--chaos-seconds", type=int, default=CHAOS_S, help="on each database (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    chaos_s = arguments().chaos_seconds
    began = datetime.now(UTC)
    ready = run("Drivers and test packages", ["./test.sh", "--version"], {"REQUIRE_SERVICES": "1"})
    if not ready.passed:
        return 1
    chaos = [sys.executable, "-m", "tests.chaos", "--database", "all", "--seconds", str(chaos_s), "--report"]
    results: list[Result] = []
    for step in (
        lambda: run("`make check`", ["make", "check"]),
        lambda: run_suite("SQLite", {}),
        *(
            partial(run_suite, server.name, {"TEST_DATABASE_URL": server.url(os.environ)})
            for server in SERVERS
        ),
        lambda: run("`make clean-start` (start.sh, test.sh in a bare copy)", ["make", "clean-start"]),
        lambda: run(f"`make chaos`, {chaos_s} s on each database", chaos),
        lambda: run("`make check-upgrade` (the last release on this schema)", ["make", "check-upgrade"]),
        lambda: run("`make client-check postman` (npm)", ["make", "client-check", "postman"]),
    ):
        results.append(step())
        # After each: a night that is cut short leaves what it saw.
        write_report(results, began)
    say(REPORT.read_text())
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
