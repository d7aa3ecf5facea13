"""Does the last release still work on this schema? `make check-upgrade`, or `FROM=commit` for another.

An upgrade without downtime migrates first, and replaces the processes one by one: for a while old code
writes into the new schema. So the earlier version is checked out beside this one, a database is made
by this version's migrations, and the earlier version's own tests of every API call and of a whole
firing run on it. A column that is new, required and without a default in the database fails here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Until there is a tag: a version whose own tests pass, and since which the schema has lost nothing.
BEFORE_A_RELEASE = "c72f58fe"
SMOKE = ("tests/contract/test_calls.py", "jobs/tests/test_firing.py", "jobs/tests/test_lifecycle.py")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run an earlier version's tests on this version's schema.")
    parser.add_argument("--from", dest="ref", default="", help="tag or commit (default: the last release)")
    parser.add_argument("tests", nargs="*", default=SMOKE, help="which of its tests (default: %(default)s)")
    options = parser.parse_args()
    ref = options.ref or last_tag() or BEFORE_A_RELEASE
    with (
        tempfile.TemporaryDirectory(prefix="cronsched-upgrade-") as folder,
        worktree(ref, Path(folder)) as old,
    ):
        database = Path(folder) / "db" / "new.sqlite3"
        environ = {**os.environ, "TEST_DATABASE_URL": f"sqlite:///{database}", "REQUIRE_SERVICES": "0"}
        environ["DJANGO_SETTINGS_MODULE"] = "cronsched.testing.settings"
        print(f"{ref}: its tests on the schema of {head()}", flush=True)
        # The name that the tests' settings give a test's database.
        made = {**environ, "UPGRADE_DATABASE": str(database.with_name(f"test_{database.name}"))}
        run([sys.executable, "-c", _MIGRATE], ROOT, made)
        tests = [test for test in options.tests if (old / test).exists()]
        pytest = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--reuse-db",
        ]
        return subprocess.run([*pytest, *tests], cwd=old, env=environ, check=False).returncode


_MIGRATE = """
import os
import cronsched.testing.settings as tests
tests.DATABASES["default"]["NAME"] = os.environ["UPGRADE_DATABASE"]
import django
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
"""


def last_tag() -> str:
    """The newest release that this version follows; "" where there is none."""
    found = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def head() -> str:
    described = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def worktree(ref: str, folder: Path) -> Iterator[Path]:
    old = folder / "old"
    run(["git", "worktree", "add", "--quiet", "--detach", str(old), ref], ROOT, dict(os.environ))
    try:
        yield old
    finally:
        run(["git", "worktree", "remove", "--force", str(old)], ROOT, dict(os.environ))


def run(command: list[str], folder: Path, environ: dict[str, str]) -> None:
    subprocess.run(command, cwd=folder, env=environ, check=True)


if __name__ == "__main__":
    sys.exit(main())
