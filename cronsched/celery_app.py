"""The Celery side of SEND_BACKEND=celery: one task, whose message is a list of execution ids.

A message is acknowledged after its runs were claimed, and given to another worker where this one
dies before; told twice, a run is still sent once (jobs.engine.offer). No results are kept: what came of
a run is its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from celery import Celery
from celery.worker import state
from django.conf import settings

from jobs.engine.worker import SenderDied, Worker

TASK = "cronsched.send"
# Seconds: the leader's tick waits for the broker no longer than this.
BROKER_S = 2.0
FAULT = 1

# No answer is no answer, and what a dead worker held comes back soon.
_REDIS = {"socket_timeout": BROKER_S, "socket_connect_timeout": BROKER_S, "visibility_timeout": 120}
# For publishing: a message is sent when RabbitMQ says so, for a server that stands still takes all that is
# written. Its library waits three times before it gives up: for the answer, and twice while it closes.
_RABBITMQ = {"read_timeout": BROKER_S / 2, "write_timeout": BROKER_S / 2, "confirm_publish": True}

app = Celery("cronsched", broker=settings.CELERY_BROKER_URL)
app.conf.update(
    task_default_queue=settings.SEND_QUEUE,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=BROKER_S,
    broker_transport_options=_REDIS if settings.CELERY_BROKER_URL.startswith("redis") else _RABBITMQ,
    timezone="UTC",
)


def publish(queue: str, ids: Sequence[UUID]) -> None:
    """Tell the workers of `queue` ("": the default one). Raises where the broker does not take it."""
    app.send_task(TASK, args=[[str(pk) for pk in ids]], queue=queue or settings.SEND_QUEUE, retry=False)


def serve(worker: Worker, *, queues: Sequence[str]) -> int:
    """Take messages in this thread until a signal asks to stop (SIGTERM, SIGINT). The exit code."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def send(ids: list[str]) -> int:
        try:
            return worker.take([UUID(pk) for pk in ids])
        except SenderDied:
            # Its runs are offered again; this process ends, so that its service manager starts it anew.
            state.should_stop = FAULT
            raise

    if app.conf.broker_transport_options == _RABBITMQ:
        # Who listens may hear nothing for hours; RabbitMQ itself gives the messages of the dead to others.
        app.conf.broker_transport_options = {}
    consumer = app.Worker(
        # The task only claims and hands over: it needs no processes, and its sender must be this one.
        pool="solo",
        queues=list(queues),
        hostname=worker.holder.replace(":", "-"),
        without_mingle=True,
        without_gossip=True,
        loglevel="WARNING",
    )
    consumer.start()
    return int(consumer.exitcode or 0)
