"""pytest fixtures: real servers on loopback. Registered as a plugin by the root conftest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cronsched.testing.fake_github import FakeGitHub
from cronsched.testing.http_sink import HttpSink
from cronsched.testing.mail_sink import MailSink


@pytest.fixture
def http_sink() -> Iterator[HttpSink]:
    """A fresh receiver per test; see `HttpSink` for how to make it misbehave."""
    with HttpSink() as sink:
        yield sink


@pytest.fixture
def fake_github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as github:
        yield github


@pytest.fixture
def mail_sink(settings: Any) -> Iterator[MailSink]:
    """A mail server, and settings that use it."""
    with MailSink() as sink:
        settings.MAIL_ENABLED = True
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", sink.port, False
        settings.EMAIL_TIMEOUT = 5
        yield sink
