"""A pytest plugin: tests marked `browser` need a Chromium, which not every machine has.

Without one they are skipped by name; with REQUIRE_SERVICES=1 they fail, so that CI misses nothing.
"""

from __future__ import annotations

import os
import shutil

import pytest


def find_chromium() -> str | None:
    """CHROMIUM, or the first browser of the path."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") is None or find_chromium():
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail("no Chromium here, and REQUIRE_SERVICES=1 asks for one (apt-get install chromium)")
    pytest.skip("no Chromium here (apt-get install chromium, or CHROMIUM=path)")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """For a test marked `browser`: Playwright's `executable_path`."""
    path = find_chromium()
    if path is None:
        pytest.fail("mark the test `browser`: it asks for Chromium")
    return path
