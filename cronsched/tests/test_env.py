from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from cronsched import env


def test_a_password_that_breaks_the_address_is_not_shown():
    with pytest.raises(ImproperlyConfigured, match="write %2F for /") as caught:
        env.database("mysql://root:pa/ss@db:3306/x", Path())

    assert "pa" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("value", ["nan", "ten"])
def test_a_number_that_is_none_is_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("POLL", value)

    with pytest.raises(ImproperlyConfigured, match=f"POLL='{value}' is not a number"):
        env.number("POLL", 60, low=10, high=300, clamp=True)


def test_networks_that_are_none_are_refused_by_name(monkeypatch):
    monkeypatch.setenv("TRUSTED", "10.0.0.1,intranet")

    with pytest.raises(ImproperlyConfigured, match="TRUSTED: 'intranet' does not appear"):
        env.networks("TRUSTED")


def test_variables_of_the_earlier_system_are_named(monkeypatch):
    monkeypatch.setenv("FASTAPI_LOG_FILE", "x.log")

    assert env.retired_in_use() == ["FASTAPI_LOG_FILE"]


@pytest.mark.parametrize(
    ("url", "limits"),
    [
        ("mysql://u:p@h:3306/d", {"connect_timeout": 10, "read_timeout": 30, "write_timeout": 30}),
        ("postgres://u:p@h:5432/d", {"connect_timeout": 10, "tcp_user_timeout": 30_000}),
        ("mysql://u:p@h:3306/d?read_timeout=90", {"read_timeout": 90}),
    ],
)
def test_no_connection_waits_for_ever_for_a_silent_server(tmp_path, url, limits):
    options = env.database(url, tmp_path)["OPTIONS"]

    assert {name: options[name] for name in limits} == limits


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SCHEDULR_TIMEZONE", "did you mean SCHEDULER_TIMEZONE?"),
        ("ALLOWED_HOST", "did you mean ALLOWED_HOSTS?"),
        ("DATABASE_UR", "did you mean DATABASE_URL?"),
        ("WEB_CONCURENCY", "did you mean WEB_CONCURRENCY?"),
        ("SCHEDULER_COLOUR", "nobody reads it: see docs/operations.md"),
        ("FASTAPI_LOG_FILE", "has no effect any more"),
        ("GITHUB_RUN_ID", ""),
        ("HOSTNAME", ""),
        ("MAILCHECK", ""),
        ("SCHEDULER_TIMEZONE", ""),
    ],
)
def test_a_variable_that_nobody_reads_is_told(monkeypatch, name, told):
    monkeypatch.setenv(name, "x")

    lines = [line for line in env.warnings() if line.startswith(f"{name} ")]

    assert [told in line for line in lines] == ([True] if told else [])


def test_in_dotenv_every_name_must_be_one_of_ours(monkeypatch, tmp_path):
    monkeypatch.setattr(env, "_in_dotenv", set())
    (tmp_path / ".env").write_text("COLOUR=red\n")
    monkeypatch.setenv("COLOUR", "red")

    env.load_dotenv(tmp_path / ".env")

    assert "COLOUR is set, but nobody reads it: see docs/operations.md for the names." in env.warnings()


def test_every_variable_stands_in_the_example_and_in_the_documents():
    root = Path(__file__).parents[2]
    example, manual = (root / ".env.example").read_text(), (root / "docs/operations.md").read_text()
    internal = {"TESTING", "CRONSCHED_LOCK_FD", "POLL", "TRUSTED"}
    aliases = {"SMTP_HOST", "SMTP_PORT", "SMTP_USERNAME", "SMTP_PASSWORD", "SMTP_USE_TLS"}

    names = {name for name in env._known if name.isupper()} - internal

    assert sorted(name for name in names - aliases if f"# {name}=" not in example) == []
    assert sorted(name for name in names if f"`{name}`" not in manual) == []
