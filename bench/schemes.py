"""What the product is compared with: the yardstick, and two ways to use APScheduler plainly.

Each runs in a process of its own: `python -m bench.schemes NAME DATABASE_URL DUE`. It calls every job's
URL at DUE (seconds since 1970), leaves a row for each call, and ends when it is killed.

yardstick   all rows claimed in one transaction, aiohttp 200 at once on new connections, results written
            in batches: what this machine can do in Python when nothing else is asked for
apscheduler 20 threads, a misfire grace of 30 s, jobs in memory, requests, two writes for each run
store       the same with django-apscheduler's store, an entry for each job
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from bench.project import start_django

AT_ONCE = 200
BATCH = 500
BODY = b'{"environment": "production"}'


def yardstick(due: float) -> None:
    jobs = _jobs()
    time.sleep(max(0.0, due - time.time()))
    rows = _claim(jobs)
    asyncio.run(_send_all(rows))


def _jobs() -> list[tuple[Any, str]]:
    from jobs.models import Job

    return list(Job.objects.values_list("pk", "target_url"))


def _claim(jobs: list[tuple[Any, str]]) -> list[tuple[Any, str]]:
    """Rows for all of them, in one transaction: id and URL."""
    from django.db import transaction

    from jobs.models import JobExecution

    now = datetime.now(UTC)
    rows = [(uuid.uuid4(), url) for _, url in jobs]
    with transaction.atomic():
        JobExecution.objects.bulk_create(
            [
                JobExecution(
                    id=pk,
                    job_id=job_id,
                    status="running",
                    trigger_type="manual",
                    execution_type="webhook",
                    target=url,
                    started_at=now,
                    available_at=now,
                )
                for (pk, url), (job_id, _) in zip(rows, jobs, strict=True)
            ],
            batch_size=BATCH,
        )
    return rows


async def _send_all(rows: list[tuple[Any, str]]) -> None:
    import aiohttp

    results: asyncio.Queue[tuple[Any, int]] = asyncio.Queue()
    seats = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(pk: Any, url: str) -> None:
            async with seats, session.post(url, data=BODY) as response:
                await response.read()
            results.put_nowait((pk, response.status))

        writer = asyncio.create_task(_write_all(results, len(rows)))
        await asyncio.gather(*(send(pk, url) for pk, url in rows))
        await writer


async def _write_all(results: asyncio.Queue[tuple[Any, int]], count: int) -> None:
    while count:
        batch = [await results.get()]
        while len(batch) < min(BATCH, count):
            batch.append(await results.get())
        await asyncio.to_thread(_write, batch)
        count -= len(batch)


def _write(batch: list[tuple[Any, int]]) -> None:
    from django.db import transaction

    from cronsched.core.db import update_each
    from jobs.models import JobExecution

    now = datetime.now(UTC)
    with transaction.atomic():
        update_each(
            JobExecution,
            ("status", "completed_at", "duration_seconds", "response_status"),
            ("id",),
            [("success", now, 0.1, status, pk) for pk, status in batch],
        )


def apscheduler(due: float, *, with_store: bool = False) -> None:
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(20)}, job_defaults={"misfire_grace_time": 30}
    )
    if with_store:
        from django_apscheduler.jobstores import DjangoJobStore

        scheduler.add_jobstore(DjangoJobStore(), "default")
    at = datetime.fromtimestamp(due, UTC)
    for pk, url in _jobs():
        scheduler.add_job("bench.schemes:call", "date", run_date=at, args=[str(pk), url], id=str(pk))
    scheduler.start()


def call(job_id: str, url: str) -> None:
    """One run as such systems do it: a row, the request, the row again."""
    import requests
    from django.db import close_old_connections

    from jobs.models import JobExecution

    close_old_connections()
    now = datetime.now(UTC)
    run = JobExecution.objects.create(
        job_id=job_id,
        status="running",
        trigger_type="manual",
        execution_type="webhook",
        target=url,
        started_at=now,
        available_at=now,
    )
    answer = requests.post(url, data=BODY, timeout=30)
    run.status, run.response_status, run.completed_at = "success", answer.status_code, datetime.now(UTC)
    run.save()


def main() -> None:
    name, database, due = sys.argv[1:]
    start_django(database)
    if name == "yardstick":
        yardstick(float(due))
    else:
        apscheduler(float(due), with_store=name == "store")
    time.sleep(3600)


if __name__ == "__main__":
    main()
