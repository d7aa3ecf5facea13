"""What the product is compared with: the yardstick, two plain ways to use APScheduler, and Celery.

Each runs in a process of its own: `python -m bench.schemes NAME DATABASE_URL DUE`. It calls every job's
URL at DUE (seconds since 1970), leaves a row for each call, and ends when it is killed.

yardstick   all rows claimed in one transaction, aiohttp 200 at once on new connections, results written
            in batches: what this machine can do in Python when nothing else is asked for
kept        the same with kept-alive connections to one host
socket      rows as the yardstick's, and a bare loop of sockets on new connections: the limit
apscheduler what the earlier system's documents describe: a cron trigger for each job, in memory, 20 threads,
            a misfire grace of 30 s; a run reads its job, writes its row, calls with requests, writes the
            row again and a notice to the owner
store       the same with django-apscheduler's store, an entry for each job
celery      the same run as a task: django-celery-beat with a crontab entry for each job, so DUE is a whole
            minute; a worker of 20 threads; Redis between them (127.0.0.1:6379, database 15)
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from bench.project import start_django

AT_ONCE = 200
BATCH = 500
BODY = b'{"environment": "production"}'


def yardstick(due: float, *, is_kept: bool = False) -> None:
    jobs = _jobs()
    time.sleep(max(0.0, due - time.time()))
    rows = _claim(jobs)
    if is_kept:
        host = urlsplit(rows[0][1]).netloc
        rows = [(pk, urlsplit(url)._replace(netloc=host).geturl()) for pk, url in rows]
    asyncio.run(_send_all(rows, is_kept=is_kept))


def bare_sockets(due: float) -> None:
    jobs = _jobs()
    time.sleep(max(0.0, due - time.time()))
    rows = _claim(jobs)
    for begin in range(0, len(rows), BATCH):
        batch = rows[begin : begin + BATCH]
        _call_bare([url for _, url in batch])
        _write([(pk, 200) for pk, _ in batch])


def _call_bare(urls: list[str]) -> None:
    """POST to all of them at once; an answer is there when its first bytes are."""
    selector = selectors.DefaultSelector()
    for url in urls:
        parts = urlsplit(url)
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((parts.hostname, parts.port))
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        selector.register(one, selectors.EVENT_WRITE, head.encode() + BODY)
    waiting = len(urls)
    while waiting:
        for key, events in selector.select():
            one = cast(socket.socket, key.fileobj)
            if events & selectors.EVENT_WRITE:
                one.send(key.data)
                selector.modify(one, selectors.EVENT_READ)
            else:
                one.recv(4096)
                selector.unregister(one)
                one.close()
                waiting -= 1


def _jobs() -> list[tuple[Any, str]]:
    from jobs.models import Job

    return list(Job.objects.values_list("pk", "target_url"))


def _claim(jobs: list[tuple[Any, str]]) -> list[tuple[Any, str]]:
    """Rows for all of them, in one transaction: id and URL."""
    from django.db import transaction

    from cronsched.core.db import insert_each
    from jobs.models import JobExecution

    now = datetime.now(UTC)
    rows = [(uuid.uuid4(), url) for _, url in jobs]
    made = [
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
    ]
    with transaction.atomic():
        for begin in range(0, len(made), BATCH):
            insert_each(made[begin : begin + BATCH])
    return rows


async def _send_all(rows: list[tuple[Any, str]], *, is_kept: bool) -> None:
    results: asyncio.Queue[tuple[Any, int]] = asyncio.Queue()
    writer = asyncio.create_task(_write_all(results, len(rows)))
    await call_all(rows, is_kept=is_kept, on_answer=lambda *answer: results.put_nowait(answer))
    await writer


async def call_all(
    rows: list[tuple[Any, str]],
    *,
    is_kept: bool = False,
    on_answer: Callable[[Any, int], None] = lambda pk, status: None,
) -> None:
    """POST to the URLs of all rows."""
    import aiohttp

    seats = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=not is_kept)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(pk: Any, url: str) -> None:
            async with seats, session.post(url, data=BODY) as response:
                await response.read()
            on_answer(pk, response.status)

        await asyncio.gather(*(send(pk, url) for pk, url in rows))


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
    from apscheduler.triggers.cron import CronTrigger

    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(20)}, job_defaults={"misfire_grace_time": 30}, timezone=UTC
    )
    if with_store:
        from django_apscheduler.jobstores import DjangoJobStore

        scheduler.add_jobstore(DjangoJobStore(), "default")
    at = datetime.fromtimestamp(due, UTC)
    yearly = CronTrigger(
        month=at.month, day=at.day, hour=at.hour, minute=at.minute, second=at.second, timezone=UTC
    )
    for pk, _ in _jobs():
        scheduler.add_job("bench.schemes:run_job", yearly, args=[str(pk)], id=str(pk))
    scheduler.start()


def run_job(job_id: str) -> None:
    """One run as such systems do it, each step a write of its own."""
    import requests
    from django.db import close_old_connections

    from jobs.models import Job, JobExecution
    from notifications.models import Notification

    close_old_connections()
    job = Job.objects.select_related("created_by").filter(pk=job_id).first()
    now = datetime.now(UTC)
    if job is None or (job.end_date and job.end_date < now.date()):
        return
    run = JobExecution.objects.create(
        job=job,
        status="running",
        trigger_type="manual",
        execution_type="webhook",
        target=job.target_url,
        started_at=now,
        available_at=now,
    )
    answer = requests.post(job.target_url, json=job.metadata, timeout=30)
    run.status, run.response_status, run.completed_at = "success", answer.status_code, datetime.now(UTC)
    run.save()
    Notification.objects.create(
        user=job.created_by,
        title="Job completed",
        message=f'Job "{job.name}" has run.',
        created_at=run.completed_at,
    )


def celery(due: float) -> None:
    from celery import Celery
    from django.core.management import call_command

    call_command("migrate", "django_celery_beat", verbosity=0)
    _make_beat_entries(datetime.fromtimestamp(due, UTC))
    app = Celery("bench", broker="redis://127.0.0.1:6379/15")
    app.conf.update(
        task_default_queue=f"bench-{uuid.uuid4()}",
        task_ignore_result=True,
        beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
    )
    app.task(run_job, name="run_job")
    # Beat in a thread, as the worker's are.
    threading.Thread(target=lambda: app.Beat(loglevel="ERROR").run(), daemon=True).start()
    app.worker_main(["worker", "--pool=threads", "--concurrency=20", "--loglevel=ERROR", "--without-mingle"])


def _make_beat_entries(at: datetime) -> None:
    import json

    from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

    yearly = CrontabSchedule.objects.create(
        minute=at.minute, hour=at.hour, day_of_month=at.day, month_of_year=at.month, timezone="UTC"
    )
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=str(pk), task="run_job", args=json.dumps([str(pk)]), crontab=yearly)
        for pk, _ in _jobs()
    )
    PeriodicTasks.update_changed()


RUN: dict[str, Callable[[float], None]] = {
    "yardstick": yardstick,
    "kept": partial(yardstick, is_kept=True),
    "socket": bare_sockets,
    "apscheduler": apscheduler,
    "store": partial(apscheduler, with_store=True),
    "celery": celery,
}


def main() -> None:
    name, database, due = sys.argv[1:]
    start_django(database, *(["django_celery_beat"] if name == "celery" else []))
    RUN[name](float(due))
    time.sleep(3600)


if __name__ == "__main__":
    main()
