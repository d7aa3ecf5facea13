from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest


@pytest.fixture(params=["asyncio", "uvloop"])
def run_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler sends on uvloop, where there is one; single calls, and Windows, use asyncio's own."""
    name = request.param
    factory = asyncio.new_event_loop if name == "asyncio" else pytest.importorskip(name).new_event_loop

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    monkeypatch.setattr(request.module, "run_loop", run)
