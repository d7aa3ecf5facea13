"""How the cost of a tick grows with the number of jobs: planning alone, on a clock of its own.

    python -m bench.million --database mysql://root@127.0.0.1:3306/bench --jobs 10000 --jobs 1000000

The database of that name is made anew for each number. Each job runs once an hour, in a minute of its
own choice, so that a sixtieth of them is due at a time; 60 minutes' jobs share an expression, as those of
people do. Two figures for each number: a tick that finds nothing due (the median of 50), and the time to
plan one full minute (the median of `--minutes`), each slot a row and each job moved on. Nothing is
sent; the rows are taken away between two minutes. The last column is the planning process' memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import transaction

from bench.fill import ROWS_AT_ONCE
from bench.project import DEFAULT_DATABASE, create_database, describe_run, start_django

# A whole hour in the future: whatever the machine's clock says, no other process has planned it.
START = datetime(2031, 1, 1, 0, 0, tzinfo=UTC)
IDLE_TICKS = 50
HOURLY = [f"{minute} * * * *" for minute in range(60)]


def main() -> None:
    options = _options()
    start_django(options.database)
    create_database(options.database)
    print(f"{describe_run()}\n")
    print("| jobs | due in a minute | idle tick ms | plan a minute s | slots/s | peak MB |")
    print("| --- " * 6 + "|")
    for count in options.jobs or [10_000]:
        create_database(options.database)
        make_jobs(count)
        print(_measure(count, options.minutes), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, action="append", help="repeat for more (default: 10000)")
    parser.add_argument("--minutes", type=int, default=5, help="minutes planned (default: %(default)s)")
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
        created_at=START,
        updated_at=START,
    )
    names = [job._meta.get_field(name).attname for name in columns]
    for number in range(count):
        job.id = _id_of(number * (2**32 // count))
        job.name = f"job {number}"
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


def _measure(count: int, minutes: int) -> str:
    from jobs.engine.lease import acquire
    from jobs.models import JobExecution

    term = acquire(holder="bench", ttl_s=86_400)
    idle = statistics.median(_plan(START - timedelta(minutes=1), term)[1] for _ in range(IDLE_TICKS))
    planned = []
    for minute in range(minutes):
        planned.append(_plan(START + timedelta(minutes=minute), term))
        JobExecution.objects.all()._raw_delete(JobExecution.objects.db)
    due = planned[0][0]
    seconds = statistics.median(took for _, took in planned)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {count:,} | {due:,} | {idle * 1000:.1f} | {seconds:.2f} | {due / seconds:,.0f} | {peak_mb:.0f} |"
    )


def _plan(now: datetime, term: Any) -> tuple[int, float]:
    """Slots planned at `now`, and the seconds that it took."""
    from jobs.engine.config import from_settings
    from jobs.engine.plan import plan_due

    began = time.monotonic()
    due = sum(planned.due for planned in plan_due(now=now, term=term, config=from_settings()))
    return due, time.monotonic() - began


if __name__ == "__main__":
    main()
