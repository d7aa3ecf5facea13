"""Jobs, their history, and the scheduler behind them, in the admin site."""

from __future__ import annotations

from jobs.admin.execution import ExecutionAdmin
from jobs.admin.github import GitHubTokenAdmin
from jobs.admin.job import JobAdmin
from jobs.admin.key import ApiKeyAdmin
from jobs.admin.scheduler import ChoreAdmin, ChoreRunAdmin, ChoreTimetableAdmin, LeaseAdmin

__all__ = [
    "ApiKeyAdmin",
    "ChoreAdmin",
    "ChoreRunAdmin",
    "ChoreTimetableAdmin",
    "ExecutionAdmin",
    "GitHubTokenAdmin",
    "JobAdmin",
    "LeaseAdmin",
]
