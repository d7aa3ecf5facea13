from __future__ import annotations

from jobs.models.execution import JobExecution, RunAttempt, UntoldRun
from jobs.models.github import GitHubRun, GitHubToken, RunNaming
from jobs.models.job import Job
from jobs.models.lease import ChoreState, SchedulerLease, SchedulerStandby
from jobs.models.tally import JobTally, RunTally, TallyMark
from jobs.models.upload import JobUpload, UploadPhase

__all__ = [
    "ChoreState",
    "GitHubRun",
    "GitHubToken",
    "Job",
    "JobExecution",
    "JobTally",
    "JobUpload",
    "RunAttempt",
    "RunNaming",
    "RunTally",
    "SchedulerLease",
    "SchedulerStandby",
    "TallyMark",
    "UntoldRun",
    "UploadPhase",
]
