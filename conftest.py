"""Fixtures that every test may ask for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from cronsched.garbage import collect_rarely

# No test is timed: on a busy machine any example may take long to run, and any to make.
settings.register_profile("cronsched", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cronsched")

pytest_plugins = [
    "cronsched.testing.fixtures_http",
    "cronsched.testing.fixtures_engine",
    "cronsched.testing.services",
    "cronsched.testing.fixtures_api",
    "cronsched.testing.fixtures_admin",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What mostly waits comes first, so that another worker has the rest to do meanwhile."""
    for item in items:
        # Of a module marked `smoke` one test may be `slow`; one with both of its own would be in no check.
        if {"slow", "smoke"} <= {mark.name for mark in item.own_markers}:
            raise pytest.UsageError(f"{item.nodeid} is marked both slow and smoke: choose one")
    items.sort(key=lambda item: item.get_closest_marker("smoke") is None)


def pytest_collection_finish() -> None:
    """As the product's own processes do: a tenth of the suite's time went into the search."""
    collect_rarely()
