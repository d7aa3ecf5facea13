"""What GitHub is asked about runs, and what its answers say. Pure: requests in, values out.

docs.github.com/rest/actions/workflow-runs and …/workflow-jobs, API version 2022-11-28.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

from cronsched.core.http.client import HttpRequest, HttpResult
from jobs.engine.messages import GitHubApp
from jobs.engine.transports import github
from jobs.engine.transports.base import status_text

COMPLETED: Final = "completed"
PER_PAGE: Final = 100
# A run is described in 10 to 20 KB, its repository twice among it.
_MAX_RUN_BYTES: Final = 256 * 1024
_MAX_LIST_BYTES: Final = 8 * 1024 * 1024
_TIMEOUT_S: Final = 15.0
_DISPATCH: Final = "workflow_dispatch"
_WORKFLOWS: Final = ".github/workflows/"
_WORD_MAX: Final = 30
_NAME_MAX: Final = 200
_PATH_MAX: Final = 1000
_BAD_CONCLUSIONS: Final = frozenset(
    {"failure", "cancelled", "timed_out", "startup_failure", "action_required"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One repository as it is asked about, and with which token, of which App. `name` is for its limits."""

    api_url: str
    owner: str
    repo: str
    token: str
    user_agent: str
    name: str
    app: GitHubApp | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSeen:
    """One run as GitHub told of it. `title` is its display_title: what `run-name` made of the inputs.

    `path` is of the workflow file, with `@` and the branch or without. "" and None: GitHub did not tell.
    """

    run_id: int
    attempt: int
    status: str
    conclusion: str
    html_url: str
    title: str
    updated_at: datetime | None
    path: str = ""
    workflow_id: int | None = None
    event: str = ""

    @property
    def is_completed(self) -> bool:
        return self.status == COMPLETED

    def shows(self, execution_id: UUID) -> bool:
        return str(execution_id) in self.title

    def is_of(self, execution_id: UUID, *, workflow: str) -> bool:
        """Whether this execution's dispatch of that workflow, by file or number, started it.

        The id alone does not tell: a workflow may hand it on to another that it starts.
        """
        return self.event in ("", _DISPATCH) and self._is_run_of(workflow) and self.shows(execution_id)

    def _is_run_of(self, workflow: str) -> bool:
        if workflow.isdecimal():
            return self.workflow_id is None or self.workflow_id == int(workflow)
        file = f"{_WORKFLOWS}{workflow}"
        # Not cut at the first @: a file's name and a branch's may hold one.
        return self.path in ("", file) or self.path.startswith(f"{file}@")


