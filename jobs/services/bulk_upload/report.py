"""What came of an upload, as an answer and a command show it: exact counts, bounded lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from jobs.models import Job
from jobs.services.bulk_upload.engine import Action, Outcome

JOBS_SHOWN: Final = 1000


@dataclass(kw_only=True, slots=True)
class Report:
    """`updated` counts the rows of jobs that were there, `unchanged` those of them with nothing new."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    errors: list[Outcome] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        if outcome.action is Action.FAILED:
            self.failed += 1
            self.errors.append(outcome)
            return
        self.created += outcome.action is Action.CREATED
        self.updated += outcome.action is not Action.CREATED
        self.unchanged += outcome.action is Action.UNCHANGED
        if outcome.job is not None and len(self.jobs) < JOBS_SHOWN:
            self.jobs.append(outcome.job)

    @property
    def summary(self) -> str:
        return f"{self.created} created, {self.updated} updated, {self.failed} failed"


def report_of(outcomes: Iterable[Outcome]) -> Report:
    report = Report()
    for outcome in outcomes:
        report.add(outcome)
    return report
