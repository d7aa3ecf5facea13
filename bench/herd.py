"""Many jobs due at the same instant: how long until the last request has arrived, and is recorded.

    python -m bench.herd --jobs 1000 --jobs 10000
    python -m bench.herd --database mysql://root@127.0.0.1:3306/bench --scheme product --scheme yardstick
    python -m bench.herd --jobs 1000 --delay 5      # slow receivers: when has the last request started?

The database of that name is made anew for each run. Webhooks answer at once (`--delay`), each on a host
of its own; the receiver is another process. Seconds count from the due instant; "recorded" is when a
reader from outside sees the last result. CPU and memory are those of the sending process. The ratio is
that of the time until all is recorded to the yardstick's in the same run (bench/schemes.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.project import DEFAULT_DATABASE, create_database, describe_run, start_django
from bench.receiver import Receiver

ROOT = Path(__file__).resolve().parent.parent
SCHEMES = ("yardstick", "product", "apscheduler", "store")
TICKS = os.sysconf("SC_CLK_TCK")
# Once a year: the one slot is that which a job is given.
YEARLY = "0 0 1 1 *"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    first_s: float
    last_s: float
    recorded_s: float | None
    cpu_s: float
    peak_mb: float
    lost: int
    doubled: int


def main() -> None:
    options = _options()
    start_django(options.database)
    print(f"{describe_run()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
    print("| jobs | scheme | first | last arrival | recorded | ratio | CPU s | peak MB | lost | doubled |")
    print("| --- " * 10 + "|")
    for count in options.jobs or [1000]:
        reference: float | None = None
        for scheme in options.scheme or SCHEMES:
            done = run(scheme, count, options)
            if scheme == "yardstick":
                reference = done.recorded_s
            print(_row(scheme, count, done, reference), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, action="append", help="repeat for more (default: 1000)")
    parser.add_argument("--scheme", choices=SCHEMES, action="append", help="repeat for more (default: all)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until a receiver answers")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds until what is missing is lost")
    parser.add_argument("--log", default=os.devnull, help="where the sending process writes")
    return parser.parse_args()


def _row(scheme: str, count: int, done: Outcome, reference: float | None) -> str:
    recorded = "never" if done.recorded_s is None else f"{done.recorded_s:.2f}"
    ratio = f"{done.recorded_s / reference:.2f}" if done.recorded_s and reference else "–"
    return (
        f"| {count:,} | {scheme} | {done.first_s:.2f} | {done.last_s:.2f} | {recorded} | {ratio} | "
        f"{done.cpu_s:.1f} | {done.peak_mb:.0f} | {done.lost:,} | {done.doubled:,} |"
    )


def run(scheme: str, count: int, options: argparse.Namespace) -> Outcome:
    from django.db import connection

    connection.close()
    create_database(options.database)
    receiver = Receiver(options.delay)
    # The plain schemes need a while to register their jobs; the store most of all.
    lead_s = 6 + count / (150 if scheme == "store" else 1500)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=round(lead_s))
    make_jobs(count, receiver, due if scheme == "product" else None)
    with Path(options.log).open("ab") as log:
        sender = _start(scheme, options.database, due, log)
    try:
        return _watch(sender, receiver, count, due, options.patience)
    finally:
        sender.kill()
        sender.wait()
        receiver.stop()


def make_jobs(count: int, receiver: Receiver, due: datetime | None) -> None:
    from accounts.models import User
    from jobs.engine.slots import schedule_key
    from jobs.models import Job
    from taxonomy.models import JobCategory

    owner = User.objects.create(username="bench", email="bench@example.com", role="admin", password="!")
    category = JobCategory.objects.create(name="Herd", slug="herd")
    now = datetime.now(UTC)
    jobs = [
        Job(
            name=f"herd {number}",
            cron_expression=YEARLY,
            target_url=receiver.url(number),
            metadata={"environment": "production"},
            category=category,
            created_by=owner,
            created_at=now,
            updated_at=now,
            next_run_at=due,
            planned_schedule=schedule_key(YEARLY, "Asia/Tokyo") if due else "",
            is_active=due is not None,
        )
        for number in range(count)
    ]
    for job in jobs:
        job.refresh_keys()
    Job.objects.bulk_create(jobs, batch_size=500)


def _start(scheme: str, database: str, due: datetime, log: object) -> subprocess.Popen[bytes]:
    if scheme == "product":
        command = [sys.executable, "manage.py", "runscheduler"]
    else:
        command = [sys.executable, "-m", "bench.schemes", scheme, database, str(due.timestamp())]
    return subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=log, stderr=log)  # type: ignore[call-overload]


def _environment() -> dict[str, str]:
    signed = {"WEBHOOK_SIGNING_SECRET": "whsec_YmVuY2gtc2lnbmluZy1zZWNyZXQ="}
    return {**os.environ, **signed, "LOG_LEVEL": "INFO"}


def _watch(
    sender: subprocess.Popen[bytes], receiver: Receiver, count: int, due: datetime, patience_s: float
) -> Outcome:
    start = due.timestamp()
    time.sleep(max(0.0, start - 0.5 - time.time()))
    cpu = _cpu_s(sender.pid)
    time.sleep(max(0.0, start - time.time()))
    recorded = _wait_recorded(count, start, patience_s)
    arrived = receiver.arrivals()
    return Outcome(
        first_s=arrived.first - start,
        last_s=arrived.last - start,
        recorded_s=recorded,
        cpu_s=_cpu_s(sender.pid) - cpu,
        peak_mb=_peak_mb(sender.pid),
        lost=count - len(arrived.paths),
        doubled=sum(times - 1 for times in arrived.paths.values()),
    )


def _wait_recorded(count: int, start: float, patience_s: float) -> float | None:
    """Seconds until a reader sees all results; None where it never does."""
    from jobs.models import JobExecution

    ended = JobExecution.objects.filter(status="success")
    while time.time() < start + patience_s:
        # Counting costs the sender a core: seldom, until nearly all is there.
        found = ended.count()
        if found >= count:
            return time.time() - start
        time.sleep(0.02 if found > 0.9 * count else 0.1)
    return None


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
