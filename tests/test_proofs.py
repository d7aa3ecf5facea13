"""The documents that name tests as proofs name tests that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# How the documents shorten what they name again and again.
SHORT = {
    "attacks": "tests/security/test_attacks.py",
    "secrets": "tests/security/test_secrets.py",
    "rights": "tests/security/test_admin_rights.py",
    "production": "tests/security/test_production.py",
    "guard": "cronsched/core/http/tests/test_guard.py",
    "client": "cronsched/core/http/tests/test_client.py",
}
FOLDERS = {"chaos": "tests/chaos", "engine": "jobs/tests"}


@pytest.mark.parametrize("document", ["promises.md", "security.md"])
def test_every_proof_is_there(document: str) -> None:
    proofs = list(proofs_of((ROOT / "docs" / document).read_text(encoding="utf-8")))

    assert len(proofs) > 20
    assert [f"{path}::{name}" for path, name in proofs if not is_there(path, name)] == []


def proofs_of(text: str) -> Iterator[tuple[Path, str]]:
    """`file::test`, where the file may be short, or the one named before it in the line."""
    for line in text.splitlines():
        path = ROOT
        for named in re.findall(r"`([^`\s]+)`", line):
            where, _, name = named.partition("::")
            if "::" not in named and not where.endswith(".py"):
                continue
            path = _path(where, path) if where else path
            yield path, name.rstrip("…")


def _path(where: str, before: Path) -> Path:
    folder, slash, rest = where.partition("/")
    if not slash and where not in SHORT:
        return before.parent / where
    return ROOT / SHORT.get(where, f"{FOLDERS.get(folder, folder)}/{rest}")


def is_there(path: Path, name: str) -> bool:
    return path.is_file() and (not name or f"def {name}" in path.read_text(encoding="utf-8"))
