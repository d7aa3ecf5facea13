"""The workflow runs of the stand-in: they queue, run and end by the clock, and can be run again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

RUN_ID: Final = 16_000_000_001


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What becomes of one attempt: seconds in the queue, seconds of work, how it ends."""

    queued_s: float = 0.0
    working_s: float = 0.0
    conclusion: str = "success"
    # Of jobs that fail: name -> steps that fail.
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Jobs that succeed, listed before those that fail.
    passed: int = 1


@dataclass(kw_only=True, slots=True)
class Run:
    """One run; `began_at` and `plan` are of its latest attempt."""

    run_id: int
    owner: str
    repo: str
    workflow: str
    ref: str
    inputs: Mapping[str, Any]
    title: str
    created_at: float
    began_at: float
    plan: Plan
    event: str = "workflow_dispatch"
    attempt: int = 1
    # The event that the webhook has been sent of: (attempt, status).
    told: tuple[int, str] = (0, "")

    def status(self, now: float) -> str:
        age = now - self.began_at
        if age < self.plan.queued_s:
            return "queued"
        return "in_progress" if age < self.plan.queued_s + self.plan.working_s else "completed"

    def conclusion(self, now: float) -> str | None:
        return self.plan.conclusion if self.status(now) == "completed" else None

    def run_again(self, plan: Plan, *, now: float) -> None:
        """As "Re-run jobs" does: the same id, the next attempt."""
        self.attempt, self.began_at, self.plan = self.attempt + 1, now, plan

    @property
    def html_url(self) -> str:
        return f"https://github.com/{self.owner}/{self.repo}/actions/runs/{self.run_id}"

    def as_json(self, api_url: str, now: float) -> dict[str, Any]:
        return {
            "id": self.run_id,
            "name": self.workflow,
            "display_title": self.title,
            "head_branch": self.ref,
            "path": f".github/workflows/{self.workflow}@{self.ref}",
            "workflow_id": workflow_id(self.workflow),
            "event": self.event,
            "status": self.status(now),
            "conclusion": self.conclusion(now),
            "run_number": self.run_id - RUN_ID + 1,
            "run_attempt": self.attempt,
            "url": f"{api_url}/repos/{self.owner}/{self.repo}/actions/runs/{self.run_id}",
            "html_url": self.html_url,
            "created_at": stamp(self.created_at),
            "run_started_at": stamp(self.began_at),
            "updated_at": stamp(self._changed_at(now)),
            "repository": {
                "name": self.repo,
                "full_name": f"{self.owner}/{self.repo}",
                "owner": {"login": self.owner},
            },
        }

    def jobs_as_json(self, now: float) -> list[dict[str, Any]]:
        if self.status(now) == "queued":
            return []
        failed = self.plan.failed or ({"build": ("Run tests",)} if self.conclusion(now) == "failure" else {})
        is_over = self.status(now) == "completed"
        names = ["checkout", *(f"checkout ({number})" for number in range(2, self.plan.passed + 1))]
        jobs = [_job(name, "success" if is_over else None, ()) for name in names]
        for name, steps in failed.items():
            jobs.append(_job(name, "failure" if is_over else None, steps if is_over else ()))
        return jobs

    def _changed_at(self, now: float) -> float:
        ends = (0.0, self.plan.queued_s, self.plan.queued_s + self.plan.working_s)
        return max(self.began_at + end for end in ends if self.began_at + end <= now)


def workflow_id(name: str) -> int:
    """The number of a workflow file, always the same."""
    return int(name) if name.isdecimal() else zlib.crc32(name.encode()) + 1


def _job(name: str, conclusion: str | None, failed_steps: tuple[str, ...]) -> dict[str, Any]:
    steps = [{"name": "Set up job", "status": "completed", "conclusion": "success", "number": 1}]
    steps += [
        {"name": step, "status": "completed", "conclusion": "failure", "number": number}
        for number, step in enumerate(failed_steps, 2)
    ]
    status = "completed" if conclusion else "in_progress"
    return {"name": name, "status": status, "conclusion": conclusion, "steps": steps}


def stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(int(moment), UTC):%Y-%m-%dT%H:%M:%SZ}"
