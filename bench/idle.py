"""What the scheduler costs while nothing is due: CPU, statements and memory, the chores included.

    python -m bench.idle --database sqlite:////tmp/bench.db --jobs 10000 --jobs 100000

The database of that name is made anew for each number; its jobs run once a year, half a year from now.
The scheduler runs in this process, as `manage.py runscheduler` would run it; it is watched for `--seconds`
once it leads and has done what it does at the start. The reference is the same with a single job.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.project import DEFAULT_DATABASE, create_database, describe_run, start_django

SETTLE_S = 20.0
STOOD_STILL_S = 2.0


def main() -> None:
    options = _options()
    if options.fill is not None:
        _fill(options.database, options.fill)
        return
    if options.watch:
        print(_watch(options.database, options.seconds))
        return
    start_django(options.database)
    print(f"{describe_run()}\n")
    print("| jobs | CPU s per minute | statements per minute | peak MB |")
    print("| --- " * 4 + "|")
    for count in [1, *(options.jobs or [10_000])]:
        # In processes of their own: making jobs takes memory that is not the scheduler's.
        own = [sys.executable, "-m", "bench.idle", "--database", options.database]
        subprocess.run([*own, "--fill", str(count)], check=True)
        watched = [*own, "--watch", "--seconds", str(options.seconds)]
        done = subprocess.run(watched, check=True, stdout=subprocess.PIPE, text=True)
        print(f"| {count:,} | {done.stdout.strip()} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, action="append", help="repeat for more (default: 10000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="watched (default: %(default)s)")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fill(database: str, count: int) -> None:
    from bench.million import make_jobs

    start_django(database)
    create_database(database)
    now = datetime.now(UTC)
    day = now + timedelta(days=180)
    make_jobs(count, [f"{minute} 0 {day.day} {day.month} *" for minute in range(60)], now)


def _watch(database: str, seconds: float) -> str:
    start_django(database)
    from cronsched.chores import ChoreScheduler
    from cronsched.garbage import collect_rarely
    from cronsched.management.commands.runscheduler import make_engine

    statements = _count_statements()
    engine = make_engine(ChoreScheduler())
    collect_rarely()
    engine.start()
    _watch_for(SETTLE_S, statements)
    cpu, count = _watch_for(seconds, statements)
    engine.stop(0)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{cpu:.2f} | {count:.0f} | {peak_mb:.0f}"


def _watch_for(seconds: float, statements: list[str]) -> tuple[float, float]:
    """CPU seconds of this process and statements, both per minute."""
    cpu, count, watched = 0.0, 0, 0.0
    while watched < seconds:
        began, cpu_before, before = time.monotonic(), time.process_time(), len(statements)
        time.sleep(1)
        # A second in which the machine stood still says nothing.
        if (lasted := time.monotonic() - began) < STOOD_STILL_S:
            cpu += time.process_time() - cpu_before
            count += len(statements) - before
            watched += lasted
    return cpu * 60 / watched, count * 60 / watched


def _count_statements() -> list[str]:
    """Grows by each statement of any thread."""
    from django.db.backends.signals import connection_created

    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql[:20])
        return execute(sql, *rest)

    def watch(connection: Any, **kwargs: Any) -> None:
        # A connection that is opened anew keeps its wrappers.
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)

    connection_created.connect(watch, weak=False)
    return statements


if __name__ == "__main__":
    main()
