"""The accountant: slots that were due, rows, and calls received must tell one story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cronsched.testing.http_sink import Call
from jobs import schedule
from jobs.choices import IN_FLIGHT, Status
from jobs.models import Job, JobExecution

_TICK = timedelta.resolution


@dataclass
class Verdict:
    """Violations are sentences; none is what a run must come to."""

    slots: int = 0
    calls: int = 0
    retries: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.unproven]


def account(jobs: Sequence[Job], calls: Iterable[Call]) -> Verdict:
    """Compare; `jobs` as they were before anything was due."""
    verdict = Verdict()
    calls_of = _calls_by_run(calls, verdict)
    rows_of: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    fields = (
        "id",
        "job_id",
        "status",
        "reason",
        "scheduled_for",
        "attempt",
        "missed_count",
        "missed_last_at",
    )
    for row in JobExecution.objects.order_by("scheduled_for").values(*fields):
        rows_of[row["job_id"]].append(row)
        verdict.rows[f"{row['status']} {row['reason']}".strip()] += 1
    now_next = dict(Job.objects.values_list("id", "next_run_at"))
    retries = dict(Job.objects.values_list("id", "max_retries"))
    for job in jobs:
        _account_for_slots(job, now_next[job.pk], rows_of[job.pk], verdict)
        for row in rows_of[job.pk]:
            _account_for_calls(job, row, calls_of.pop(str(row["id"]), 0), retries[job.pk], verdict)
    verdict.doubled += [f"{count} calls of a run {run} that has no row" for run, count in calls_of.items()]
    return verdict


def _calls_by_run(calls: Iterable[Call], verdict: Verdict) -> dict[str, int]:
    counted: Counter[str] = Counter(call.headers.get("webhook-id", "") for call in calls)
    verdict.calls = sum(counted.values())
    verdict.retries = sum(count - 1 for count in counted.values())
    return dict(counted)


def _due_slots(job: Job, next_run_at: datetime | None) -> set[datetime]:
    """Every slot from the job's first one up to where it stands now: the schedule's own word."""
    assert job.next_run_at is not None
    if next_run_at is None:
        return {job.next_run_at}
    if next_run_at <= job.next_run_at:
        # Its first minute has not come yet.
        return set()
    zone = schedule.load_zone(job.zone_name)
    after, until = job.next_run_at, next_run_at - _TICK
    return {
        job.next_run_at,
        *schedule.slots_between(job.cron_expression, zone=zone, after=after, until=until),
    }


def _account_for_slots(
    job: Job, next_run_at: datetime | None, rows: list[dict[str, Any]], verdict: Verdict
) -> None:
    due = _due_slots(job, next_run_at)
    verdict.slots += len(due)
    own = Counter(row["scheduled_for"] for row in rows)
    verdict.doubled += [f"{job.name}: {count} rows at {slot}" for slot, count in own.items() if count > 1]
    gaps = [row for row in rows if row["status"] == Status.MISSED and row["missed_count"] > 1]
    stood_for = {slot for row in gaps for slot in due if row["scheduled_for"] < slot <= row["missed_last_at"]}
    verdict.lost += [f"{job.name}: no row for {slot}" for slot in sorted(due - own.keys() - stood_for)]
    counted = len(own) + sum(row["missed_count"] - 1 for row in gaps)
    if counted > len(due):
        verdict.doubled.append(f"{job.name}: rows for {counted} slots, {len(due)} were due")
    verdict.lost += [f"{job.name}: never ended {row['id']}" for row in rows if row["status"] in IN_FLIGHT]


def _account_for_calls(job: Job, row: dict[str, Any], calls: int, max_retries: int, verdict: Verdict) -> None:
    run = f"{job.name} {row['scheduled_for']} ({row['status']} {row['reason']}, attempt {row['attempt']})"
    if calls > (row["attempt"] if max_retries else 1):
        verdict.doubled.append(f"{run}: called {calls} times")
    if row["status"] == Status.SUCCESS and not calls:
        verdict.unproven.append(f"{run}: a success that nobody received")
    if row["status"] == Status.MISSED and calls:
        verdict.unproven.append(f"{run}: missed, but called")
