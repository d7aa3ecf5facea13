"""Proves ./start.sh and ./test.sh where nothing is prepared: `make clean-start`.

A copy of the working tree without .venv, in a folder with spaces in its name; an empty HOME, no pip
cache, no environment, and a PATH on which there is Python and what the scripts themselves call, but
no compiler. Prints what it measured; the exit code is 1 where a claim does not hold.

    python3 tests/clean_start.py [--python PATH] [--no-tests] [--keep] [pytest arguments]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What start.sh and test.sh run besides Python.
TOOLS = ("sh", "dirname", "readlink")
# How a machine reaches the package index; everything else of the environment is dropped.
PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "http_proxy", "https_proxy")
FIRST_START_S = 600.0
SECOND_START_S = 4.0
STOP_S = 60.0


class Failed(Exception):
    pass


def say(line: str) -> None:
    print(f"clean-start: {line}", flush=True)  # noqa: T201


def require(claim: str, holds: object) -> None:
    say(f"{'ok  ' if holds else 'FAIL'} {claim}")
    if not holds:
        raise Failed(claim)


def copy_tree(target: Path) -> None:
    """What git has or would take: no .venv, no .env, no database."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def bare_path(folder: Path, python: str) -> str:
    """A PATH with Python and the tools, and nothing else."""
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is None:
            raise Failed(f"no {tool} on this machine")
        (folder / tool).symlink_to(found)
    (folder / "python3").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (folder / "python3").chmod(0o755)
    return str(folder)


class Start:
    """A ./start.sh that runs, with what it prints in a file."""

    def __init__(self, copy: Path, environ: dict[str, str], name: str) -> None:
        self.output = copy.parent / f"{name}.log"
        self.began = time.monotonic()
        with self.output.open("w") as output:
            # Called from elsewhere, as one does.
            self.process = subprocess.Popen(
                [copy / "start.sh"],
                cwd="/",
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, what: str, patience_s: float) -> float:
        """Seconds from the start until `what` is printed."""
        while what not in self.text():
            if self.process.poll() is not None or time.monotonic() - self.began > patience_s:
                raise Failed(f"start.sh did not print {what!r}:\n{self.text()}")
            time.sleep(0.02)
        return time.monotonic() - self.began

    def stop(self) -> float:
        """Ctrl-C; seconds until all of it has ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_S)
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_S)


def call(port: int, method: str, path: str, body: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(
            method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def processes_of(copy: Path) -> list[str]:
    """Command lines of processes that run from `copy`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(copy) in os.readlink(process / "cwd"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def check_first_start(copy: Path, environ: dict[str, str], port: int) -> None:
    start = Start(copy, environ, "first start")
    try:
        took = start.wait_for("cronsched: ready", FIRST_START_S)
        say(f"     first start: ready after {took:.1f} s")
        check_pages(start.text(), port)
        again = subprocess.run([copy / "start.sh"], env=environ, cwd="/", capture_output=True, text=True)
        require(
            f"a second start at once is refused in one line: {again.stderr.strip()}",
            again.returncode == 1 and "another ./start.sh" in again.stderr and again.stderr.count("\n") == 1,
        )
        require(".env is for its owner only", (copy / ".env").stat().st_mode & 0o777 == 0o600)
        stopped = start.stop()
        require(f"Ctrl-C ends it with exit code 0 ({stopped:.1f} s)", start.process.returncode == 0)
        require("no process is left", not processes_of(copy))
    finally:
        start.kill()


def check_pages(printed: str, port: int) -> None:
    status, health = call(port, "GET", "/api/v2/health")
    require("the health check answers 200", status == 200)
    require("a scheduler runs", json.loads(health)["scheduler_running"])
    _, page = call(port, "GET", "/admin/login/")
    styles = re.findall(r'href="(/static/[^"]+\.css)"', page)
    require("the admin site has its styles", styles and call(port, "GET", styles[0])[0] == 200)
    for path in ("/docs", "/redoc", "/api/v2/openapi.json"):
        require(f"{path} answers 200", call(port, "GET", path)[0] == 200)
    login = re.search(PRINTED_LOGIN, printed)
    if login is None:
        raise Failed(f"no first login was printed:\n{printed}")
    username, password = login.groups()
    status, answer = call(port, "POST", "/api/v2/auth/login", {"username": username, "password": password})
    require(f"the printed password of {username} signs in ({status} {answer[:20]}…)", status == 200)


PRINTED_LOGIN = r"First admin: (\S+) .*\n.*Password, shown only this once: (\S+)"


def check_second_start(copy: Path, environ: dict[str, str], port: int) -> None:
    start = Start(copy, environ, "second start")
    try:
        took = start.wait_for("cronsched: ready", 60)
        require(f"the second start is ready after {took:.1f} s", took < SECOND_START_S)
        require("it shows no password", not re.search(PRINTED_LOGIN, start.text()))
        require("it answers", call(port, "GET", "/api/v2/health")[0] == 200)
        start.process.kill()
        deadline = time.monotonic() + STOP_S
        while processes_of(copy) and time.monotonic() < deadline:
            time.sleep(0.05)
        require("kill -9 of the supervisor leaves no process either", not processes_of(copy))
    finally:
        start.kill()


@contextlib.contextmanager
def workplace(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cronsched-clean-"))
    try:
        yield folder
    finally:
        if keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=os.path.realpath(sys.base_prefix + "/bin/python3"))
    parser.add_argument("--no-tests", action="store_true", help="start.sh only")
    parser.add_argument("--keep", action="store_true", help="leave the copy where it is")
    options, rest = parser.parse_known_args(arguments)
    with workplace(options.keep) as folder:
        copy = folder / "a path with spaces"
        copy_tree(copy)
        (folder / "home").mkdir()
        port = free_port()
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
            "HOME": str(folder / "home"),
            "PATH": bare_path(folder / "bin", options.python),
            "PIP_NO_CACHE_DIR": "1",
            "PORT": str(port),
        }
        try:
            check_first_start(copy, environ, port)
            check_second_start(copy, environ, port)
            if not options.no_tests:
                began = time.monotonic()
                tests = subprocess.run([copy / "test.sh", "-q", *rest], env=environ, cwd="/")
                require(f"./test.sh passes ({time.monotonic() - began:.0f} s)", tests.returncode == 0)
        except Failed as failed:
            say(f"FAILED: {failed}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
