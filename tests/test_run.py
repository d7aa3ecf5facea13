"""How ./test.sh chooses what runs where."""

from __future__ import annotations

import socket

import pytest

from cronsched.testing import run, services
from cronsched.testing.run import SERVERS, Server


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        ([], ["-m", "databases and not slow"]),
        (["-q", "jobs"], ["-q", "jobs", "-m", "databases and not slow"]),
        (["-m", "smoke", "-q"], ["-m", "(smoke) and databases", "-q"]),
        (["-m", ""], ["-m", "databases"]),
    ],
)
def test_a_marker_joins_the_callers_own(arguments, chosen):
    assert run.with_marker(arguments, "databases") == chosen


def test_a_server_that_answers_has_no_fault():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(name="X", variable="X_URL", default="", driver="sqlite3")
        environ = {"X_URL": f"mysql://root@127.0.0.1:{listening.getsockname()[1]}/x"}

        assert server.fault(environ) == ""


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("sqlite3", "X: no answer at 127.0.0.1:1"),
        ("no_such_driver", "X: the driver no_such_driver is not installed"),
    ],
)
def test_a_missing_server_or_driver_is_named(driver, words):
    server = Server(name="X", variable="X_URL", default="mysql://root@127.0.0.1:1/x", driver=driver)

    assert words in server.fault({})


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """The titles of the pytest runs, none of which takes place."""
    titles: list[str] = []

    def note(title: str, arguments: list[str], extra: dict[str, str]) -> int:
        titles.append(title)
        return 0

    monkeypatch.setattr(run, "run_pytest", note)
    monkeypatch.setattr(Server, "fault", lambda self, environ: "")
    return titles


def test_without_being_asked_only_sqlite_is_tested_and_the_rest_is_named(runs, monkeypatch, capsys):
    monkeypatch.delenv("REQUIRE_SERVICES", raising=False)

    assert run.run_all([]) == 0
    assert runs == ["SQLite"]
    assert "skipped: the tests marked `databases` on MariaDB and PostgreSQL" in capsys.readouterr().out


def test_with_services_required_every_database_is_tested(runs, monkeypatch):
    monkeypatch.setenv("REQUIRE_SERVICES", "1")

    assert run.run_all([]) == 0
    assert runs == ["SQLite", *(server.name for server in SERVERS)]


def test_with_services_required_a_missing_one_fails_before_anything_runs(runs, monkeypatch, capsys):
    monkeypatch.setenv("REQUIRE_SERVICES", "1")
    monkeypatch.setattr(Server, "fault", lambda self, environ: f"{self.name} is away")

    assert run.run_all([]) == 1
    assert runs == []
    assert "PostgreSQL is away" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("required", "outcome"),
    [("", pytest.skip.Exception), ("1", pytest.fail.Exception)],
    ids=["asked", "required"],
)
def test_a_browser_test_without_a_browser_is_skipped_unless_services_are_required(
    request, monkeypatch, required, outcome
):
    monkeypatch.setenv("REQUIRE_SERVICES", required)
    monkeypatch.setattr(services, "find_chromium", lambda: None)
    request.node.add_marker(pytest.mark.browser)

    with pytest.raises(outcome, match="no Chromium here"):
        services.pytest_runtest_setup(request.node)


@pytest.mark.parametrize(
    ("arguments", "cores", "options"),
    [
        ([], 2, ["-n", "3", "--dist", "worksteal"]),
        ([], 64, ["-n", "4", "--dist", "worksteal"]),
        (["-x", "-m", "databases"], 2, ["-n", "3", "--dist", "worksteal"]),
        ([], 1, []),
        (["jobs"], 2, []),
        (["-k", "lease"], 2, []),
    ],
)
def test_a_whole_run_is_spread_over_the_cores(arguments, cores, options):
    assert run.spread(arguments, cores) == options
