"""Fills a database with a long history: 2,000 jobs, 1,000,000 executions, 100,000 notifications.

    python -m bench.fill --database sqlite:////tmp/bench.db
    python -m bench.fill --database mysql://root@127.0.0.1:3306/bench
    python -m bench.fill --database postgres://postgres@127.0.0.1:5432/bench

The database of that name is made anew. The history is that of a year (`--days`) until now, the same for
the same `--seed`: one job runs every few minutes and has a tenth of all runs (`--heaviest`), a few
dozen run hourly, some every six hours, most once a day. 94 % succeed, 4.5 % fail, 1.5 % are missed;
3 % are run by hand; a fifth of the jobs are GitHub workflows; the last runs are still in flight.
"""

from __future__ import annotations

import argparse
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from bench.project import DEFAULT_DATABASE, create_database, start_django

ROWS_AT_ONCE = 5_000
HOURLY, SIX_HOURLY = 0.26, 0.15  # shares of all executions
EXECUTION_COLUMNS = (
    "id", "job", "status", "trigger_type", "execution_type", "target", "scheduled_for", "started_at",
    "completed_at", "duration_seconds", "response_status", "reason", "error_message", "output", "attempt",
    "available_at", "claimed_by", "overrides", "missed_count", "missed_last_at",
)  # fmt: skip
NOTIFICATION_COLUMNS = (
    "id", "user", "type", "title", "message", "related_job", "topic", "count", "is_read", "read_at",
    "created_at",
)  # fmt: skip


