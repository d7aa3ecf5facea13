"""A pytest plugin: some tests need a program that not every machine has.

Without it they are skipped by name; with REQUIRE_SERVICES=1 they fail, so that CI misses nothing.
"""

from __future__ import annotations

import os
import shutil

import pytest


def find_chromium() -> str | None:
    """CHROMIUM, or the first browser of the path."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def find_faketime() -> str | None:
    return shutil.which("faketime")


def pytest_runtest_setup(item: pytest.Item) -> None:
    _need(item, "browser", find_chromium(), "no Chromium here (apt-get install chromium, or CHROMIUM=path)")
    _need(item, "faketime", find_faketime(), "no faketime here (apt-get install faketime)")


def _need(item: pytest.Item, mark: str, found: str | None, missing: str) -> None:
    if found or item.get_closest_marker(mark) is None:
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{missing}; REQUIRE_SERVICES=1 asks for it")
    pytest.skip(missing)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """For a test marked `browser`: Playwright's `executable_path`."""
    path = find_chromium()
    if path is None:
        pytest.fail("mark the test `browser`: it asks for Chromium")
    return path
