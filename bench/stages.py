"""What each stage of a run costs in CPU: planned, claimed, sent and recorded one after the other.

    python -m bench.stages --database sqlite:////tmp/bench.db --jobs 3000

The database of that name is made anew. The engine's own functions run here without its threads, so that a
stage's CPU is its own. The reference is the sending of the yardstick (bench/schemes.py), per call.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench.herd import make_jobs
from bench.project import DEFAULT_DATABASE, create_database, describe_run, start_django
from bench.receiver import Receiver
from bench.schemes import BATCH, call_all


def main() -> None:
    options = _options()
    os.environ["WEBHOOK_SIGNING_SECRET"] = "whsec_YmVuY2gtc2lnbmluZy1zZWNyZXQ="  # noqa: S105 - opens nothing
    start_django(options.database)
    create_database(options.database)
    receiver = Receiver()
    make_jobs(options.jobs, receiver, datetime.now(UTC).replace(microsecond=0))
    print(f"{describe_run()}, load average {os.getloadavg()[0]:.1f}\n")
    print("| stage | CPU ms for a run |")
    print("| --- | --- |")
    for stage, cpu_s in _measure(options.jobs):
        print(f"| {stage} | {cpu_s / options.jobs * 1000:.2f} |", flush=True)
    urls = [(None, receiver.url(number)) for number in range(options.jobs)]
    _, cpu_s = _timed(lambda: asyncio.run(call_all(urls)))
    print(f"| reference: send, the yardstick's way | {cpu_s / options.jobs * 1000:.2f} |")
    receiver.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=3_000)
    return parser.parse_args()


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.thread_time()
    return work(), time.thread_time() - began


def _measure(count: int) -> list[tuple[str, float]]:
    from cronsched.garbage import collect_rarely
    from jobs.engine.claim import claim
    from jobs.engine.config import from_settings
    from jobs.engine.lease import acquire
    from jobs.engine.messages import Delivery, DeliveryResult
    from jobs.engine.plan import plan_due
    from jobs.engine.record import record
    from jobs.engine.send import Sender
    from jobs.services.trial import sender_config

    term = acquire(holder="bench", ttl_s=3600)
    assert term is not None
    lead, config = term, from_settings()
    results: list[DeliveryResult] = []
    sending: list[float] = []
    is_done = threading.Event()

    def on_result(result: DeliveryResult) -> None:
        # In the sender's thread, whose CPU this is.
        results.append(result)
        if len(results) == count:
            sending.append(time.thread_time())
            is_done.set()

    def claim_all() -> list[Delivery]:
        deliveries: list[Delivery] = []
        while found := claim(now=datetime.now(UTC), term=lead, limit=BATCH, config=config).deliveries:
            deliveries += found
        return deliveries

    collect_rarely()
    _, planning = _timed(lambda: list(plan_due(now=datetime.now(UTC), term=lead, config=config)))
    deliveries, claiming = _timed(claim_all)
    sender = Sender(sender_config(), on_result=on_result)
    sender.start()
    sender.submit(deliveries)
    is_done.wait()
    sender.stop(5)
    _, recording = _timed(
        lambda: [
            record(results[begin : begin + BATCH], now=datetime.now(UTC)) for begin in range(0, count, BATCH)
        ]
    )
    return [("plan", planning), ("claim", claiming), ("send", sending[0]), ("record", recording)]


if __name__ == "__main__":
    main()
