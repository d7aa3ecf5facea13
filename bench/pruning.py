"""Whether the scheduler stays on time while a million runs are pruned.

    python -m bench.fill --database sqlite:////tmp/bench.db
    python -m bench.pruning --database sqlite:////tmp/bench.db

The filled database's own jobs are paused; `--jobs` others are due every minute, on hosts that answer at
once. The scheduler fires them for two minutes undisturbed, which is the reference, and then on while
`manage.py prune_executions --days 1` deletes the history. The delay of a call is from its minute until it
arrives. Of the calls, none may be missing in any minute.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

from bench.herd import ROOT
from bench.project import DEFAULT_DATABASE, describe_run, start_django
from bench.receiver import Receiver

UNDISTURBED_MINUTES = 2


def main() -> None:
    options = _options()
    start_django(options.database)
    from jobs.models import JobExecution

    receiver = Receiver()
    before = JobExecution.objects.count()
    _make_jobs(options.jobs, receiver)
    print(f"{describe_run()}, load average {os.getloadavg()[0]:.1f}\n", flush=True)
    scheduler = subprocess.Popen([sys.executable, "manage.py", "runscheduler"], cwd=ROOT)
    try:
        start = _next_minute()
        time.sleep(max(0.0, start + 60 * UNDISTURBED_MINUTES - 5 - time.time()))
        began = time.time()
        subprocess.run([sys.executable, "manage.py", "prune_executions", "--days", "1"], cwd=ROOT, check=True)
        took_s = time.time() - began
        # The minute under way belongs to the pruning; wait until its calls are in.
        time.sleep(max(0.0, _next_minute() - 30 - time.time()))
    finally:
        scheduler.terminate()
        scheduler.wait()
    calls = [moment for moment, _ in receiver.calls() if moment >= start]
    receiver.stop()
    deleted = before - JobExecution.objects.count() + len(calls)
    print(f"\n{deleted:,} runs deleted in {took_s:.0f} s\n")
    print("| | minutes | calls missing | median delay s | longest s |")
    print("| --- " * 5 + "|")
    boundary = start + 60 * UNDISTURBED_MINUTES - 5
    print(_row("undisturbed", [one for one in calls if one < boundary], options.jobs))
    print(_row("while pruning", [one for one in calls if one >= boundary], options.jobs))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="filled by bench.fill (%(default)s)")
    parser.add_argument("--jobs", type=int, default=100, help="due every minute (default: %(default)s)")
    return parser.parse_args()


def _make_jobs(count: int, receiver: Receiver) -> None:
    from jobs.engine.slots import schedule_key
    from jobs.models import Job
    from taxonomy.models import JobCategory

    Job.objects.update(is_active=False, next_run_at=None)
    category, _ = JobCategory.objects.get_or_create(slug="pruning", defaults={"name": "Pruning"})
    now = datetime.now(UTC)
    following = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    jobs = [
        Job(
            name=f"every minute {number} {now:%H%M%S}",
            cron_expression="* * * * *",
            target_url=receiver.url(number),
            category=category,
            created_at=now,
            updated_at=now,
            next_run_at=following,
            planned_schedule=schedule_key("* * * * *", "Asia/Tokyo"),
        )
        for number in range(count)
    ]
    for job in jobs:
        job.refresh_keys()
    Job.objects.bulk_create(jobs, batch_size=100)


def _next_minute() -> float:
    return (time.time() // 60 + 1) * 60


def _row(name: str, calls: list[float], jobs: int) -> str:
    minutes = {int(moment // 60) for moment in calls}
    delays = [moment % 60 for moment in calls] or [0.0]
    return (
        f"| {name} | {len(minutes)} | {len(minutes) * jobs - len(calls)} | "
        f"{statistics.median(delays):.2f} | {max(delays):.2f} |"
    )


if __name__ == "__main__":
    main()
