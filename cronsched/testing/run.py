"""What ./test.sh becomes once its environment stands: the suite on SQLite, then the servers.

A whole run is spread over the cores; arguments go to pytest as they are, in every run.
`REQUIRE_SERVICES=1` also runs the tests marked `databases` on MariaDB and PostgreSQL; a server or a
driver that is missing is a failure then.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cronsched import bootstrap

NOTHING_COLLECTED = 5  # pytest's exit code
CONNECT_TIMEOUT_S = 5
# More would crowd the tests that start processes of their own.
WORKERS_MAX = 4


@dataclass(frozen=True, kw_only=True)
class Server:
    """A database server; `variable` overrides `default`. `driver` is the module that must be there."""

    name: str
    variable: str
    default: str
    driver: str

    def url(self, environ: Mapping[str, str]) -> str:
        return environ.get(self.variable) or self.default

    def fault(self, environ: Mapping[str, str]) -> str:
        """Why the tests cannot run on it; empty when they can."""
        if importlib.util.find_spec(self.driver) is None:
            return f"{self.name}: the driver {self.driver} is not installed"
        parts = urlsplit(self.url(environ))
        where = (parts.hostname or "127.0.0.1", parts.port or 0)
        try:
            socket.create_connection(where, CONNECT_TIMEOUT_S).close()
        except OSError as error:
            return f"{self.name}: no answer at {where[0]}:{where[1]} ({error}); set {self.variable}"
        return ""


SERVERS = (
    Server(
        name="MariaDB",
        variable="MARIADB_URL",
        default="mysql://root@127.0.0.1:3306/cronsched",
        driver="MySQLdb",
    ),
    Server(
        name="PostgreSQL",
        variable="POSTGRES_URL",
        default="postgres://postgres@127.0.0.1:5432/cronsched",
        driver="psycopg",
    ),
)


def main(arguments: Sequence[str]) -> int:
    try:
        bootstrap.listen_to_signals()
        return run_all(arguments)
    except KeyboardInterrupt:
        return 130


def run_all(arguments: Sequence[str]) -> int:
    required = os.environ.get("REQUIRE_SERVICES") == "1"
    faults = [fault for server in SERVERS if (fault := server.fault(os.environ))] if required else []
    if faults:
        # Before the long run, not after it.
        for fault in faults:
            _say(fault)
        return 1
    code = run_pytest("SQLite", arguments, {})
    if not required:
        _say("skipped: the tests marked `databases` on MariaDB and PostgreSQL; REQUIRE_SERVICES=1 runs them")
        return code
    for server in SERVERS:
        if code:
            return code
        chosen = with_marker(arguments, "databases")
        code = run_pytest(server.name, chosen, {"TEST_DATABASE_URL": server.url(os.environ)})
        # Arguments may name tests of which none is for the databases.
        code = 0 if arguments and code == NOTHING_COLLECTED else code
    return code


def run_pytest(title: str, arguments: Sequence[str], extra: Mapping[str, str]) -> int:
    _say(f"{title}: pytest {' '.join(arguments)}".rstrip())
    began = time.monotonic()
    argv = [sys.executable, "-m", "pytest", *spread(arguments, os.cpu_count() or 1), *arguments]
    code = subprocess.run(argv, env=os.environ | extra).returncode  # noqa: S603
    _say(f"{title}: {'passed' if code == 0 else f'exit code {code}'} in {time.monotonic() - began:.0f} s")
    return code


def spread(arguments: Sequence[str], cores: int) -> list[str]:
    """pytest-xdist's options for a whole run; whoever names tests wants them plain (`-s`, `--pdb`)."""
    names_its_own = any(argument not in ("-q", "-v", "-x") for argument in without_marker(arguments))
    if names_its_own or cores == 1:
        return []
    # One more than cores: there is always a test that waits.
    return ["-n", str(min(cores + 1, WORKERS_MAX)), "--dist", "worksteal"]


def without_marker(arguments: Sequence[str]) -> list[str]:
    """`arguments` without `-m …`."""
    return [
        word
        for index, word in enumerate(arguments)
        if word != "-m" and (index == 0 or arguments[index - 1] != "-m")
    ]


def with_marker(arguments: Sequence[str], marker: str) -> list[str]:
    """`arguments` with `-m marker`, joined to their own `-m` or to pytest.ini's (pytest heeds the last)."""
    chosen = list(arguments)
    for index, word in enumerate(chosen[:-1]):
        if word == "-m":
            own = chosen[index + 1]
            chosen[index + 1] = f"({own}) and {marker}" if own else marker
            return chosen
    return [*chosen, "-m", f"{marker} and not slow"]


def _say(line: str) -> None:
    print(f"test.sh: {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