def main() -> None:
    options = _options()
    began = time.monotonic()
    start_django(options.database)
    create_database(options.database)
    rng = random.Random(options.seed)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    owner, jobs = make_jobs(options.jobs, rng=rng, now=now)
    runs = executions(jobs, options, rng=rng, now=now)
    count = insert(_model("jobs", "JobExecution"), EXECUTION_COLUMNS, runs)
    told = notifications(owner, jobs, options.notifications, rng=rng, now=now)
    count_told = insert(_model("notifications", "Notification"), NOTIFICATION_COLUMNS, told)
    finish()
    print(f"{count:,} executions, {count_told:,} notifications in {time.monotonic() - began:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--notifications", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--heaviest", type=float, default=0.1, help="share of the heaviest job (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _model(app: str, name: str) -> Any:
    from django.apps import apps

    return apps.get_model(app, name)


def make_jobs(count: int, *, rng: random.Random, now: datetime) -> tuple[Any, list[Any]]:
    """An admin, `bench`, who owns half of the jobs, and all the jobs."""
    from accounts.models import User
    from accounts.roles import Role
    from jobs.engine.slots import schedule_key
    from jobs.models import Job
    from taxonomy.models import JobCategory, PicTeam

    people = [
        User.objects.create(username=name, email=f"{name}@example.com", role=role, password="!")
        for name, role in [("bench", Role.ADMIN), ("second", Role.USER), ("third", Role.USER)]
    ]
    categories = [JobCategory.objects.create(name=f"Category {n}", slug=f"category-{n}") for n in range(8)]
    teams = [
        PicTeam.objects.create(name=f"Team {n}", slug=f"team-{n}", slack_handle="@team") for n in range(20)
    ]
    jobs = []
    for number in range(count):
        is_github = rng.random() < 0.2
        cron = f"{rng.randrange(60)} {rng.randrange(24)} * * *"
        is_active = rng.random() < 0.9
        created = now - timedelta(days=400, minutes=number)
        job = Job(
            name=f"{rng.choice(WORDS)} {rng.choice(WORDS)} {number}",
            cron_expression=cron,
            end_date=date(now.year + 5, 12, 31),
            is_active=is_active,
            target_url="" if is_github else f"https://hooks{number % 50}.example.com/run/{number}",
            github_owner="acme" if is_github else "",
            github_repo=f"repo-{number % 40}" if is_github else "",
            github_workflow_name="nightly.yml" if is_github else "",
            metadata={"environment": "production", "batch": number},
            category=rng.choice(categories),
            pic_team=rng.choice(teams),
            created_by=people[0] if number % 2 else rng.choice(people[1:]),
            created_at=created,
            updated_at=created,
            next_run_at=now + timedelta(days=1) if is_active else None,
            planned_schedule=schedule_key(cron, "Asia/Tokyo") if is_active else "",
            last_execution_at=now - timedelta(minutes=rng.randrange(1440)),
            last_status=rng.choice(["success"] * 9 + ["failed"]),
        )
        job.refresh_keys()
        jobs.append(job)
    return people[0], Job.objects.bulk_create(jobs, batch_size=500)


WORDS = ("nightly", "report", "backup", "invoice", "sync", "cleanup", "index", "export", "日次", "mirror")


def executions(
    jobs: list[Any], options: argparse.Namespace, *, rng: random.Random, now: datetime
) -> Iterator[tuple[Any, ...]]:
    """Rows in the order in which they came about."""
    shares = _shares(len(jobs), options.executions, options.heaviest)
    minutes = options.days * 1440
    slots: list[tuple[int, int]] = []
    for number, count in enumerate(shares):
        if count:
            step = minutes / count
            offset = rng.random() * step
            # Two runs of a job never share a slot: it is the key.
            slots += {(max(1, minutes - int(offset + step * n)), number) for n in range(count)}
    slots.sort(key=lambda slot: -slot[0])
    for minutes_ago, number in slots:
        yield _run(jobs[number], now - timedelta(minutes=minutes_ago), rng=rng, is_last=minutes_ago <= 2)


def _shares(jobs: int, executions: int, heaviest: float) -> list[int]:
    """How many runs each job has."""
    hourly, six_hourly = max(1, jobs * 30 // 2000), max(1, jobs * 100 // 2000)
    daily = max(1, jobs - 1 - hourly - six_hourly)
    rest = executions * (1 - heaviest)
    groups = ((hourly, HOURLY / 0.9), (six_hourly, SIX_HOURLY / 0.9))
    counts = [round(executions * heaviest)]
    for size, share in groups:
        counts += [round(rest * share / size)] * size
    left = max(0, executions - sum(counts))
    counts += [left // daily + (n < left % daily) for n in range(daily)]
    return counts[:jobs]


def _run(job: Any, slot: datetime, *, rng: random.Random, is_last: bool) -> tuple[Any, ...]:
    """The values of EXECUTION_COLUMNS."""
    status = rng.choices(("success", "failed", "missed"), (94, 4.5, 1.5))[0]
    if is_last:
        status = "running"
    is_manual = rng.random() < 0.03 and status != "missed"
    started = slot + timedelta(microseconds=rng.randrange(900_000))
    took = round(rng.lognormvariate(0, 1), 3) if status in ("success", "failed") else None
    ended = None if is_last else started + timedelta(seconds=took or 0)
    failed = status == "failed"
    return (
        _id_of(started, rng),
        job.pk,
        status,
        "manual" if is_manual else "scheduled",
        job.execution_type,
        job.target,
        None if is_manual else slot,
        started,
        ended,
        took,
        {"success": 200, "failed": 500}.get(status),
        {"failed": "http_status", "missed": "misfire"}.get(status, ""),
        "The receiver answered 500 Internal Server Error." if failed else "",
        OUTPUT[: rng.randrange(20, 400)] if took is not None else "",
        1,
        started,
        "bench:1" if status != "missed" else "",
        "",
        1 if status == "missed" else 0,
        slot if status == "missed" else None,
    )


OUTPUT = '{"ok": true, "rows": 12345, "detail": "' + "all rows were written and checked; " * 12 + '"}'


def _id_of(moment: datetime, rng: random.Random) -> uuid.UUID:
    """A version 7 id of that moment."""
    milliseconds = int(moment.timestamp() * 1000)
    value = milliseconds << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    return uuid.UUID(int=value)


def notifications(
    owner: Any, jobs: Sequence[Any], count: int, *, rng: random.Random, now: datetime
) -> Iterator[tuple[Any, ...]]:
    """Rows of NOTIFICATION_COLUMNS for `owner`, over 90 days; the newest hundredth is unread."""
    for number in range(count):
        created = now - timedelta(days=90) * (1 - number / max(count, 1))
        job = jobs[rng.randrange(len(jobs))]
        kind = rng.choice(("success", "success", "success", "error", "warning", "info"))
        is_read = number < count * 0.99
        yield (
            _id_of(created, rng),
            owner.pk,
            kind,
            f"{job.name} succeeded",
            "Slot 2026-03-10 21:00 (Asia/Tokyo). Answer: 200.",
            job.pk,
            f"run_{kind}:{job.pk}",
            1,
            is_read,
            created if is_read else None,
            created,
        )


def insert(model: Any, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert raw rows, thousands in a statement; PostgreSQL copies. The count."""
    from django.db import connection, transaction

    fields = [model._meta.get_field(name) for name in columns]
    names = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    table = connection.ops.quote_name(model._meta.db_table)
    prepare = [field.get_db_prep_save for field in fields]
    count = 0
    rows = iter(rows)
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        ready = [
            tuple(prep(value, connection) for prep, value in zip(prepare, row, strict=True)) for row in batch
        ]
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for row in ready:
                        copy.write_row(row)
            else:
                marks = ", ".join(["%s"] * len(columns))
                cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", ready)
        count += len(batch)
    return count


def finish() -> None:
    """What an installation in use does by itself: tallies, statistics for the planner, a visibility map."""
    from django.db import connection

    from jobs.engine.lease import acquire, release
    from jobs.engine.tally import count_closed_hours

    term = acquire(holder="bench", ttl_s=3600)
    assert term is not None
    count_closed_hours(now=datetime.now(UTC), term=term)
    release(term)

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
        elif connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE jobs_jobexecution, jobs_job, notifications_notification")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    main()
