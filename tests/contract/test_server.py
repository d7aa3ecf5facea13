"""What the web server refuses before the application sees it: in JSON, as everything else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 30


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """gunicorn as it is deployed, on a socket that is already listening: it need not be waited for."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.set_inheritable(True)
        host, port = listener.getsockname()
        argv = [sys.executable, "-m", "gunicorn", "-c", "python:cronsched.gunicorn_conf", "cronsched.wsgi"]
        bind = ["--bind", f"fd://{listener.fileno()}", "--workers", "1"]
        settings = {"DJANGO_SETTINGS_MODULE": "cronsched.testing.settings"}
        process = subprocess.Popen(
            [*argv, *bind], cwd=ROOT, env=os.environ | settings, pass_fds=[listener.fileno()]
        )
        yield host, port
        process.send_signal(signal.SIGQUIT)  # at once: nothing is under way
        process.wait(START_S)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /api/v2/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"GET /api/v2/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /api/v2/jobs?search=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /api/v2/jobs HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /api/v2/jobs\r\n\r\n", 400),
        (b"<script> /api/v2/jobs HTTP/1.1\r\n\r\n", 400),
        (b"POST /api/v2/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n", 400),
    ],
    ids=["good", "404", "long line", "long header", "no version", "no method", "no length"],
)
def test_the_server_answers_in_json(server: tuple[str, int], request_: bytes, status: int) -> None:
    with socket.create_connection(server, timeout=START_S) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head.lower()
    assert status < 400 or {"error", "message"} <= set(json.loads(body))
