"""pytest fixtures: real servers on loopback. Registered as a plugin by the root conftest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cronsched.testing.fake_github import FakeGitHub
from cronsched.testing.http_sink import HttpSink


@pytest.fixture
def http_sink() -> Iterator[HttpSink]:
    """A fresh receiver per test; see `HttpSink` for how to make it misbehave."""
    with HttpSink() as sink:
        yield sink


@pytest.fixture
def fake_github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as github:
        yield github
