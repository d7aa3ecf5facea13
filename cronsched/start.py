"""What ./start.sh becomes once its environment stands: prepares the database, then supervises.

`python -m cronsched.start` runs the web server and the scheduler as one supervised group, for local
use: beneath what the environment and `.env` say, it allows plain and private webhook targets and
the first admin. No Django in this process, so that it stays small.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from cronsched import bootstrap, ports
from cronsched.bootstrap import Stop, say
from cronsched.ports import Address
from cronsched.supervisor import Program, Supervisor

# On for whoever tries the product on their own machine; never written to .env, so that the same
# folder served in another way keeps the safe defaults.
LOCAL_DEFAULTS = {
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "true",
    "ALLOW_DEFAULT_ADMIN": "true",
    "HTTPS_ONLY": "false",
}
# For these an empty value says nothing; for the others it may be meant (`GITHUB_TOKEN= ./start.sh`).
NEVER_EMPTY = {*LOCAL_DEFAULTS, *bootstrap.GENERATED, "DATABASE_URL", "HOST", "PORT"}
# Longer than gunicorn's graceful_timeout, and than the scheduler's drain of up to 40 s.
WEB_STOP_S = 35.0
SCHEDULER_STOP_S = 50.0
# After this long without an answer, say so, once.
SLOW_START_S = 30.0
FALSE_WORDS = {"false", "0", "no", "off"}
TRUE_WORDS = {"true", "1", "yes", "on"}
HEALTH_PATH = "/api/v2/health"


def main() -> int:
    try:
        bootstrap.listen_to_signals()
        settle(os.environ, bootstrap.ROOT)
        address = ports.from_environ(os.environ)
        ports.check_free(address)
        _name_in_lock(address)
        prepared = subprocess.run([sys.executable, "-m", "cronsched.prepare"])
    except Stop as stop:
        print(f"cronsched: {stop}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    if prepared.returncode:
        return prepared.returncode if prepared.returncode > 0 else 1
    return Supervisor(programs(os.environ), probe=Readiness(address, os.environ), say=say).run()


def settle(environ: MutableMapping[str, str], root: Path) -> None:
    """Lay .env, and beneath it the local defaults, under `environ`."""
    for name in NEVER_EMPTY:
        if not environ.get(name, "").strip():
            environ.pop(name, None)
    for name, value in bootstrap.read_env(root / ".env").items():
        if value.strip() or name not in NEVER_EMPTY:
            environ.setdefault(name, value)
    for name, value in LOCAL_DEFAULTS.items():
        environ.setdefault(name, value)


def programs(environ: Mapping[str, str]) -> list[Program]:
    """The web server and, unless it is switched off, the scheduler."""
    gunicorn = ["gunicorn", "-c", "python:cronsched.gunicorn_conf"]
    if environ.get("LOG_LEVEL", "").strip().upper() != "DEBUG":
        # Who came and went is told by the supervisor.
        gunicorn += ["--log-level", "warning"]
    web = Program(
        name="web",
        argv=[sys.executable, "-m", *gunicorn, "cronsched.wsgi"],
        stop_s=WEB_STOP_S,
        hasten=signal.SIGQUIT,  # gunicorn's quick shutdown
    )
    scheduler = Program(
        name="scheduler", argv=[sys.executable, "manage.py", "runscheduler"], stop_s=SCHEDULER_STOP_S
    )
    return [web, scheduler] if scheduler_wanted(environ) else [web]


def scheduler_wanted(environ: Mapping[str, str]) -> bool:
    """`runscheduler` would end at once where either of these says so; an unknown word stopped `prepare`."""
    enabled = environ.get("SCHEDULER_ENABLED", "").strip().lower() not in FALSE_WORDS
    return enabled and environ.get("TESTING", "").strip().lower() not in TRUE_WORDS


def _name_in_lock(address: Address) -> None:
    """Let a second start in this folder say where this one is. The children must not keep the lock."""
    lock = os.environ.pop(bootstrap.LOCK_FD, None)
    if lock:
        os.set_inheritable(int(lock), False)
        bootstrap.note_holder(int(lock), f"process {os.getpid()}, {address.url}")


class Readiness:
    """Asks the web server until it answers, then says where to go next."""

    def __init__(self, address: Address, environ: Mapping[str, str]) -> None:
        self._address = address
        self._environ = environ
        self._since = time.monotonic()
        self._said_slow = False

    def __call__(self) -> bool:
        status = self._ask()
        if status is None:
            if not self._said_slow and time.monotonic() - self._since > SLOW_START_S:
                self._said_slow = True
                say(f"no answer yet from {self._address.url}; the lines above may say why")
            return False
        if status != http.client.OK:
            say(f"{HEALTH_PATH} answers {status}; the lines above may say why")
        for line in self.banner():
            say(line)
        return True

    def _ask(self) -> int | None:
        """The status of the health check; None while nobody answers."""
        connection = http.client.HTTPConnection(self._address.own_host, self._address.port, timeout=1)
        try:
            connection.request("GET", HEALTH_PATH, headers={"Host": self._allowed_host()})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _allowed_host(self) -> str:
        """A Host header that ALLOWED_HOSTS lets through."""
        first = self._environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().removeprefix(".")
        return first if first and first != "*" else "localhost"

    def banner(self) -> list[str]:
        url = self._address.url
        admin = self._environ.get("DEFAULT_ADMIN_USERNAME") or "admin"
        lines = [
            "ready",
            f"  Admin site   {url}admin/",
            f"  API docs     {url}docs",
            f"  First login  {admin}, with the password that the very first start showed, once",
            "               (lost: .venv/bin/python manage.py create_admin --help)",
            "  Logs         here; LOG_LEVEL=DEBUG says more, LOG_FILE=path keeps them",
            "  Stop         Ctrl-C",
        ]
        if not scheduler_wanted(self._environ):
            lines.append("  Scheduler    off (SCHEDULER_ENABLED or TESTING): no job fires from here")
        if (
            self._address.host not in {"127.0.0.1", "localhost", "::1"}
            and "ALLOWED_HOSTS" not in self._environ
        ):
            lines.append("  Note         from other machines only with ALLOWED_HOSTS=their name for this one")
        return lines


if __name__ == "__main__":
    sys.exit(main())
