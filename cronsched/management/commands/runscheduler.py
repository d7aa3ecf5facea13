"""The scheduler process: takes the lead or stands by; SIGTERM drains, a second one no longer waits.

Run as many as you like, on as many hosts: one leads, the others take over when it falls silent.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from prometheus_client import start_http_server

from cronsched import env
from cronsched.chores import ChoreScheduler
from cronsched.core.db import limit_idle_transactions
from cronsched.garbage import collect_rarely
from cronsched.management.base import ProductCommand, seconds
from jobs.engine import metrics
from jobs.engine.config import EngineConfig, from_settings
from jobs.engine.lease import idle_limit_s
from jobs.engine.loop import WATCH_S, Engine
from jobs.engine.offer import Offers
from jobs.services.maintenance import resync
from jobs.services.trial import sender_config
from notifications.engine.sender import Senders

logger = logging.getLogger(__name__)

DRAIN_S = 30.0
# What threads that are about to end may take for it.
LEAVE_S = 5.0
# For the one message that is on its way.
SENDERS_STOP_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Command(ProductCommand):
    # They would read all pages, for a process that has none; `manage.py check` runs them.
    requires_system_checks: list[str] = []
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
        for line in env.warnings():
            logger.warning(line)
        # Blocked before the first thread starts, which inherits that: this thread alone takes signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        chores = ChoreScheduler()
        engine = make_engine(chores)
        serve_metrics()
        senders = Senders(is_leading=lambda: engine.keeper.trusted_term() is not None)
        collect_rarely()
        engine.start()
        senders.start()
        logger.info("scheduler started holder=%s zone=%s", engine.keeper.holder, settings.SCHEDULER_TIMEZONE)
        fault = wait_for_the_end(engine)
        senders.stop(SENDERS_STOP_S)
        engine.stop(options["drain"])
        # Left alone, its loop would hand chores to threads that have gone, and log an error for each.
        chores.stop(wait_s=LEAVE_S)
        logger.info("scheduler stopped holder=%s", engine.keeper.holder)
        leave(1 if fault else 0)


def wait_for_the_end(engine: Engine) -> str:
    """Wait for a signal to stop (""), or for a fault that only a fresh process mends: the fault."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            return
        # The second time: no more waiting. The third: as the system does it.
        for one in STOP_SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        engine.hurry()

    for number in STOP_SIGNALS:
        signal.signal(number, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    while not asked.wait(WATCH_S):
        if fault := engine.fault():
            logger.critical("scheduler at fault, it ends to be started anew: %s", fault)
            return fault
    return ""


def leave(code: int) -> None:
    """End the process. Where a thread still hangs in a silent database, without waiting for it."""
    until = time.monotonic() + LEAVE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                logger.warning("a thread is left behind name=%s", thread.name)
                logging.shutdown()
                os._exit(code)
    if code:
        sys.exit(code)


def serve_metrics() -> None:
    """This process' figures at METRICS_HOST:METRICS_PORT, in a thread. CommandError where it is taken."""
    if not settings.METRICS_PORT:
        return
    try:
        start_http_server(settings.METRICS_PORT, settings.METRICS_HOST, metrics.REGISTRY)
    except OSError as error:
        where = f"{settings.METRICS_HOST}:{settings.METRICS_PORT}"
        raise CommandError(
            f"METRICS_PORT: {where} cannot be listened on: {error.strerror}. Each scheduler of a machine "
            "needs a port of its own; 0 serves no metrics."
        ) from None


def make_offers(config: EngineConfig) -> Offers:
    # Only here: an installation that sends by itself needs no Celery.
    from cronsched.celery_app import publish

    return Offers(publish, grace_s=config.grace_s)


def make_engine(chores: ChoreScheduler) -> Engine:
    """The engine as the settings describe it; it starts the chores when it leads."""
    limit_idle_transactions(idle_limit_s(settings.SCHEDULER_LOCK_STALE_SECONDS))
    config = from_settings()
    engine = Engine(
        config,
        sender_config(),
        lease_s=settings.SCHEDULER_LOCK_STALE_SECONDS,
        resync=resync,
        offer=make_offers(config) if settings.SEND_BACKEND == "celery" else None,
        on_lead=lambda: chores.start(engine.keeper),
        on_lead_lost=chores.stop,
    )
    return engine
