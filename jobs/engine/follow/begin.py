"""RECORD hands over what GitHub goes on with: in its transaction, two statements for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cronsched.core.db import insert_each, update_each
from cronsched.core.text import strip_unstorable
from jobs.choices import ExecutionType, FollowState, Status
from jobs.engine.follow.judge import gap
from jobs.engine.messages import DeliveryResult, GitHubRunRef, Outcome, Reason
from jobs.models import GitHubRun, JobExecution

FOLLOWED_TEXT: Final = "The run is followed until it ends."
LOOKED_FOR_TEXT: Final = "Dispatched. The run is looked for by this execution's id in its name."
UNCERTAIN_TEXT: Final = (
    "Whether GitHub took the dispatch is not certain: the run is looked for by this execution's id in its "
    "name, before anything is sent again."
)
_COLUMNS: Final = (
    "started_at",
    "response_status",
    "reason",
    "error_message",
    "output",
    "attempt",
    "deadline_at",
)
# owner/repo/actions/workflows/file.yml
_TARGET_PARTS: Final = 5

Taken = Sequence[tuple[JobExecution, DeliveryResult]]


def is_followed(run: JobExecution, result: DeliveryResult) -> bool:
    """Whether GitHub goes on with it, or may: a sender that died can have dispatched what it was to."""
    if run.target.count("/") < _TARGET_PARTS - 1:
        return False
    if result.outcome is Outcome.FOLLOWED:
        return True
    is_unknown = result.reason is Reason.INTERRUPTED and run.status == Status.RUNNING
    is_github = run.execution_type == ExecutionType.GITHUB_ACTIONS
    was_given_id = bool(run.job.id_input_of(run.target))
    return is_unknown and is_github and run.job.follow_run and was_given_id


def let_go(ids: Sequence[UUID]) -> None:
    """What goes back to the queue is not followed any more: its next dispatch is another run."""
    if ids:
        GitHubRun.objects.filter(pk__in=ids).delete()


def follow(taken: Taken, *, now: datetime) -> None:
    """A row for each. The execution stays `running`; what RESCUE has ended already stays so until the end."""
    if not taken:
        return
    let_go([run.pk for run, _ in taken])
    insert_each([_row(run, result, now) for run, result in taken])
    under_way = [(run, result) for run, result in taken if run.status == Status.RUNNING]
    update_each(JobExecution, _COLUMNS, ("id",), [_values(run, result) for run, result in under_way])


def _row(run: JobExecution, result: DeliveryResult, now: datetime) -> GitHubRun:
    owner, repo, *_, workflow = run.target.split("/")
    found = result.github_run or GitHubRunRef()
    return GitHubRun(
        execution=run,
        owner=owner.casefold(),
        repo=repo.casefold(),
        workflow=workflow,
        run_id=found.run_id,
        html_url=found.html_url,
        state=FollowState.FINDING if found.run_id is None else FollowState.FOLLOWING,
        dispatched_at=result.completed_at,
        next_look_at=now + gap(timedelta(0)),
        deadline_at=result.started_at + timedelta(minutes=run.job.follow_minutes),
        last_error=strip_unstorable(result.error_message),
        naming_key=found.naming_key,
    )


def _values(run: JobExecution, result: DeliveryResult) -> tuple[object, ...]:
    return (
        max(run.started_at, result.started_at),
        result.response_status,
        "",
        "",
        _note(result),
        result.attempt,
        # RESCUE has nothing to do here: the follower keeps the deadline.
        None,
        run.pk,
    )


def _note(result: DeliveryResult) -> str:
    found = result.github_run or GitHubRunRef()
    if found.run_id is not None:
        return f"{found.html_url}\n{FOLLOWED_TEXT}".lstrip()
    if result.error_message:
        return f"{UNCERTAIN_TEXT}\n{strip_unstorable(result.error_message)}"
    return LOOKED_FOR_TEXT
