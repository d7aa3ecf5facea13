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


# Mark → (how the program is found, what to do where it is missing).
NEEDED = {
    "browser": (find_chromium, "no Chromium here (apt-get install chromium, or CHROMIUM=path)"),
    "faketime": (find_faketime, "no faketime here (apt-get install faketime)"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, (find, missing) in NEEDED.items():
        if item.get_closest_marker(mark) is None or find():
            continue
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
