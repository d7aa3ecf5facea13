"""Many jobs due at the same instant: how long until the last request has arrived, and is recorded.

    python -m bench.herd --jobs 1000 --jobs 10000
    python -m bench.herd --database mysql://root@127.0.0.1:3306/bench --scheme product --scheme yardstick
    python -m bench.herd --jobs 1000 --delay 5      # slow receivers: when has the last request started?

The database of that name is made anew for each run. Webhooks answer at once (`--delay`), each on a host
of its own; the receiver is another process. Seconds count from the due instant; "recorded" is when a
reader from outside sees the last result. CPU and memory are those of the sending processes together. The
ratios are those of the time until all is recorded, and of the CPU, to the yardstick's in the same run
(bench/schemes.py). With `--repeat` the schemes take turns, and each figure is the median of its own.

On a machine that others use, the CPU says more than the time; `--grace` (SCHEDULER_MISFIRE_GRACE_SECONDS)
keeps the product from giving up, as it should, what could not be sent within half a minute.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.project import DEFAULT_DATABASE, create_database, describe_run, start_django
from bench.receiver import Receiver

ROOT = Path(__file__).resolve().parent.parent
SCHEMES = ("yardstick", "product", "kept", "socket", "apscheduler", "store", "celery")
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
    create_database(options.database)
    print(f"{describe_run()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
    print(
        "| jobs | scheme | first | last arrival | recorded | ratio | CPU s | ratio | peak MB | lost | "
        "doubled |"
    )
    print("| --- " * 11 + "|")
    for count in options.jobs or [1000]:
        done: dict[str, list[Outcome]] = defaultdict(list)
        for _ in range(options.repeat):
            for scheme in options.scheme or SCHEMES:
                done[scheme].append(run(scheme, count, options))
        medians = {scheme: _median(outcomes) for scheme, outcomes in done.items()}
        for scheme, outcome in medians.items():
            print(_row(scheme, count, outcome, medians.get("yardstick")), flush=True)


def _median(outcomes: list[Outcome]) -> Outcome:
    """Of each figure by itself; one that never recorded all has no such time."""
    columns = {
        field.name: sorted(
            (getattr(one, field.name) for one in outcomes),
            key=lambda value: math.inf if value is None else value,
        )
        for field in fields(Outcome)
    }
    return Outcome(**{name: values[len(values) // 2] for name, values in columns.items()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE, help="made anew (default: %(default)s)")
    parser.add_argument("--jobs", type=int, action="append", help="repeat for more (default: 1000)")
    parser.add_argument("--scheme", choices=SCHEMES, action="append", help="repeat for more (default: all)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until a receiver answers")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds until what is missing is lost")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each scheme (default: %(default)s)")
    parser.add_argument("--grace", type=int, default=30, help="the product's misfire grace, in seconds")
    parser.add_argument("--log", default=os.devnull, help="where the sending process writes")
    return parser.parse_args()


def _row(scheme: str, count: int, done: Outcome, reference: Outcome | None) -> str:
    recorded = "never" if done.recorded_s is None else f"{done.recorded_s:.2f}"
    in_time = _ratio(done.recorded_s, reference and reference.recorded_s)
    return (
        f"| {count:,} | {scheme} | {done.first_s:.2f} | {done.last_s:.2f} | {recorded} | {in_time} | "
        f"{done.cpu_s:.1f} | {_ratio(done.cpu_s, reference and reference.cpu_s)} | {done.peak_mb:.0f} | "
        f"{done.lost:,} | {done.doubled:,} |"
    )


def _ratio(value: float | None, reference: float | None) -> str:
    return f"{value / reference:.2f}" if value and reference else "–"


def run(scheme: str, count: int, options: argparse.Namespace) -> Outcome:
    from django.db import connection

    connection.close()
    create_database(options.database)
    receiver = Receiver(options.delay)
    # The plain schemes need a while to register their jobs; the store most of all.
    lead_s = 6 + count / (150 if scheme == "store" else 1500)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=round(lead_s))
    if scheme == "celery":
        # Its entries are crontabs.
        due = (due + timedelta(minutes=1)).replace(second=0)
    make_jobs(count, receiver, due if scheme == "product" else None)
    with Path(options.log).open("ab") as log:
        sender = _start(scheme, options, due, log)
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


def _start(scheme: str, options: argparse.Namespace, due: datetime, log: object) -> subprocess.Popen[bytes]:
    if scheme == "product":
        command = [sys.executable, "manage.py", "runscheduler"]
    else:
        command = [sys.executable, "-m", "bench.schemes", scheme, options.database, str(due.timestamp())]
    return subprocess.Popen(command, cwd=ROOT, env=_environment(options.grace), stdout=log, stderr=log)  # type: ignore[call-overload]


def _environment(grace_s: int) -> dict[str, str]:
    signed = {"WEBHOOK_SIGNING_SECRET": "whsec_YmVuY2gtc2lnbmluZy1zZWNyZXQ="}
    return {**os.environ, **signed, "LOG_LEVEL": "INFO", "SCHEDULER_MISFIRE_GRACE_SECONDS": str(grace_s)}


def _watch(
    sender: subprocess.Popen[bytes], receiver: Receiver, count: int, due: datetime, patience_s: float
) -> Outcome:
    start = due.timestamp()
    time.sleep(max(0.0, start - 0.5 - time.time()))
    cpu = cpu_s(sender.pid)
    time.sleep(max(0.0, start - time.time()))
    recorded = _wait_recorded(count, start, patience_s)
    arrived = receiver.arrivals()
    return Outcome(
        first_s=arrived.first - start,
        last_s=arrived.last - start,
        recorded_s=recorded,
        cpu_s=cpu_s(sender.pid) - cpu,
        peak_mb=peak_mb(sender.pid),
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


def cpu_s(pid: int) -> float:
    """CPU seconds of the process and its children, those that have ended among them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS + sum(map(cpu_s, _children(pid)))


def peak_mb(pid: int) -> float:
    """The most that the process and each of its children took; what they share counts for each."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return own + sum(map(peak_mb, _children(pid)))


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


if __name__ == "__main__":
    main()
