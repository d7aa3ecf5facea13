"""The direction of imports (pyproject.toml, [tool.importlinter]) holds."""

from __future__ import annotations

from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent


def test_imports_go_one_way_only(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    assert lint_imports(cache_dir=None, no_cache=True) == 0, capsys.readouterr().out
