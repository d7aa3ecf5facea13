"""The followed runs in the database: those that are due, and what is written about them."""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from cronsched.core.crypto import SecretUnreadable, decrypt
from cronsched.core.db import insert_each, locked, retry_conflicts, update_each
from cronsched.core.text import strip_unstorable
from jobs.choices import FollowState, Status
from jobs.engine.follow import judge
from jobs.engine.follow.judge import Followed, Step
from jobs.engine.lease import Term, prove
from jobs.engine.messages import Outcome
from jobs.engine.record import record
from jobs.models import GitHubRun, RunNaming
from jobs.models.job import FOLLOW_MINUTES

logger = logging.getLogger(__name__)

BATCH: Final = 500
_NAMING_EVERY: Final = timedelta(days=1)
# A job of once a year still finds what its last run was called.
_NAMING_KEPT: Final = timedelta(days=400)
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
    "shows_id",
)
_OF_RUN: Final = (
    "execution_id", "owner", "repo", "workflow", "run_id", "html_url", "run_attempt", "run_status",
    "conclusion", "recorded_attempt", "state", "dispatched_at", "next_look_at", "deadline_at", "last_error",
    "naming_key", "shows_id", "execution__claim_token", "execution__started_at", "execution__attempt",
    "execution__response_status", "execution__status", "execution__overrides", "execution__job__max_retries",
    "execution__job__follow_timeout_minutes",
)  # fmt: skip


def load_due(*, now: datetime, limit: int) -> list[Followed]:
    """The runs to look at, the longest waiting first, in one query, and one for those that are looked for."""
    rows = list(GitHubRun.objects.due(now).values(*_OF_RUN)[:limit])
    wanted = {row["naming_key"] for row in rows if row["state"] == FollowState.FINDING} - {""}
    shown: set[str] = set()
    if wanted:
        shown.update(RunNaming.objects.filter(key__in=wanted, shows_id=True).values_list("key", flat=True))
    return [run for row in rows if (run := _readable(row, shown)) is not None]


def _readable(row: dict[str, Any], shown: Container[str]) -> Followed | None:
    """None for a row that a hand in SQL has made unreadable: it must not stop the others."""
    try:
        return _followed(row, shown)
    except (TypeError, ValueError, OverflowError):
        logger.exception("follow: a row cannot be read execution=%s", row["execution_id"])
        return None


def _followed(row: dict[str, Any], shown: Container[str]) -> Followed:
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
        workflow=row["workflow"],
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
        naming_key=row["naming_key"],
        shows_id=row["shows_id"],
        do_others_show_id=row["naming_key"] in shown,
    )


def _own_token(overrides: str) -> str:
    """The token that was given for this run alone; "" without one, or without one that can be read."""
    if not overrides:
        return ""
    try:
        return str(json.loads(decrypt(overrides)).get("github_token") or "")
    except (SecretUnreadable, ValueError, AttributeError):
        return ""


@retry_conflicts
def write(steps: Sequence[Step], *, now: datetime, term: Term) -> int:
    """What a turn came to, in one transaction that proves the term. How many runs have ended."""
    with transaction.atomic():
        prove(term)
        steps = _unchanged(steps)
        ends = [step.result for step in steps if step.result is not None]
        if ends:
            record(ends, now=now)
        kept = [step for step in steps if not step.is_dispatched_again]
        # Only where nobody has brought the look forward meanwhile: the webhook knows more then.
        update_each(GitHubRun, _COLUMNS, ("execution", "next_look_at"), [_values(step, now) for step in kept])
        _note_namings(kept)
    return len(ends)


@retry_conflicts
def put_off(run: Followed, *, now: datetime, term: Term) -> None:
    """A run that cannot be written is not looked at again at once: it would be first in each turn."""
    with transaction.atomic():
        prove(term)
        rows = GitHubRun.objects.filter(pk=run.execution_id, next_look_at=run.next_look_at)
        rows.update(next_look_at=now + judge.LAST_GAP)


def _unchanged(steps: Sequence[Step]) -> list[Step]:
    """Without the ends of runs of which the webhook has told more meanwhile: they are looked at once more.

    Their rows are locked, so that it tells nothing between the end and its record.
    """
    ending = {step.run.execution_id: step.run.next_look_at for step in steps if step.result is not None}
    if not ending:
        return list(steps)
    rows = locked(GitHubRun.objects.filter(pk__in=list(ending)).order_by("pk"))
    as_read = {pk for pk, look_at in rows.values_list("pk", "next_look_at") if look_at == ending[pk]}
    return [step for step in steps if step.result is None or step.run.execution_id in as_read]


def _note_namings(steps: Sequence[Step]) -> None:
    """Keep whether workflows show our id, as the newest run of each does."""
    newest: dict[str, tuple[datetime, bool]] = {}
    for step in sorted(steps, key=lambda step: (step.run.dispatched_at, step.shows_id is False)):
        if step.run.naming_key and step.shows_id is not None:
            newest[step.run.naming_key] = (step.run.dispatched_at, step.shows_id)
    if not newest:
        return
    known = RunNaming.objects.in_bulk(list(newest))
    news = {key: seen for key, seen in newest.items() if _is_news(known.get(key), *seen)}
    update_each(
        RunNaming,
        ("shows_id", "dispatched_at"),
        ("key",),
        [(shows_id, at, key) for key, (at, shows_id) in news.items() if key in known],
    )
    insert_each(
        [
            RunNaming(key=key, shows_id=shows_id, dispatched_at=at)
            for key, (at, shows_id) in news.items()
            if key not in known
        ]
    )


def forget_namings(*, now: datetime) -> int:
    """What runs were called of which none has been seen for more than a year. The count."""
    return int(RunNaming.objects.filter(dispatched_at__lt=now - _NAMING_KEPT).delete()[0])


def _is_news(known: RunNaming | None, dispatched_at: datetime, shows_id: bool) -> bool:
    if known is None:
        return True
    if shows_id:
        # That it is still shown need not be written with each run.
        is_due = dispatched_at - known.dispatched_at >= _NAMING_EVERY
        return is_due or (dispatched_at > known.dispatched_at and not known.shows_id)
    # That it is not must outlive what is seen of older runs.
    return (dispatched_at, known.shows_id) > (known.dispatched_at, False)


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
        step.shows_id,
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
