"""Makes a database of the earlier system: 2,000 jobs, 1,000,000 executions, 50,000 notices, 60 users.

    python -m bench.legacy --database sqlite:////tmp/legacy.db
    python -m bench.legacy --database mysql://root@127.0.0.1:3306/legacy

The database of that name is made anew, with the tables and columns that the earlier system's documents
name. A hundredth of the rows is what a database has after years: expressions that cannot be used, teams
that are gone, names that differ in case alone, runs that never ended. `manage.py import_legacy` reads it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROWS_AT_ONCE = 5_000
CRONS = ("{m} {h} * * *",) * 6 + (
    "{m} * * * *",
    "*/15 * * * *",
    "{m} {h} * * 1-5",
    "{m} {h} * * MON-FRI",
    "{m} {h} * * 0",
    "{m} {h} 1 * *",
)
EXECUTION_COLUMNS = (
    "id", "job_id", "status", "trigger_type", "started_at", "completed_at", "duration_seconds",
    "execution_type", "target", "response_status", "error_message", "output",
)  # fmt: skip
OUTPUT = '{"ok": true, "rows": 12345, "detail": "' + "all rows were written and checked; " * 12 + '"}'


def main() -> None:
    from cronsched.testing.legacy import LegacyDatabase

    options = _options()
    began = time.monotonic()
    connection, mark = _make(options.database)
    legacy = LegacyDatabase(connection, mark)
    rng = random.Random(options.seed)
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    users = _people(legacy, options.users)
    jobs = _jobs(legacy, options.jobs, users, rng=rng)
    runs = _executions(jobs, options.executions, now=now, rng=rng)
    while batch := list(islice(runs, ROWS_AT_ONCE)):
        legacy.insert("job_executions", batch, EXECUTION_COLUMNS)
    _notices(legacy, users, jobs, options.notifications, now=now, rng=rng)
    print(f"{options.database}: {options.executions:,} executions in {time.monotonic() - began:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", required=True, help="made anew")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--notifications", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _make(url: str) -> tuple[Any, str]:
    """A connection to an empty database of that name, and its driver's placeholder."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        import sqlite3

        path = Path(parts.path[1:])
        path.unlink(missing_ok=True)
        return sqlite3.connect(path), "?"
    import MySQLdb

    name = parts.path.strip("/")
    server = MySQLdb.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        charset="utf8mb4",
    )  # fmt: skip
    server.query(f"DROP DATABASE IF EXISTS `{name}`")
    server.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    server.select_db(name)
    return server, "%s"


def _people(legacy: Any, count: int) -> list[str]:
    users = [
        legacy.add(
            "users", username=f"person_{n}", email=f"person{n}@example.com", role="admin" if n < 3 else "user"
        )
        for n in range(count)
    ]
    legacy.add("users", username="Person_1", email="other@example.com")
    for user in users:
        legacy.add("user_notification_preferences", user_id=user)
        legacy.add("user_ui_preferences", user_id=user)
    for slug in ("general", "maintenance", "reports", "backup", "monitoring", "data-feeds"):
        legacy.add("job_categories", slug=slug, name=slug.title())
    for number in range(20):
        legacy.add("pic_teams", slug=f"team-{number}", name=f"Team {number}", slack_handle=f"@team{number}")
    legacy.add("slack_settings", channel="#jobs")
    return users


def _jobs(
    legacy: Any, count: int, users: Sequence[str], *, rng: random.Random
) -> list[tuple[str, bool, str]]:
    """(id, is it a workflow, target) of each."""
    jobs = []
    for number in range(count):
        is_github = rng.random() < 0.2
        target = f"https://hooks{number % 50}.example.com/run/{number}"
        cron = rng.choice(CRONS).format(m=rng.randrange(60), h=rng.randrange(24))
        values: dict[str, Any] = {
            "name": f"Job {number} 日次",
            "cron_expression": "0 22-2 * * *" if number % 250 == 7 else cron,
            "target_url": None if is_github else target,
            "github_owner": "acme" if is_github else None,
            "github_repo": f"repo-{number % 40}" if is_github else None,
            "github_workflow_name": "nightly.yml" if is_github else None,
            "job_metadata": json.dumps({"environment": "production", "batch": number}),
            "category": rng.choice(("general", "reports", "data-feeds")),
            "pic_team": "dissolved" if number % 400 == 9 else f"team-{number % 20}",
            "created_by": rng.choice(users),
            "is_active": int(rng.random() < 0.9),
            "end_date": "2024-12-31" if number % 100 == 3 else "2030-12-31",
        }
        workflow = f"acme/repo-{number % 40}/actions/workflows/nightly.yml"
        jobs.append((legacy.add("jobs", **values), is_github, workflow if is_github else target))
    return jobs


def _executions(
    jobs: Sequence[tuple[str, bool, str]], count: int, *, now: datetime, rng: random.Random
) -> Iterator[tuple[Any, ...]]:
    """A year of runs, in the order in which they came about; the first job has a tenth of them."""
    step = timedelta(days=365) / count
    for number in range(count):
        job_id, is_github, target = jobs[0] if number % 10 == 0 else jobs[number % len(jobs)]
        started = now - timedelta(days=365) + step * number
        status = "running" if number >= count - 3 else rng.choices(("success", "failed"), (95, 5))[0]
        took = round(rng.lognormvariate(0, 1), 3)
        failed = status == "failed"
        yield (
            str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            job_id,
            status,
            "manual" if number % 33 == 0 else "scheduled",
            str(started),
            None if status == "running" else str(started + timedelta(seconds=took)),
            None if status == "running" else took,
            "github_actions" if is_github else "webhook",
            target,
            500 if failed else 200,
            "HTTP 500: Internal Server Error" if failed else None,
            OUTPUT[: rng.randrange(20, 400)],
        )


def _notices(
    legacy: Any, users: Sequence[str], jobs: Sequence[Any], count: int, *, now: datetime, rng: random.Random
) -> None:
    columns = ("id", "user_id", "title", "message", "type", "related_job_id", "is_read", "created_at")
    rows = [
        (
            str(uuid.UUID(int=rng.getrandbits(128), version=4)), rng.choice(users), "Job succeeded",
            "It did.", rng.choice(("success", "error", "warning", "info")), rng.choice(jobs)[0],
            int(number < count * 0.9), str(now - timedelta(minutes=count - number)),
        )
        for number in range(count)
    ]  # fmt: skip
    for begin in range(0, count, ROWS_AT_ONCE):
        legacy.insert("notifications", rows[begin : begin + ROWS_AT_ONCE], columns)


if __name__ == "__main__":
    main()
