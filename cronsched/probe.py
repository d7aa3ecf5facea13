"""A container's health, without curl: `python -m cronsched.probe [scheduler]`. Exits with 0 or 1.

The web server is asked over HTTP, as its visitors do. A scheduler listens nowhere: its container is
well while its process is; whether any of them leads, the database says.
"""

from __future__ import annotations

import http.client
import os
import sys
from contextlib import closing

from cronsched.ports import from_environ

TIMEOUT_S = 4


def main(arguments: list[str]) -> int:
    fault = ask_scheduler() if arguments == ["scheduler"] else ask_web()
    if fault:
        print(fault, file=sys.stderr)  # noqa: T201 - what a program says
    return 1 if fault else 0


def ask_web() -> str:
    """ "" where the web server answers and reaches its database, else what is wrong."""
    address = from_environ(os.environ)
    name = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().removeprefix(".")
    headers = {"Host": "localhost" if name in ("", "*") else name, "X-Forwarded-Proto": "https"}
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", address.port, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/api/v2/health", headers=headers)
            answer = connection.getresponse()
            return "" if answer.status == 200 else f"The web server answers {answer.status}."
    except (OSError, http.client.HTTPException) as error:
        return f"The web server does not answer: {error}"


def ask_scheduler() -> str:
    """ "" where some scheduler leads, this one or another, else what is wrong."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cronsched.settings")
    os.environ["LOG_LEVEL"] = "CRITICAL"
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.db import Error

    try:
        django.setup()
        from cronsched.core import clock
        from jobs.services.status import scheduler_status

        status = scheduler_status(now=clock.now())
    except (Error, ImproperlyConfigured) as error:
        return f"The database cannot be asked: {' '.join(str(error).split())}"
    return "" if status.scheduler_running else "No scheduler leads."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
