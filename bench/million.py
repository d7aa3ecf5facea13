"""How the cost of a tick grows with the number of jobs: planning alone, on a clock of its own.

    python -m bench.million --database mysql://root@127.0.0.1:3306/bench --jobs 10000 --jobs 1000000

The database of that name is made anew for each number. Each job runs once an hour, in a minute of its
own choice, so that a sixtieth of them is due at a time; 60 minutes' jobs share an expression, as those of
people do. A row for each number: a tick that finds nothing due (the median of 50); the time to plan one
full minute (the median of `--minutes`), each slot a row and each job moved on; what the chores look
through, each minute and each hour (the median of three); this process' memory. Nothing is sent; the rows
are taken away between two minutes. Then requests in the process, as in bench.endpoints: statements and
median ms.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import transaction

from bench.endpoints import time_request
from bench.fill import ROWS_AT_ONCE
from bench.project import DEFAULT_DATABASE, create_database, describe_run, start_django

# The next whole hour.
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
IDLE_TICKS = 50
FIGURES = (
    "made in s", "due in a minute", "idle tick ms", "plan a minute s", "slots/s", "statements", "peak MB",
    "reconcile ms", "pull back ms",
)  # fmt: skip
REQUESTS = (
    "/auth/me", "/health", "/scheduler/status", "/jobs?page=1", "/jobs?search=12345&page=1",
    "/jobs?is_active=true&page=1", "/admin/jobs/job/", "/admin/jobs/job/?q=12345", "/admin/home/",
)  # fmt: skip
HOURLY = [f"{minute} * * * *" for minute in range(60)]


def main() -> None:
    options = _options()
    if options.row:
        print(_row(options.database, options.jobs[0], options.minutes), flush=True)
        return
    start_django(options.database)
    create_database(options.database)
    print(f"{describe_run()}\n")
    print(f"| jobs | {' | '.join(FIGURES)} | {' | '.join(REQUESTS)} |")
    print("| --- " * (1 + len(FIGURES) + len(REQUESTS)) + "|", flush=True)
    for count in options.jobs or [10_000]:
        # In processes of their own: each has its own peak of memory.
        own = [sys.executable, "-m", "bench.million", "--row", "--database", options.database]
        subprocess.run([*own, "--jobs", str(count), "--minutes", str(options.minutes)], check=True)


def _row(database: str, count: int, minutes: int) -> str:
    start_django(database)
    create_database(database)
    began = time.monotonic()
    make_jobs(count)
    made_s = time.monotonic() - began
    return f"| {count:,} | {' | '.join([f'{made_s:.0f}', *_plan_minutes(minutes), *_tend(), *_ask()])} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, action="append", help="repeat for more (default: 10000)")
    parser.add_argument("--minutes", type=int, default=5, help="minutes planned (default: %(default)s)")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_jobs(
    count: int, expressions: Sequence[str] = HOURLY, after: datetime = START - timedelta(seconds=1)
) -> None:
    """That many jobs, which share the expressions between them and are planned after that moment."""
    from cronsched.core.db import insert_values
    from jobs.models import Job

    columns = tuple(field.name for field in Job._meta.concrete_fields)
    rows = _jobs(count, columns, [_rhythm(expression, after) for expression in expressions])
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        with transaction.atomic():
            insert_values(Job, columns, batch)
    _gather_statistics()


def _gather_statistics() -> None:
    """For the database's planner, as it does by itself in time."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE jobs_job" if connection.vendor == "mysql" else "ANALYZE")


def _jobs(
    count: int, columns: tuple[str, ...], rhythms: Sequence[tuple[str, datetime | None, str]]
) -> Iterator[tuple[Any, ...]]:
    """Rows of `columns`, in the order of their ids, so that no page of an index is written twice."""
    from jobs.models import Job
    from taxonomy.models import JobCategory

    job = Job(
        category=JobCategory.objects.create(name="Herd", slug="herd"),
        end_date=date(2040, 12, 31),
        updated_at=START,
    )
    names = [job._meta.get_field(name).attname for name in columns]
    for number in range(count):
        job.id = _id_of(number * (2**32 // count))
        job.name = f"job {number}"
        job.created_at = START - timedelta(seconds=number)
        job.target_url = f"https://hooks{number % 500}.example.com/{number}"
        job.cron_expression, job.next_run_at, job.planned_schedule = rhythms[number % len(rhythms)]
        job.refresh_keys()
        yield tuple([getattr(job, name) for name in names])


def _id_of(place: int) -> uuid.UUID:
    """In the order of `place`, 32 bits, by its first bytes and by its last ones: MariaDB sorts by those."""
    return uuid.UUID(int=place << 96 | place << 16, version=4)


def _rhythm(expression: str, after: datetime) -> tuple[str, datetime | None, str]:
    """The expression, its first slot, and what both are planned by."""
    from django.conf import settings

    from jobs.engine.slots import next_slot, schedule_key

    zone = settings.SCHEDULER_TIMEZONE
    slot = next_slot(expression=expression, zone_name=zone, end_date=None, after=after)
    return expression, slot, schedule_key(expression, zone)


def _plan_minutes(minutes: int) -> Iterator[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from jobs.engine.lease import acquire
    from jobs.models import JobExecution

    term = acquire(holder="bench", ttl_s=86_400)
    idle = statistics.median(_plan(START - timedelta(minutes=1), term)[1] for _ in range(IDLE_TICKS))
    planned = []
    for minute in range(minutes):
        planned.append(_plan(START + timedelta(minutes=minute), term))
        JobExecution.objects.all()._raw_delete(JobExecution.objects.db)
    with CaptureQueriesContext(connection) as queries:
        due, _ = _plan(START + timedelta(minutes=minutes), term)
    JobExecution.objects.all()._raw_delete(JobExecution.objects.db)
    seconds = statistics.median(took for _, took in planned)
    yield f"{due:,}"
    yield f"{idle * 1000:.1f}"
    yield f"{seconds:.2f}"
    yield f"{due / seconds:,.0f}"
    yield f"{len(queries):,}"
    yield f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"


def _tend() -> Iterator[str]:
    """What looks after all jobs: each minute, and each hour."""
    from jobs.services.maintenance import pull_back, reconcile

    # The first minutes have been planned, and are an hour away.
    for chore in (reconcile, pull_back):
        yield f"{statistics.median(_ms(chore) for _ in range(3)):.1f}"


def _ms(chore: Callable[..., object]) -> float:
    began = time.monotonic()
    chore(now=START)
    return (time.monotonic() - began) * 1000


def _ask() -> Iterator[str]:
    from django.test import Client

    from accounts.models import User
    from accounts.roles import Role
    from cronsched.testing.fixtures_api import ApiClient

    user = User.objects.create(username="bench", email="bench@example.com", role=Role.ADMIN, password="!")
    api, site = ApiClient(user), Client()
    site.force_login(user, backend="accounts.backends.IdentifierBackend")
    for path in REQUESTS:
        figures = time_request(site if path.startswith("/admin") else api, path)
        yield f"{figures['statements']} · {figures['p50']:.1f}"


def _plan(now: datetime, term: Any) -> tuple[int, float]:
    """Slots planned at `now`, and the seconds that it took."""
    from jobs.engine.config import from_settings
    from jobs.engine.plan import plan_due

    began = time.monotonic()
    due = sum(planned.due for planned in plan_due(now=now, term=term, config=from_settings()))
    return due, time.monotonic() - began


if __name__ == "__main__":
    main()
