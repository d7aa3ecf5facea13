"""The followed runs in the database: those that are due, and what is written about them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from cronsched.core.crypto import SecretUnreadable, decrypt
from cronsched.core.db import retry_conflicts, update_each
from cronsched.core.text import strip_unstorable
from jobs.choices import FollowState, Status
from jobs.engine.follow import judge
from jobs.engine.follow.judge import Followed, Step
from jobs.engine.lease import Term, prove
from jobs.engine.messages import Outcome
from jobs.engine.record import record
from jobs.models import GitHubRun
from jobs.models.job import FOLLOW_MINUTES

logger = logging.getLogger(__name__)

BATCH: Final = 500
_COLUMNS: Final = (
    "run_id",
    "html_url",
    "run_attempt",
    "run_status",
    "conclusion",
    "recorded_attempt",
    "state",
    "next_look_at",
    "deadline_at",
    "last_error",
)
_OF_RUN: Final = (
    "execution_id", "owner", "repo", "run_id", "html_url", "run_attempt", "run_status", "conclusion",
    "recorded_attempt", "state", "dispatched_at", "next_look_at", "deadline_at", "last_error",
    "execution__claim_token", "execution__started_at", "execution__attempt", "execution__response_status",
    "execution__status", "execution__overrides", "execution__job__max_retries",
    "execution__job__follow_timeout_minutes",
)  # fmt: skip


def load_due(*, now: datetime, limit: int) -> list[Followed]:
    """The runs to look at, the longest waiting first, in one query."""
    rows = GitHubRun.objects.due(now).values(*_OF_RUN)[:limit]
    return [_followed(row) for row in rows]


def _followed(row: dict[str, Any]) -> Followed:
    return Followed(
        execution_id=row["execution_id"],
        claim_token=row["execution__claim_token"],
        started_at=row["execution__started_at"],
        attempt=row["execution__attempt"],
        response_status=row["execution__response_status"],
        is_open=row["execution__status"] == Status.RUNNING,
        has_failed=row["execution__status"] == Status.FAILED,
        may_dispatch_again=row["execution__attempt"] <= row["execution__job__max_retries"],
        owner=row["owner"],
        repo=row["repo"],
        own_token=_own_token(row["execution__overrides"]),
        is_finding=row["state"] == FollowState.FINDING,
        is_watching=row["state"] == FollowState.WATCHING,
        run_id=row["run_id"],
        html_url=row["html_url"],
        run_attempt=row["run_attempt"],
        run_status=row["run_status"],
        conclusion=row["conclusion"],
        recorded_attempt=row["recorded_attempt"],
        dispatched_at=row["dispatched_at"],
        next_look_at=row["next_look_at"],
        deadline_at=row["deadline_at"],
        follow_for=timedelta(minutes=row["execution__job__follow_timeout_minutes"] or FOLLOW_MINUTES),
        last_error=row["last_error"],
    )


def _own_token(overrides: str) -> str:
    """The token that was given for this run alone; "" without one, or without one that can be read."""
    if not overrides:
        return ""
    try:
        return str(json.loads(decrypt(overrides)).get("github_token") or "")
    except (SecretUnreadable, ValueError):
        return ""


@retry_conflicts
def write(steps: Sequence[Step], *, now: datetime, term: Term) -> int:
    """What a turn came to, in one transaction that proves the term. How many runs have ended."""
    ends = [step for step in steps if step.result is not None]
    again = [step for step in ends if step.is_dispatched_again]
    with transaction.atomic():
        prove(term)
        if again:
            # Its next dispatch is another run.
            GitHubRun.objects.filter(pk__in=[step.run.execution_id for step in again]).delete()
        if ends:
            record([step.result for step in ends if step.result is not None], now=now)
        kept = [step for step in steps if not step.is_dispatched_again]
        # Only where nobody has brought the look forward meanwhile: the webhook knows more then.
        update_each(GitHubRun, _COLUMNS, ("execution", "next_look_at"), [_values(step, now) for step in kept])
    return len(ends)


def _values(step: Step, now: datetime) -> tuple[object, ...]:
    run, seen = step.run, step.seen
    is_ended = step.is_settled
    attempt = seen.attempt if seen else run.run_attempt
    state = _state(step)
    deadline_at = run.deadline_at
    if is_ended and attempt > run.recorded_attempt:
        deadline_at = now + judge.WATCH_FOR
    elif run.is_watching and attempt > run.run_attempt:
        # Somebody runs it again: that takes as long as it may.
        deadline_at = now + run.follow_for
    return (
        seen.run_id if seen else run.run_id,
        (seen.html_url if seen else "") or run.html_url,
        attempt,
        seen.status if seen else run.run_status,
        seen.conclusion if seen else run.conclusion,
        attempt if is_ended else run.recorded_attempt,
        state,
        _next_look(step, state, deadline_at, now),
        deadline_at,
        strip_unstorable(step.error)[:2000],
        run.execution_id,
        run.next_look_at,
    )


def _next_look(step: Step, state: FollowState, deadline_at: datetime, now: datetime) -> datetime | None:
    if state == FollowState.DONE:
        return None
    return step.not_before or judge.next_look(
        step.run.dispatched_at,
        deadline_at=deadline_at,
        is_watching=state == FollowState.WATCHING,
        now=now,
    )


def _state(step: Step) -> FollowState:
    run, result = step.run, step.result
    is_ended = step.is_settled
    if step.is_over or (result is not None and not is_ended):
        # A run that GitHub never had, or that was given up, is not watched.
        return FollowState.DONE
    if result is not None:
        return FollowState.WATCHING if result.outcome is Outcome.FAILED else FollowState.DONE
    if run.is_watching or is_ended:
        return FollowState.WATCHING
    return FollowState.FINDING if run.is_finding and step.seen is None else FollowState.FOLLOWING
