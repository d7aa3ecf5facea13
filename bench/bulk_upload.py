"""How long an upload takes, in how many statements and how much memory.

    .venv/bin/python bench/bulk_upload.py [ROWS]

A database of its own (DATABASE_URL; else SQLite in a temporary folder, removed at the end), migrated and
empty, then the engine alone: a file of ROWS jobs (10,000) is created, uploaded again unchanged, then with
every cron changed, and exported. Peak memory is what the file added to the process, by tracemalloc, in a
run of its own: tracing costs time.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
FOLDER = tempfile.TemporaryDirectory()
os.environ.setdefault("DATABASE_URL", f"sqlite:///{FOLDER.name}/bench.db")
os.environ.setdefault("SECRET_KEY", "only-for-measuring-only-for-measuring")
os.environ["DJANGO_SETTINGS_MODULE"] = "cronsched.settings"
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from cronsched.core import clock  # noqa: E402
from jobs.models import Job  # noqa: E402
from jobs.services.bulk_upload.engine import BATCH, Upload, upload_jobs  # noqa: E402
from jobs.services.bulk_upload.export import csv_lines  # noqa: E402
from jobs.services.bulk_upload.report import Report, report_of  # noqa: E402
from jobs.services.bulk_upload.sheet import Sheet  # noqa: E402
from taxonomy.services import create_team  # noqa: E402


def table(rows: int, *, minute: int = 0) -> bytes:
    """As many schedules as people have: each job its own minute and hour."""
    head = "Job Name,Cron Schedule,Status,Target URL,PIC Team,End Date,Request Body,notification_emails\r\n"
    body = (
        f"ジョブ {number},{(number + minute) % 60} {number % 24} * * {number % 7},enabled,"
        f'https://hooks.example.com/{number},devops,2030-12-31,"{{""number"": {number}}}",ops@example.com\r\n'
        for number in range(rows)
    )
    return (head + "".join(body)).encode()


def upload(content: bytes) -> Report:
    options = Upload(by=None, owner_id=None, now=clock.now(), via="command")
    return report_of(upload_jobs(Sheet(io.BytesIO(content)).entries(), options))


def measured(what: str, content: bytes) -> None:
    begun = time.perf_counter()
    report = upload(content)
    print(f"{what:<28} {time.perf_counter() - begun:6.1f} s   {report.summary}")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    call_command("migrate", verbosity=0)
    call_command("seed", verbosity=0)
    create_team(name="DevOps", slug="devops", slack_handle="@devops", by=None, now=clock.now())
    first, second = table(rows), table(rows, minute=1)
    print(f"{connection.vendor}, {rows} rows, {len(first) / 1e6:.1f} MB, batches of {BATCH}")
    measured("all new", first)
    measured("the same again", first)
    measured("every schedule changed", second)
    with CaptureQueriesContext(connection) as queries:
        upload(first)
    batches = -(-rows // BATCH)
    print(f"{'statements':<28} {len(queries) / batches:6.1f} for each of {batches} batches")
    begun = time.perf_counter()
    size = sum(len(line) for line in csv_lines(Job.objects.all()))
    print(f"{'export':<28} {time.perf_counter() - begun:6.1f} s   {size / 1e6:.1f} MB")
    for count in (rows // 10, rows):
        content = table(count)
        tracemalloc.start()
        upload(content)
        print(f"{f'peak memory, {count} rows':<28} {tracemalloc.get_traced_memory()[1] / 1e6:6.1f} MB")
        tracemalloc.stop()


main()
