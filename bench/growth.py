"""How lists and statistics grow with the history: the same requests on databases of different size.

    python -m bench.fill --database sqlite:////tmp/small.db --executions 10000
    python -m bench.fill --database sqlite:////tmp/large.db --executions 1000000
    python -m bench.growth --database sqlite:////tmp/small.db --database sqlite:////tmp/large.db

The smallest first. Each cell is statements · median ms of CPU in this process and the database's thread
(SQLite) or wall time (a server); the last column is the last database's median to the first's. Requests are
made in the process, `--repeat` times each, the databases in turn, nine rounds, so that a busy minute of
the machine falls on all. `full` is a job with more runs than a page holds, on each of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from bench.project import describe_run, start_django

ROUNDS = 9
PAGE = 20
MONTH = "from=2026-10-01T00:00:00Z&to=2026-11-01T00:00:00Z"


def main() -> None:
    options = _options()
    if options.json:
        print(json.dumps(measure(options.database[0], options.repeat)))
        return
    spent: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in options.database])
    statements: dict[str, list[int]] = defaultdict(lambda: [0] * len(options.database))
    sizes = [0] * len(options.database)
    for _ in range(ROUNDS):
        for number, url in enumerate(options.database):
            command = [sys.executable, "-W", "ignore", "-m", "bench.growth", "--json", "--database", url]
            done = subprocess.run(
                [*command, "--repeat", str(options.repeat)], check=True, stdout=subprocess.PIPE
            )
            figures = json.loads(done.stdout)
            sizes[number] = figures["size"]
            for name, (count, times) in figures["requests"].items():
                statements[name][number] = count
                spent[name][number] += times
    start_django(options.database[0])
    print(f"{describe_run()}\n")
    print("| request |", " | ".join(f"{size:,} runs" for size in sizes), "| last to first |")
    print("| --- " * (len(sizes) + 2) + "|")
    for name, columns in spent.items():
        medians = [statistics.median(column) for column in columns]
        cells = [f"{count} · {ms:.1f}" for count, ms in zip(statements[name], medians, strict=True)]
        print(f"| {name} |", " | ".join(cells), f"| {medians[-1] / medians[0]:.2f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", action="append", required=True, help="filled; repeat, smallest first")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(url: str, repeat: int) -> dict[str, Any]:
    start_django(url)
    from accounts.models import User
    from cronsched.testing.fixtures_api import ApiClient
    from jobs.models import JobExecution

    api = ApiClient(User.objects.get(username="bench"))
    clock = time.process_time if url.startswith("sqlite") else time.perf_counter
    return {
        "size": JobExecution.objects.count(),
        "requests": {name: _time(api, f"/{path}", repeat, clock) for name, path in requests()},
    }


def requests() -> Iterator[tuple[str, str]]:
    """Each filter that must not grow, and beside them what shows the machine's own noise."""
    from django.db.models import Count

    from jobs.models import Job

    by_weight = Job.objects.annotate(runs=Count("executions")).order_by("-runs").values_list("id", "runs")
    (heavy, _), *others = list(by_weight)
    full = next(job for job, runs in reversed(others) if runs > PAGE)
    yield "/auth/me", "auth/me"
    yield "/executions", "executions"
    yield "/executions?page=…, the middle", f"executions?page={sum(runs for _, runs in by_weight) // 40}"
    yield "/executions?status=failed", "executions?status=failed"
    yield "/executions, a month", f"executions?{MONTH}"
    yield "/executions?status=failed, a month", f"executions?status=failed&{MONTH}"
    for name, job in (("heaviest", heavy), ("full", full)):
        yield f"/executions?job_id, {name}", f"executions?job_id={job}"
        yield f"/executions?job_id, {name}, a month", f"executions?job_id={job}&{MONTH}"
        yield f"/jobs/…/executions/stats, {name}", f"jobs/{job}/executions/stats"
    yield "/executions/statistics", "executions/statistics"
    yield "/executions/statistics?job_id, heaviest", f"executions/statistics?job_id={heavy}"
    yield "/notifications", "notifications"
    yield "/jobs", "jobs"
    yield "/jobs?page=1", "jobs?page=1"


def _time(api: Any, path: str, repeat: int, clock: Any) -> tuple[int, list[float]]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        assert api.get(path).status_code == 200, path
        # Read here: the log ends with the request that begins next.
        count = len(queries)
    api.get(path)
    spent = []
    for _ in range(repeat):
        began = clock()
        api.get(path)
        spent.append((clock() - began) * 1000)
    return count, spent


if __name__ == "__main__":
    main()
