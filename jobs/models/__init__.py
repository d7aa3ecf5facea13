from __future__ import annotations

from jobs.models.execution import JobExecution, UntoldRun
from jobs.models.github import GitHubRun, GitHubToken
from jobs.models.job import Job
from jobs.models.lease import ChoreState, SchedulerLease, SchedulerStandby
from jobs.models.tally import RunTally, TallyMark

__all__ = [
    "ChoreState",
    "GitHubRun",
    "GitHubToken",
    "Job",
    "JobExecution",
    "RunTally",
    "SchedulerLease",
    "SchedulerStandby",
    "TallyMark",
    "UntoldRun",
]
