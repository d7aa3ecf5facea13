"""The scheduler process: takes the lead or stands by; SIGTERM drains.

Run as many as you like, on as many hosts: one leads, the others take over when it falls silent.
"""

from __future__ import annotations

import logging
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from cronsched.chores import ChoreScheduler
from cronsched.core.http.guard import AddressPolicy
from cronsched.garbage import collect_rarely
from cronsched.management.base import ProductCommand, seconds
from jobs.engine.config import from_settings
from jobs.engine.loop import Engine
from jobs.engine.send import SenderConfig
from jobs.services.maintenance import resync

logger = logging.getLogger(__name__)

DRAIN_S = 30.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Command(ProductCommand):
    help = "Run the scheduler: plan what is due, send it, record what came of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--drain",
            type=seconds,
            default=DRAIN_S,
            metavar="SECONDS",
            help="how long SIGTERM waits for runs in flight (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.TESTING or not settings.SCHEDULER_ENABLED:
            name = "TESTING=true" if settings.TESTING else "SCHEDULER_ENABLED=false"
            self.stdout.write(f"{name}: no scheduler is started.")
            return
        # Blocked before the first thread starts, which inherits that: the kernel may hand a signal to any
        # thread, and Python runs no handler until the main thread wakes from whatever it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        engine = make_engine()
        collect_rarely()
        engine.start()
        logger.info("scheduler started holder=%s zone=%s", engine.keeper.holder, settings.SCHEDULER_TIMEZONE)
        signal.sigwait(STOP_SIGNALS)
        engine.stop(options["drain"])
        logger.info("scheduler stopped holder=%s", engine.keeper.holder)


def make_engine() -> Engine:
    """The engine as the settings describe it, with its chores."""
    chores = ChoreScheduler()
    engine = Engine(
        from_settings(),
        SenderConfig(
            policy=AddressPolicy(
                allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
                allowed_networks=settings.WEBHOOK_ALLOWED_NETWORKS,
            ),
            allow_http=settings.WEBHOOK_ALLOW_HTTP,
        ),
        lease_s=settings.SCHEDULER_LOCK_STALE_SECONDS,
        resync=resync,
        on_lead=lambda: chores.start(engine.keeper),
        on_lead_lost=chores.stop,
    )
    return engine
