"""Databases to break: a file, or a server of our own on a free port, in a folder that goes with it.

A shared server must not be killed; these may be. A server that runs as root is refused by PostgreSQL,
so that one runs as `nobody` there.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

START_S = 60
Disturbance = Callable[[float], None]


class Database:
    """What the breaker breaks. A disturbance takes its length in seconds and blocks that long."""

    name = ""
    url = ""

    def start(self) -> None:
        """Make it answer."""

    def close(self) -> None:
        """Leave nothing behind."""

    def disturbances(self) -> dict[str, Disturbance]:
        return {}


class SqliteFile(Database):
    name = "SQLite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def disturbances(self) -> dict[str, Disturbance]:
        return {"locks": self.lock}

    def lock(self, seconds: float) -> None:
        """Nobody else can write meanwhile."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=20)) as held:
            held.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            held.execute("ROLLBACK")


class ServerProcess(Database):
    """A database server as a child process. `argv` runs it in the foreground."""

    def __init__(self, name: str, folder: Path, *, port: int, url: str, argv: Sequence[str]) -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self.url = url
        self.argv = argv
        self.process: Any = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start until it answers: what a killed server leaves may hold its memory for a moment longer."""
        self._log = self._log or (self.folder / "server.log").open("ab")
        until = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name} did not start\n{(self.folder / 'server.log').read_text()}")
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    self.argv, stdout=self._log, stderr=self._log, start_new_session=True, **_as_nobody()
                )
            time.sleep(0.2)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2):
            return self.process is not None and self.process.poll() is None
        return False

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGKILL)
            self.process.wait(30)
        if self._log is not None:
            self._log.close()

    def disturbances(self) -> dict[str, Disturbance]:
        return {"restarts": self.restart, "crashes": self.crash, "pauses": self.pause}

    def restart(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGINT if self.name == "PostgreSQL" else signal.SIGTERM)
        self.process.wait(60)
        self._clear()
        time.sleep(seconds)
        self.start()

    def crash(self, seconds: float) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait(30)
        self._clear()
        time.sleep(seconds)
        self.start()

    def pause(self, seconds: float) -> None:
        self._signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """To the server and its children, which PostgreSQL puts into groups of their own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            for pid in (self.process.pid, *map(int, children.read_text().split())):
                os.kill(pid, number)

    def _clear(self) -> None:
        """What a killed server leaves."""
        for left in ("postmaster.pid",):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / "data" / left).unlink()


def mariadb(folder: Path) -> ServerProcess:
    """A fresh MariaDB, without passwords, on loopback."""
    data, port = folder / "data", _free_port()
    install = _find("mariadb-install-db", "mysql_install_db")
    _own(folder)
    _run(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
         "--skip-test-db")  # fmt: skip
    argv = [
        _find("mariadbd", "mysqld"), "--no-defaults", f"--datadir={data}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--socket={folder}/s", f"--pid-file={folder}/pid",
        "--innodb-flush-log-at-trx-commit=1",
    ]  # fmt: skip
    url = f"mysql://root@127.0.0.1:{port}/chaos"
    server = ServerProcess("MariaDB", folder, port=port, url=url, argv=argv)
    server.start()
    _run(_find("mariadb", "mysql"), "--no-defaults", "-uroot", "-h127.0.0.1", f"-P{port}",
         "-e", "CREATE DATABASE chaos CHARACTER SET utf8mb4")  # fmt: skip
    return server


def postgresql(folder: Path) -> ServerProcess:
    """A fresh PostgreSQL, trusting loopback."""
    data, port = folder / "data", _free_port()
    _own(folder)
    _run(_find("initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    argv = [_find("postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    url = f"postgres://postgres@127.0.0.1:{port}/chaos"
    server = ServerProcess("PostgreSQL", folder, port=port, url=url, argv=argv)
    server.start()
    for _ in range(50):
        made = subprocess.run([_find("createdb"), "-h127.0.0.1", f"-p{port}", "-Upostgres", "chaos"])
        if made.returncode == 0:
            return server
        time.sleep(0.2)
    raise RuntimeError("createdb: no answer")


@contextlib.contextmanager
def open_database(kind: str, folder: Path) -> Iterator[Database]:
    """`sqlite`, `mariadb` or `postgresql`, ended and gone afterwards."""
    makers: dict[str, Callable[[Path], Database]] = {
        "sqlite": lambda where: SqliteFile(where / "chaos.db"),
        "mariadb": mariadb,
        "postgresql": postgresql,
    }
    made = makers[kind](folder)
    try:
        yield made
    finally:
        made.close()


def _find(*names: str) -> str:
    places = [os.environ["PATH"], "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    for name in names:
        if found := shutil.which(name, path=os.pathsep.join(places)):
            return found
    sys.exit(f"chaos: {names[0]} is not installed here; install the server's package, or choose sqlite.")


def _as_nobody() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _own(folder: Path) -> None:
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def _run(*argv: str) -> None:
    made = subprocess.run(argv, capture_output=True, text=True, **_as_nobody())
    if made.returncode:
        sys.exit(f"chaos: {' '.join(argv)}\n{made.stdout}{made.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
