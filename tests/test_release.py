"""One version number, and it is that of the changelog: docs/releasing.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cronsched import __version__

ROOT = Path(__file__).resolve().parent.parent
_NUMBER = r"\d+\.\d+\.\d+(?:rc\d+)?"
_RELEASE = re.compile(rf"## ({_NUMBER}) - \d{{4}}-\d\d-\d\d")


def headings() -> list[str]:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("## ")]


def test_the_version_is_a_number_that_tags_and_packages_understand():
    assert re.fullmatch(_NUMBER, __version__)


def test_the_changelog_begins_with_what_is_to_come_and_dates_what_was_released():
    first, *released = headings()

    assert first == "## Unreleased"
    assert [line for line in released if not _RELEASE.fullmatch(line)] == []


def test_the_version_is_the_last_one_of_the_changelog():
    released = [match[1] for line in headings() if (match := _RELEASE.fullmatch(line))]

    assert released[:1] in ([], [__version__]), "cronsched/__init__.py and CHANGELOG.md change in one commit"


def test_the_command_line_tells_the_version_without_settings():
    run = subprocess.run(
        [sys.executable, "manage.py", "--version"], cwd=ROOT, env={}, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"cronsched {__version__} (Django ")
