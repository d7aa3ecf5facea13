"""What is said about followed runs, shown: `python -m tests.chaos.github follow 1000` and `… faults 10000`.

`follow`: so many runs of many lengths and ends, followed by a real scheduler that is killed (SIGKILL) in the
middle, and by its successor. `faults`: so many dispatches to a GitHub that loses answers in every way it can;
the stand-in counts what was started. Runs on the database of DATABASE_URL, which must be empty.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

CONCLUSIONS: Final = {"success": "success", "neutral": "success", "skipped": "success"}
ENDS: Final = ("success", "success", "success", "neutral", "skipped", "failure", "cancelled", "timed_out")
REPOSITORIES: Final = 20
# In these the workflow takes the id and does not show it: nobody can tell there what was not started.
SILENT_REPOSITORIES: Final = 5
CORRELATION: Final = "cronsched_id"
_SILENT: Final = (
    f"name: Nightly\non:\n  workflow_dispatch:\n    inputs:\n      {CORRELATION}:\n        type: string\n"
)


@dataclass(kw_only=True)
class Found:
    """What the accountant found. `wrong` names executions that did not end as their run did."""

    executions: int = 0
    dispatches: int = 0
    doubled: int = 0
    reads: int = 0
    not_modified: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        outcomes = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return (
            f"executions {self.executions}, runs started {self.dispatches}, doubled {self.doubled}, "
            f"wrong {len(self.wrong)}, reads {self.reads} (of them unchanged {self.not_modified}), "
            f"{self.seconds:.0f} s; {outcomes}"
        )


def follow_through_a_crash(schedulers: Any, *, runs: int, most_s: float) -> Found:
    """Dispatch `runs` workflows of up to `most_s` seconds, kill the leader when half have ended."""
    from cronsched.testing.fake_github import FakeGitHub, Mode, Plan
    from jobs.models import JobExecution
    from tests.chaos.harness import in_seconds, wait_until

    chance = random.Random(7)
    began = time.monotonic()
    with FakeGitHub() as github:
        github.mode = Mode.RUN_DETAILS
        github.plan = lambda dispatch: Plan(
            queued_s=chance.uniform(0, most_s / 4),
            working_s=chance.uniform(0, most_s * 3 / 4),
            conclusion=chance.choice(ENDS),
        )
        make_github_jobs(runs, due=in_seconds(3))
        first = schedulers.start_leader(**_env(github))
        second = schedulers.start(**_env(github))
        ended = JobExecution.objects.filter(status__in=("success", "failed"))
        wait_until(lambda: len(github.runs) == runs, 120 + runs / 20, schedulers.logs)
        wait_until(lambda: ended.count() >= runs // 2, most_s + 240, schedulers.logs)
        first.kill()
        wait_until(lambda: ended.count() == runs, most_s + 600, second.log.read_text)
        found = _compared(github)
    found.seconds = time.monotonic() - began
    return found


def dispatch_with_faults(schedulers: Any, *, runs: int, most_s: float = 3000.0) -> Found:
    """Dispatch `runs` workflows, each answered in one of the ways in which an answer can be lost."""
    from cronsched.testing.fake_github import FakeGitHub, Mode, Plan
    from jobs.choices import FINISHED
    from jobs.models import JobExecution
    from tests.chaos.harness import in_seconds, wait_until

    chance = random.Random(11)
    modes = (
        *([Mode.RUN_DETAILS] * 4), Mode.ACCEPTED, Mode.ACCEPTED_BAD_GATEWAY, Mode.ACCEPTED_DROPPED,
        Mode.ACCEPTED_CUT_SHORT, Mode.SILENT, Mode.ERROR, Mode.BAD_GATEWAY, Mode.DROPPED, Mode.TOO_MANY,
    )  # fmt: skip
    began = time.monotonic()
    with FakeGitHub() as github:
        for number in range(SILENT_REPOSITORIES):
            github.world.add(f"acme/app{number}", {"nightly.yml": _SILENT})
        github.choose_mode = lambda dispatch: chance.choice(modes)
        github.plan = lambda dispatch: Plan(working_s=chance.uniform(0, 5), conclusion=chance.choice(ENDS))
        make_github_jobs(runs, due=in_seconds(3), correlation=CORRELATION, max_retries=2)
        schedulers.start_leader(**_env(github), WEBHOOK_TIMEOUT_SECONDS="3")
        finished = JobExecution.objects.filter(status__in=FINISHED)
        wait_until(lambda: finished.count() == runs, most_s, lambda: _where(JobExecution))
        found = _compared(github)
    found.seconds = time.monotonic() - began
    return found


def make_github_jobs(count: int, *, due: Any, correlation: str = "", max_retries: int = 0) -> None:
    """One job for each run, in some repositories, with its one slot at `due`."""
    from jobs.models import Job
    from tests.chaos.harness import make_jobs

    jobs = make_jobs([""] * count, [due + timedelta(seconds=number // 100) for number in range(count)])
    for number, job in enumerate(jobs):
        job.github_owner, job.github_repo = "acme", f"app{number % REPOSITORIES}"
        job.github_workflow_name = "nightly.yml"
        job.github_correlation_input, job.max_retries = correlation, max_retries
    Job.objects.bulk_update(
        jobs,
        ["github_owner", "github_repo", "github_workflow_name", "github_correlation_input", "max_retries"],
        batch_size=200,
    )


def _env(github: Any) -> dict[str, str]:
    # Making ten thousand jobs takes longer than a slot may be late.
    late = {"SCHEDULER_MISFIRE_GRACE_SECONDS": "3600"}
    return {"GITHUB_API_URL": github.api_url, "GITHUB_TOKEN": github.token, **late}


def _compared(github: Any) -> Found:
    """Each execution against the runs that the stand-in started for it."""
    from jobs.models import JobExecution

    rows = list(
        JobExecution.objects.values_list("pk", "status", "reason", "error_message", "github_run__run_id")
    )
    found = Found(executions=len(rows), dispatches=len(github.runs))
    by_id: dict[str, list[Any]] = {}
    for run in github.runs.values():
        by_id.setdefault(run.inputs.get(CORRELATION, str(run.run_id)), []).append(run)
    found.doubled = sum(len(runs) - 1 for runs in by_id.values())
    for pk, status, reason, message, run_id in rows:
        runs = by_id.get(str(pk)) or by_id.get(str(run_id)) or []
        expected = CONCLUSIONS.get(runs[-1].plan.conclusion, "failed") if runs else "failed"
        found.outcomes[f"{status}{f':{reason}' if reason else ''}"] += 1
        if runs and run_id is None and str(pk) not in runs[-1].title:
            # Nobody can know how it ended: that it was started, or that nobody knows, is all there is to say.
            if (status, reason) not in (("success", ""), ("failed", "uncertain")):
                found.wrong.append(f"{pk}: {status} {reason} {message[:200]}, runs {len(runs)}, not shown")
        elif status != expected or (runs and status == "failed" and reason != "conclusion"):
            found.wrong.append(f"{pk}: {status} {reason} {message[:200]}, runs {len(runs)}")
    reads = [call for call in github.sink.calls if call.method == "GET"]
    found.reads = len(reads)
    found.not_modified = github.not_modified
    return found


def _where(model: Any) -> str:
    return str(Counter(model.objects.values_list("status", "reason")))


SCENES: Final[dict[str, Callable[..., Found]]] = {
    "follow": lambda schedulers, runs: follow_through_a_crash(schedulers, runs=runs, most_s=120),
    "faults": lambda schedulers, runs: dispatch_with_faults(schedulers, runs=runs),
}


def main(arguments: list[str]) -> int:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cronsched.settings")
    django.setup()
    from django.core.management import call_command

    from jobs.models import Job
    from tests.chaos.harness import schedulers_in

    scene, runs = arguments[0], int(arguments[1])
    call_command("migrate", verbosity=0)
    if Job.objects.exists():
        sys.stderr.write("The database of DATABASE_URL holds jobs already: give an empty one.\n")
        return 1
    with tempfile.TemporaryDirectory() as folder, schedulers_in(Path(folder)) as schedulers:
        found = SCENES[scene](schedulers, runs)
    sys.stdout.write(f"{scene} {runs}: {found}\n")
    for line in found.wrong[:20]:
        sys.stdout.write(f"  {line}\n")
    return 1 if found.wrong or found.doubled else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
