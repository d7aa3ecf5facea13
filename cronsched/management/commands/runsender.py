"""A sending process: it takes what the leader offers by way of the broker, and makes the calls.

Run as many as you like, on as many hosts; each needs the database, the broker and the same secrets.
SIGTERM drains. A worker inside a private network serves the queue that its team has.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from cronsched.core.db import limit_idle_transactions
from cronsched.management.base import ProductCommand, seconds
from cronsched.management.commands.runscheduler import DRAIN_S, serve_metrics
from jobs.engine.config import from_settings
from jobs.engine.lease import idle_limit_s
from jobs.engine.worker import Worker
from jobs.services.trial import sender_config

logger = logging.getLogger(__name__)


class Command(ProductCommand):
    # They would read all pages, for a process that has none; `manage.py check` runs them.
    requires_system_checks: list[str] = []
    help = "Send runs that the leader offers (SEND_BACKEND=celery)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queues",
            default=settings.SEND_QUEUE,
            metavar="NAMES",
            help="comma-separated queues to serve (default: %(default)s, SEND_QUEUE)",
        )
        parser.add_argument("--drain", type=seconds, default=DRAIN_S, metavar="SECONDS")

    def handle(self, *args: Any, queues: str, drain: float, **options: Any) -> None:
        if settings.SEND_BACKEND != "celery":
            raise CommandError(
                "SEND_BACKEND is not celery: the scheduler sends by itself, no sender is needed."
            )
        names = [name.strip() for name in queues.split(",") if name.strip()]
        if not names:
            raise CommandError("--queues: name at least one queue.")
        # Only here: an installation without Celery has the other commands.
        from cronsched.celery_app import serve

        limit_idle_transactions(idle_limit_s(settings.SCHEDULER_LOCK_STALE_SECONDS))
        worker = Worker(from_settings(), sender_config())
        serve_metrics()
        worker.start()
        logger.info("sender started holder=%s queues=%s", worker.holder, ",".join(names))
        code = 1
        try:
            code = serve(worker, queues=names)
        finally:
            worker.stop(drain)
            logger.info("sender stopped holder=%s", worker.holder)
        if code:
            sys.exit(code)
