"""Brings the database and the static files up to date before anything is served.

`python -m cronsched.prepare`: migrations where some are missing, seed data, static files where they
changed. What the person at the terminal can mend (a wrong DATABASE_URL, a server that is away, a
setting that cannot be read) is one line and exit code 1; anything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from cronsched.bootstrap import ROOT, Stop, say


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cronsched.settings")
    try:
        django.setup()
        # Reads the web server's own variables: what cannot be read is told here, once.
        importlib.import_module("cronsched.gunicorn_conf")
        migrate()
        collect_static(ROOT)
        if not settings.TESTING:
            # Last: a password that is shown once should not scroll away.
            seed()
    except (ImproperlyConfigured, CommandError, Stop) as error:
        return _refuse(str(error))
    except DatabaseError as error:
        return _refuse(f"cannot use the database {masked(settings.DATABASE_URL)}: {_words(error)}")
    except OSError as error:
        return _refuse(f"cannot write: {error}")
    except KeyboardInterrupt:
        return 130
    return 0


def migrate() -> None:
    """Apply what is missing; a database that is up to date costs one look."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        say(f"database: {len(missing)} migrations")
        call_command("migrate", interactive=False, verbosity=0)


def seed() -> None:
    output = io.StringIO()
    try:
        call_command("seed", stdout=output)
    finally:
        for line in output.getvalue().splitlines():
            say(line)


def collect_static(root: Path) -> None:
    """Gather the static files where packages or our own files changed since the last time."""
    if settings.DEBUG or settings.TESTING:
        return  # served from where they lie
    stamp = root / "instance" / "static.sha256"
    digest = hashlib.sha256("\n".join(_static_state(root)).encode()).hexdigest()
    manifest = Path(settings.STATIC_ROOT) / "staticfiles.json"
    if manifest.exists() and stamp.exists() and stamp.read_text() == digest:
        return
    say("static files: collecting")
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(digest)


def _static_state(root: Path) -> Iterator[str]:
    """What collectstatic's answer depends on: the packages' versions and our own files."""
    yield (root / "constraints.txt").read_text()
    for folder in sorted(path for path in root.glob("*/static") if path.parent.name != ".venv"):
        for path in sorted(folder.rglob("*")):
            state = path.stat()
            yield f"{path} {state.st_size} {state.st_mtime_ns}"


def masked(url: str) -> str:
    """`url` without its password."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)


def _words(error: DatabaseError) -> str:
    return " ".join(str(error).split())


def _refuse(line: str) -> int:
    print(f"cronsched: {line}", file=sys.stderr, flush=True)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
