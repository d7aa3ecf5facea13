"""What ./start.sh does once its environment stands: addresses, settings, the database, the whole."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cronsched import bootstrap, ports, prepare, start
from cronsched.bootstrap import Stop
from cronsched.ports import Address

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
ANYWHERE = "0.0.0.0"  # noqa: S104, text


# ---- where it listens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "bind", "url"),
    [
        ({}, "127.0.0.1:5001", "http://127.0.0.1:5001/"),
        ({"PORT": " 8000 "}, "127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ({"HOST": ANYWHERE}, "0.0.0.0:5001", "http://127.0.0.1:5001/"),
        ({"HOST": "*"}, "0.0.0.0:5001", "http://127.0.0.1:5001/"),
        ({"HOST": "::1"}, "[::1]:5001", "http://[::1]:5001/"),
        ({"HOST": "[::1]"}, "[::1]:5001", "http://[::1]:5001/"),
        ({"HOST": "localhost"}, "localhost:5001", "http://localhost:5001/"),
    ],
)
def test_host_and_port_make_an_address(environ, bind, url):
    address = ports.from_environ(environ)

    assert (address.bind, address.url) == (bind, url)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "web", "80.5", "٥٠٠١"])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(Stop, match=f"PORT={port} is not a port"):
        ports.from_environ({"PORT": port})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_names_who_has_it_and_another_port(taken):
    with pytest.raises(Stop) as stop:
        ports.check_free(Address(host="127.0.0.1", port=taken))

    assert f"port {taken} is taken by " in str(stop.value)
    assert f"(process {os.getpid()})" in str(stop.value)
    assert f"PORT={taken + 1} ./start.sh" in str(stop.value)


def test_a_port_that_lingers_from_an_earlier_run_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            # The side that closes first is the one that lingers in TIME_WAIT.
            server.accept()[0].close()

    ports.check_free(Address(host="127.0.0.1", port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_of_another_machine_is_one_line(host):
    with pytest.raises(Stop, match=f"HOST={host} is not an address of this machine"):
        ports.check_free(Address(host=host, port=5001))


# ---- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "file", "value"),
    [
        ({}, "", "true"),
        ({"WEBHOOK_ALLOW_HTTP": "false"}, "", "false"),
        ({}, "WEBHOOK_ALLOW_HTTP=false\n", "false"),
        ({"WEBHOOK_ALLOW_HTTP": "no"}, "WEBHOOK_ALLOW_HTTP=yes\n", "no"),
        ({"WEBHOOK_ALLOW_HTTP": ""}, "", "true"),
        ({"WEBHOOK_ALLOW_HTTP": ""}, "WEBHOOK_ALLOW_HTTP=false\n", "false"),
        ({}, "WEBHOOK_ALLOW_HTTP=\n", "true"),
    ],
)
def test_a_local_default_gives_way_to_whatever_is_set(tmp_path, environ, file, value):
    (tmp_path / ".env").write_text(file)

    start.settle(environ, tmp_path)

    assert environ["WEBHOOK_ALLOW_HTTP"] == value
    assert environ["WEBHOOK_ALLOW_PRIVATE_NETWORKS"] == environ["ALLOW_DEFAULT_ADMIN"] == "true"


def test_an_empty_variable_that_may_be_meant_hides_the_files_value(tmp_path):
    (tmp_path / ".env").write_text("GITHUB_TOKEN=secret\n")
    environ = {"GITHUB_TOKEN": ""}

    start.settle(environ, tmp_path)

    assert environ["GITHUB_TOKEN"] == ""


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, ["web", "scheduler"]),
        ({"SCHEDULER_ENABLED": "yes"}, ["web", "scheduler"]),
        ({"SCHEDULER_ENABLED": " False "}, ["web"]),
        ({"SCHEDULER_ENABLED": "0"}, ["web"]),
        ({"TESTING": "true"}, ["web"]),
    ],
)
def test_the_scheduler_runs_unless_it_is_switched_off(environ, names):
    assert [program.name for program in start.programs(environ)] == names


def test_every_program_has_longer_than_its_own_drain():
    from cronsched import gunicorn_conf
    from cronsched.management.commands import runscheduler

    assert gunicorn_conf.graceful_timeout < start.WEB_STOP_S
    assert runscheduler.DRAIN_S < start.SCHEDULER_STOP_S


# ---- ready --------------------------------------------------------------------------------------


def test_it_is_ready_once_the_health_check_answers(http_sink, capsys):
    port = urlsplit(http_sink.url("/")).port
    ready = start.Readiness(Address(host="127.0.0.1", port=port), {})

    assert ready()
    assert http_sink.wait_for(1)[0].path == "/api/v2/health"
    assert f"Admin site   http://127.0.0.1:{port}/admin/" in capsys.readouterr().out


def test_nobody_answering_is_not_ready(taken, capsys):
    ready = start.Readiness(Address(host="127.0.0.1", port=1), {})

    assert not ready()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("", "localhost"),
        ("*", "localhost"),
        ("cron.example.com,localhost", "cron.example.com"),
        (".a.b", "a.b"),
    ],
)
def test_the_health_check_asks_under_a_name_that_is_allowed(allowed, host):
    ready = start.Readiness(Address(host="127.0.0.1", port=1), {"ALLOWED_HOSTS": allowed} if allowed else {})

    assert ready._allowed_host() == host


@pytest.mark.parametrize(
    ("address", "environ", "words"),
    [
        ("127.0.0.1", {"SCHEDULER_ENABLED": "false"}, "Scheduler    off"),
        (ANYWHERE, {}, "ALLOWED_HOSTS"),
    ],
)
def test_the_banner_says_what_would_surprise(address, environ, words):
    plain = start.Readiness(Address(host="127.0.0.1", port=5001), {}).banner()
    lines = start.Readiness(Address(host=address, port=5001), environ).banner()

    assert words in "\n".join(lines)
    assert words not in "\n".join(plain)


# ---- the database and the static files ----------------------------------------------------------


def base_environ(tmp_path: Path, **environ: str) -> dict[str, str]:
    """An environment of one's own: nothing of a developer's .env has a say."""
    return {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "s" * 50,
        "JWT_SECRET_KEY": "j" * 50,
        "ENCRYPTION_KEYS": bootstrap.GENERATED["ENCRYPTION_KEYS"](),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'cron.db'}",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        # Static files are then served from where they lie: staticfiles/ is not touched.
        "DEBUG": "true",
        **environ,
    }


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL must look like"),
        ({"DATABASE_URL": "sqlite:////proc/nowhere/x.db"}, "cannot write: "),
        ({"DATABASE_URL": "mysql://root:hush@127.0.0.1:1/x"}, "mysql://root:***@127.0.0.1:1/x: "),
        ({"WEB_CONCURRENCY": "many"}, "WEB_CONCURRENCY='many' is not a number"),
        ({"LOG_FILE": "/proc/nowhere/x.log"}, "LOG_FILE=/proc/nowhere/x.log cannot be written: No such file"),
        ({"ENCRYPTION_KEYS": "abc"}, "ENCRYPTION_KEYS: each key is 32 bytes in URL-safe base64"),
        ({"SCHEDULER_ENABLED": "perhaps"}, "SCHEDULER_ENABLED='perhaps' is not a yes or no"),
    ],
)
def test_what_can_be_mended_is_one_line_without_a_traceback(tmp_path, environ, words):
    if environ.get("DATABASE_URL", "").startswith("mysql"):
        pytest.importorskip("MySQLdb", reason="needs the MySQL driver")
    run = subprocess.run(
        [sys.executable, "-m", "cronsched.prepare"],
        cwd=ROOT,
        env=base_environ(tmp_path, **environ),
        capture_output=True,
        text=True,
    )

    assert run.returncode == 1
    assert words in run.stderr
    assert run.stderr.count("\n") == 1
    assert "hush" not in run.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://root:p@ss@db:3306/x", "mysql://root:***@db:3306/x"),
        ("postgres://u:p@db/x", "postgres://u:***@db/x"),
        ("mysql://root@db/x", "mysql://root@db/x"),
        ("sqlite:///instance/cron_jobs.db", "sqlite:///instance/cron_jobs.db"),
    ],
)
def test_passwords_of_databases_are_not_shown(url, shown):
    assert prepare.masked(url) == shown


def test_static_files_are_collected_again_only_after_a_change(tmp_path, settings, monkeypatch):
    settings.DEBUG, settings.TESTING, settings.STATIC_ROOT = False, False, tmp_path / "out"
    (tmp_path / "constraints.txt").write_text("Django==5.2.19\n")
    (tmp_path / "app" / "static").mkdir(parents=True)
    calls = []

    def collect(*_: object, **__: object) -> None:
        calls.append(1)
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "staticfiles.json").touch()

    monkeypatch.setattr(prepare, "call_command", collect)
    for change in (None, None, "app/static/new.css", None, "constraints.txt"):
        if change:
            (tmp_path / change).write_text("new")
        prepare.collect_static(tmp_path)

    assert len(calls) == 3


# ---- the whole ----------------------------------------------------------------------------------


class Running:
    """`python -m cronsched.start` and what it prints."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cronsched.start"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.text = ""

    def wait_for(self, words: str) -> None:
        assert self.process.stdout
        while words not in self.text:
            assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], self.text
            chunk = os.read(self.process.stdout.fileno(), 65536)
            assert chunk, self.text
            self.text += chunk.decode()

    def end(self) -> int:
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        self.text += output.decode()
        return self.process.returncode


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    running = Running(base_environ(tmp_path, PORT=port))
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


def test_web_and_scheduler_start_restart_and_stop_as_one(running):
    running.wait_for("Ctrl-C")
    url = re.search(r"Admin site +(\S+)admin/", running.text)
    assert url
    with urllib.request.urlopen(f"{url[1]}api/v2/health", timeout=PATIENCE_S) as answer:  # noqa: S310
        assert answer.status == 200

    scheduler = re.search(r"scheduler started \(process (\d+)\)", running.text)
    assert scheduler
    os.kill(int(scheduler[1]), signal.SIGKILL)
    running.wait_for("scheduler was ended by SIGKILL; starting it again in 1 s")

    running.process.send_signal(signal.SIGINT)
    assert running.end() == 0
    assert "web stopped" in running.text
    assert "Traceback" not in running.text


def test_a_taken_port_ends_the_start_in_one_line(tmp_path, taken):
    running = Running(base_environ(tmp_path, PORT=str(taken)))

    assert running.end() == 1
    assert running.text.count("\n") == 1
    assert f"port {taken} is taken" in running.text
