"""A stand-in for GitHub's REST API as far as cronsched uses it, on a real loopback socket.

Paths, statuses, headers and answers follow docs.github.com/rest, API version 2022-11-28: dispatches in
their old and their new way, runs that queue, run and end, re-runs, jobs and steps, ETags, rate limits,
tokens with permissions and an end, Apps, and the lists that the job's form shows.

    with FakeGitHub() as github:
        github.mode = Mode.RUN_DETAILS
        ...set GITHUB_API_URL to github.api_url, dispatch, and look at github.runs...

`make fake-github` (`python -m cronsched.testing.fake_github`) runs it for people to play with.
"""

from __future__ import annotations

from cronsched.testing.fake_github.events import workflow_run_event
from cronsched.testing.fake_github.runs import RUN_ID, Plan, Run
from cronsched.testing.fake_github.server import TEST_TOKEN, Dispatch, FakeGitHub, Mode
from cronsched.testing.fake_github.world import Workflow

__all__ = [
    "RUN_ID",
    "TEST_TOKEN",
    "Dispatch",
    "FakeGitHub",
    "Mode",
    "Plan",
    "Run",
    "Workflow",
    "workflow_run_event",
]