def own_run(runs: Iterable[RunSeen], execution_id: UUID, *, workflow: str) -> RunSeen | None:
    """The run that the dispatch started. The first of several: a workflow may dispatch itself with the id."""
    found = (run for run in runs if run.is_of(execution_id, workflow=workflow))
    return min(found, key=lambda run: run.run_id, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedJob:
    name: str
    conclusion: str
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """One page of a list of runs. `is_readable`: every run on it could be read."""

    runs: tuple[RunSeen, ...]
    is_last: bool
    is_readable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    """The failed ones of one page of a run's jobs."""

    failed: tuple[FailedJob, ...]
    is_last: bool


# ---- questions --------------------------------------------------------------------------------


def run_request(place: Place, run_id: int, *, etag: str = "") -> HttpRequest:
    return _get(place, f"actions/runs/{run_id}", etag=etag, max_body_bytes=_MAX_RUN_BYTES)


def list_request(place: Place, since: datetime, *, page: int, etag: str = "") -> HttpRequest:
    """Runs that were dispatched since then, newest first, a hundred to a page."""
    query = {
        "event": _DISPATCH,
        "created": f">={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "exclude_pull_requests": "true",
        "per_page": PER_PAGE,
        "page": page,
    }
    return _get(place, f"actions/runs?{urlencode(query)}", etag=etag, max_body_bytes=_MAX_LIST_BYTES)


def jobs_request(place: Place, run_id: int, *, page: int) -> HttpRequest:
    """The jobs of the latest attempt, with their steps."""
    query = f"filter=latest&per_page={PER_PAGE}&page={page}"
    return _get(place, f"actions/runs/{run_id}/jobs?{query}", max_body_bytes=_MAX_LIST_BYTES)


def _get(place: Place, path: str, *, etag: str = "", max_body_bytes: int) -> HttpRequest:
    owner, repo = quote(place.owner, safe=""), quote(place.repo, safe="")
    headers = github.headers(place.token, user_agent=place.user_agent)
    return HttpRequest(
        method="GET",
        url=f"{place.api_url.rstrip('/')}/repos/{owner}/{repo}/{path}",
        headers={**headers, "If-None-Match": etag} if etag else headers,
        timeout_s=_TIMEOUT_S,
        is_trusted=True,
        max_body_bytes=max_body_bytes,
    )


# ---- answers ----------------------------------------------------------------------------------


def fault_of(result: HttpResult) -> str:
    """What is wrong with an answer, for a person; "" where it is a 200 or a 304."""
    if result.error is not None:
        return f"GitHub did not answer. {result.message}"
    if result.status in (200, 304):
        return ""
    said = github.detail_of(result)
    text = f"GitHub answered {status_text(result.status or 0)}"
    return f"{text}: {said}" if said else f"{text}."


def told_at(result: HttpResult) -> datetime | None:
    """GitHub's time of an answer; None where it does not say."""
    try:
        return parsedate_to_datetime(result.headers.get("date", "")).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def read_run(body: str) -> RunSeen | None:
    """None for what is no description of a run."""
    return _run(_parsed(body))


def read_list(body: str) -> RunPage | None:
    """None for what is no list of runs."""
    found = _parsed(body).get("workflow_runs")
    if not isinstance(found, list):
        return None
    runs = tuple(run for one in found if (run := _run(one)) is not None)
    return RunPage(runs=runs, is_last=len(found) < PER_PAGE, is_readable=len(runs) == len(found))


def read_failed_jobs(body: str) -> JobPage:
    """The jobs that did not end well, with their steps that did not."""
    found = _parsed(body).get("jobs")
    jobs = found if isinstance(found, list) else []
    failed = tuple(
        FailedJob(name=_text(job, "name", _NAME_MAX), conclusion=_word(job, "conclusion"), steps=_steps(job))
        for job in jobs
        if isinstance(job, dict) and job.get("conclusion") in _BAD_CONCLUSIONS
    )
    return JobPage(failed=failed, is_last=len(jobs) < PER_PAGE)


def run_of_event(said: Any) -> RunSeen | None:
    """The run in a webhook's `workflow_run`, which is described as in the API's answers."""
    return _run(said)


def _steps(job: Mapping[str, Any]) -> tuple[str, ...]:
    steps = job.get("steps")
    return tuple(
        _text(step, "name", _NAME_MAX)
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict) and step.get("conclusion") in _BAD_CONCLUSIONS
    )


def _parsed(body: str) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _run(said: Any) -> RunSeen | None:
    if not isinstance(said, dict):
        return None
    run_id, attempt = _whole(said.get("id")), _whole(said.get("run_attempt"))
    status = _word(said, "status")
    if run_id is None or not status:
        return None
    return RunSeen(
        run_id=run_id,
        attempt=min(attempt or 1, 10**6),
        status=status,
        conclusion=_word(said, "conclusion"),
        html_url=github.web_link(said.get("html_url")),
        title=_text(said, "display_title", 1000),
        updated_at=_moment(said.get("updated_at")),
        path=_text(said, "path", _PATH_MAX),
        workflow_id=_whole(said.get("workflow_id")),
        event=_word(said, "event"),
    )


def _whole(value: Any) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    return value if is_whole else None


def _word(said: Mapping[str, Any], key: str) -> str:
    return _text(said, key, _WORD_MAX)


def _text(said: Mapping[str, Any], key: str, longest: int) -> str:
    value = said.get(key)
    return value[:longest] if isinstance(value, str) else ""


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC)
    except (AttributeError, ValueError, TypeError, OverflowError):
        return None
