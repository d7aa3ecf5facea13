"""What a deployment starts with, and what it refuses to start with."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from cronsched import env

ROOT = Path(__file__).resolve().parents[2]
RANDOM = "k3Jx8" * 12
PRODUCTION = {
    "PATH": os.environ["PATH"],
    "SECRET_KEY": RANDOM,
    "JWT_SECRET_KEY": RANDOM[::-1],
    "ENCRYPTION_KEYS": os.environ["ENCRYPTION_KEYS"],
    "ALLOWED_HOSTS": "cron.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://cron.example.com",
    "DATABASE_URL": "sqlite:////tmp/never-opened.db",
}


@pytest.fixture
def settings_of(monkeypatch):
    """What the settings come to in an environment."""
    monkeypatch.setattr(env, "load_dotenv", lambda path: None)

    def read(**changes: str) -> dict[str, object]:
        with monkeypatch.context() as patch:
            for name in os.environ:
                patch.delenv(name)
            for name, value in {**PRODUCTION, **changes}.items():
                patch.setenv(name, value)
            return runpy.run_path(str(ROOT / "cronsched" / "settings.py"))

    return read


def test_check_deploy_has_nothing_to_say():
    checked = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**PRODUCTION, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no issues" in checked.stdout


# A checkout may have a .env of its own, which is not what is tested.
CHECK = """
import os
from cronsched import env
env.load_dotenv = lambda path: None
os.environ["DJANGO_SETTINGS_MODULE"] = "cronsched.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "check", "--deploy", "--fail-level", "WARNING"])
"""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DEBUG": "true"}, "set DEBUG=false"),
        ({"DEBUG": "true", "ALLOWED_HOSTS": "*"}, "set DEBUG=false"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "change-me"}, "everybody knows"),
        ({"SECRET_KEY": "insecure-secret_key-for-debug-and-tests-only"}, "everybody knows"),
        ({"SECRET_KEY": "django-insecure-" + RANDOM}, "everybody knows"),
        ({"JWT_SECRET_KEY": "secret"}, "everybody knows"),
    ],
)
def test_it_refuses_to_start_and_says_what_to_do(settings_of, changes, words):
    with pytest.raises(ImproperlyConfigured, match=words):
        settings_of(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"ALLOWED_HOSTS": "*"}, True),
        ({"HTTPS_ONLY": "false"}, False),
        ({"ALLOWED_HOSTS": "127.0.0.1"}, False),
        ({"ALLOWED_HOSTS": "127.0.0.1", "DEBUG": "true"}, False),
    ],
)
def test_https_is_the_rule_where_others_than_this_machine_come(settings_of, changes, expected):
    settings = settings_of(**changes)

    for name in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"):
        assert settings[name] is expected
    assert (settings["SECURE_HSTS_SECONDS"] > 0) is expected


def test_an_empty_signing_key_of_tokens_falls_back_to_the_secret_key(settings_of):
    settings = settings_of(JWT_SECRET_KEY="")

    assert settings["JWT_SECRET_KEY"] == settings["SECRET_KEY"]
