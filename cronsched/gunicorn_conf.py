"""gunicorn's settings: `gunicorn -c python:cronsched.gunicorn_conf cronsched.wsgi`.

HOST, PORT, WEB_CONCURRENCY (processes), WEB_THREADS (threads of each), TRUSTED_PROXIES and LOG_LEVEL
come from the environment or `.env`; GUNICORN_CMD_ARGS overrides anything here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gunicorn import util

from cronsched import env, ports
from cronsched.garbage import collect_rarely

env.load_dotenv(Path(__file__).resolve().parent.parent / ".env")

bind = [ports.from_environ(os.environ).bind]
# A test-run may hold a thread for as long as its target takes (30 s): threads are what is spent.
worker_class = "gthread"
workers = env.integer("WEB_CONCURRENCY", 2, low=1, high=64)
threads = env.integer("WEB_THREADS", 8, low=1, high=256)
# One import for all workers, and a worker that died is back at once.
preload_app = True
# The most that gunicorn allows: a search may be long.
limit_request_line = 8190
# Of a thread's silence, not of a request.
timeout = 60
# What is being answered at SIGTERM may finish; start.WEB_STOP_S is longer.
graceful_timeout = 30
keepalive = 5
# The heartbeat is a file that is touched each second: in memory, where there is such a place, so
# that a busy disk does not look like a dead worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# Nobody asked for a second way to steer the server.
control_socket_disable = True
# Whose X-Forwarded-Proto is believed.
forwarded_allow_ips = env.text("TRUSTED_PROXIES") or "127.0.0.1,::1"

loglevel = (env.text("LOG_LEVEL") or "info").lower()


def write_error(sock: Any, status: int, reason: str, message: str) -> None:
    """What cannot be read as HTTP is refused in JSON, too: no path is known, and clients parse it."""
    body = json.dumps({"error": reason, "message": message}).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)


# gunicorn's own writes a page, and there is no setting for it.
util.write_error = write_error


def when_ready(server: Any) -> None:
    """Import the URLs, and with them every view, once and before the workers are forked."""
    from django.urls import get_resolver

    for line in env.warnings():
        server.log.warning(line)
    get_resolver().url_patterns  # noqa: B018, the look is what imports them
    # Before the fork, so that workers share the pages of what is never searched.
    collect_rarely()
