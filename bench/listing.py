"""How often a second a thousand jobs are listed: `GET /api/v2/jobs`, and the same on the earlier stack.

    .venv/bin/pip install -r bench/requirements.txt
    python -m bench.listing --database sqlite:////tmp/bench.db

The database of that name is made anew, with `--jobs` jobs that have run. Two processes serve each stack,
the product with its own settings, and four readers on this machine take one list after the other for
`--seconds`. The CPU is that of the serving processes, for one list.
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.herd import ROOT, cpu_s
from bench.project import DEFAULT_DATABASE, describe_run, start_django

WORKERS, READERS = 2, 4
PORT = 18999
SQLALCHEMY = {"sqlite": "sqlite", "mysql": "mysql+mysqldb", "postgres": "postgresql+psycopg"}


def main() -> None:
    options = _options()
    start_django(options.database)
    token = fill(options.jobs)
    scheme, rest = options.database.split("://", 1)
    os.environ["BENCH_DATABASE"] = f"{SQLALCHEMY[scheme]}://{rest}"
    stacks = {
        "FastAPI, SQLAlchemy": (
            ["uvicorn", "bench.earlier:app", "--workers", str(WORKERS), "--log-level", "error"],
            "/jobs",
        ),
        "cronsched": (["gunicorn", "-c", "python:cronsched.gunicorn_conf", "cronsched.wsgi"], "/api/v2/jobs"),
    }
    print(f"{describe_run()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
    print("| stack | lists a second | ratio | CPU ms a list | ratio | KB a list |")
    print("| --- " * 6 + "|")
    reference: tuple[float, float] | None = None
    for name, (command, path) in stacks.items():
        with _serving(command, path, token) as server:
            rate, cpu_ms, size = measure(server, path, token, options.seconds)
        reference = reference or (rate, cpu_ms)
        print(
            f"| {name} | {rate:.1f} | {rate / reference[0]:.2f} | {cpu_ms:.1f} | "
            f"{cpu_ms / reference[1]:.2f} | {size / 1000:.0f} |",
            flush=True,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=10, help="of each stack (default: %(default)s)")
    return parser.parse_args()


def fill(count: int) -> str:
    """Jobs, each with its last run; a token to read them with."""
    from django.db import connection
    from rest_framework_simplejwt.tokens import AccessToken

    from accounts.models import User

    subprocess.run(
        [sys.executable, "-m", "bench.fill", "--database", os.environ["DATABASE_URL"], "--jobs", str(count),
         "--executions", str(count * 20), "--notifications", "10"],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    connection.close()
    return str(AccessToken.for_user(User.objects.get(username="bench")))


@contextmanager
def _serving(command: list[str], path: str, token: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ, "PORT": str(PORT), "HOST": "127.0.0.1",
        "WEB_CONCURRENCY": str(WORKERS), "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    if command[0] == "uvicorn":
        command = [*command, "--port", str(PORT)]
    server = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment)
    try:
        _wait_until_answering(path, token)
        yield server
    finally:
        server.terminate()
        server.wait()


def _wait_until_answering(path: str, token: str) -> None:
    for _ in range(100):
        try:
            _read(path, token)
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"nothing answers at port {PORT}")


def _read(path: str, token: str) -> int:
    """On a connection of its own: a kept one would stay with the process that took it first."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Host": "testserver"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body[:200]
    return len(body)


def measure(
    server: subprocess.Popen[bytes], path: str, token: str, seconds: float
) -> tuple[float, float, int]:
    """Lists a second, ms of CPU for each, and its bytes."""
    sizes: list[int] = []

    def read_until(end: float) -> None:
        while time.monotonic() < end:
            sizes.append(_read(path, token))

    def run(duration: float) -> None:
        end = time.monotonic() + duration
        readers = [threading.Thread(target=read_until, args=(end,)) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()

    run(2)  # Imports, connections, caches.
    sizes.clear()
    cpu, began = _cpu_of_all(server.pid), time.monotonic()
    run(seconds)
    took, count = time.monotonic() - began, len(sizes)
    return count / took, (_cpu_of_all(server.pid) - cpu) / count * 1000, sizes[0]


def _cpu_of_all(pid: int) -> float:
    """Of the process and all below it."""
    return sum(map(cpu_s, [pid, *_children(pid)]))


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [deeper for child in map(int, listed) for deeper in (child, *_children(child))]


if __name__ == "__main__":
    main()
