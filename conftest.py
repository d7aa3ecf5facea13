"""Fixtures that every test may ask for."""

from __future__ import annotations

pytest_plugins = [
    "cronsched.testing.fixtures_http",
    "cronsched.testing.fixtures_engine",
    "cronsched.testing.services",
    "cronsched.testing.fixtures_api",
    "cronsched.testing.fixtures_admin",
]
