"""What a run that was seen, or not seen, means for its execution. Pure; all times are aware UTC.

`success`, `neutral` and `skipped` are success, every other conclusion a failure. `max_retries` is
about dispatches: a run that ended badly is never dispatched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from jobs.engine.follow.reading import FailedJob, RunSeen
from jobs.engine.messages import DeliveryResult, Outcome, Reason

FIRST_GAP: Final = timedelta(seconds=5)
LAST_GAP: Final = timedelta(seconds=60)
# Looks are a quarter of the run's age apart: 5 s for its first 20 s, 60 s from four minutes on.
_AGE_PER_GAP: Final = 4
# A dispatch's run is there within seconds. Not seen for so long after the dispatch was over, by answers of
# GitHub, it was not started: where runs of this workflow are known to show our id.
FIND_FOR: Final = timedelta(minutes=5)
# How long a run that ended badly is looked at, lest somebody runs it again.
WATCH_FOR: Final = timedelta(hours=1)
GOOD: Final = frozenset({"success", "neutral", "skipped"})
_UNCERTAIN: Final = "Whether GitHub started a run is not known: none shows this execution's id, but {why}."
_LOOK_THERE: Final = "Look at the repository's Actions page before running it again."
_NEVER_SHOWN: Final = "no earlier run has shown that this workflow puts it into its name"
_TOO_SHORT: Final = "the longest wait was over before a run can be said to be missing"
_NOT_IN_NAME: Final = (
    "Dispatched, outcome not followed: no run shows this execution's id in its name. Put the input "
    "that gets the id into the workflow's run-name."
)
_MOST_JOBS: Final = 10
_MOST_STEPS: Final = 5
_LINE: Final = "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one look came to: what is known now, when the next look is, and the end, where there is one.

    `is_over`: there is nothing to look for any more. `not_before` postpones the next look. `is_unnamed`: an
    end was seen, and is recorded once the names of its failed jobs are known.
    """

    run: Followed
    seen: RunSeen | None = None
    error: str = ""
    result: DeliveryResult | None = None
    is_over: bool = False
    is_unnamed: bool = False
    not_before: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the run has ended, and nothing of it has to be found out any more."""
        return self.seen is not None and self.seen.is_completed and not self.is_unnamed

    @property
    def shows_id(self) -> bool | None:
        """Whether the run's name shows our id; None while no name was seen."""
        if self.seen is None or not self.seen.title:
            return self.run.shows_id
        return self.seen.shows(self.run.execution_id)

    @property
    def is_dispatched_again(self) -> bool:
        may_be = self.run.is_open and self.run.may_dispatch_again
        return self.result is not None and self.result.is_retryable and may_be


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """One followed run as it was read: the execution's part, and GitHub's as far as it is known."""

    execution_id: UUID
    claim_token: UUID
    started_at: datetime
    attempt: int
    response_status: int | None
    # Whether the execution still waits for an end.
    is_open: bool
    has_failed: bool
    # What is left of `max_retries`, for a dispatch that was never taken.
    may_dispatch_again: bool
    owner: str
    repo: str
    # The file that was dispatched, or the workflow's number.
    workflow: str
    own_token: str
    is_finding: bool
    is_watching: bool
    run_id: int | None
    html_url: str
    run_attempt: int
    run_status: str
    conclusion: str
    recorded_attempt: int
    dispatched_at: datetime
    next_look_at: datetime
    deadline_at: datetime
    follow_for: timedelta
    last_error: str
    # Whose run-name should show our id; whether this run's does, once it was seen; whether others' do.
    naming_key: str
    shows_id: bool | None
    do_others_show_id: bool

    @property
    def is_told(self) -> bool:
        """Whether an end is known already that is not recorded yet: the webhook was faster."""
        return self.run_status == "completed" and self.run_attempt > self.recorded_attempt

    @property
    def was_accepted(self) -> bool:
        return self.response_status in (200, 204)


def step(run: Followed, seen: RunSeen, failed: Sequence[FailedJob], *, now: datetime) -> Step:
    """What a run that was seen comes to."""
    if not seen.is_completed or seen.attempt <= run.recorded_attempt:
        return unfinished(run, seen=seen, now=now)
    result = ended(run, seen, failed, now=now)
    # Nobody is told twice: a later attempt is recorded where it ends otherwise.
    is_news = run.is_open or (result.outcome is Outcome.FAILED) != run.has_failed
    return Step(
        run=run, seen=seen, result=result if is_news else None, is_over=not is_news and not run.has_failed
    )


def unfinished(run: Followed, *, now: datetime, seen: RunSeen | None = None, error: str = "") -> Step:
    """No end was seen: wait, or give up where the longest wait is over."""
    if now < run.deadline_at:
        return Step(run=run, seen=seen, error=error)
    if not run.is_open:
        return Step(run=run, seen=seen, error=error, is_over=True)
    if seen is not None:
        url = seen.html_url or run.html_url
        run = replace(run, run_id=seen.run_id, run_status=seen.status, html_url=url)
    return Step(run=run, seen=seen, error=error, result=given_up(replace(run, last_error=error), now=now))


def missing(run: Followed, *, for_long: timedelta, now: datetime) -> Step:
    """GitHub answered, and no run shows our id; nor did one `for_long`, by a clock that nobody sets.

    The dispatch was noted by a clock that may have been set since, or by another machine's.
    """
    is_long_enough = min(for_long, now - run.dispatched_at) >= FIND_FOR
    if not is_long_enough and now < run.deadline_at:
        return Step(run=run, error=run.last_error)
    if not run.is_open:
        return Step(run=run, is_over=True)
    doubt = "" if run.do_others_show_id else _NEVER_SHOWN
    return Step(run=run, result=not_found(run, doubt=doubt if is_long_enough else _TOO_SHORT, now=now))


def gap(age: timedelta) -> timedelta:
    """How long after a look the next one follows."""
    return min(max(age / _AGE_PER_GAP, FIRST_GAP), LAST_GAP)


def next_look(
    dispatched_at: datetime, *, deadline_at: datetime, is_watching: bool, now: datetime
) -> datetime:
    """On a multiple of five seconds, so that runs of one repository are looked at together."""
    wanted = now + (LAST_GAP if is_watching else gap(now - dispatched_at))
    step = FIRST_GAP.total_seconds()
    seconds = -(-wanted.timestamp() // step) * step
    return min(datetime.fromtimestamp(seconds, UTC), max(deadline_at, now + FIRST_GAP))


def ended(run: Followed, seen: RunSeen, failed: Sequence[FailedJob], *, now: datetime) -> DeliveryResult:
    """The end of the run as the execution's."""
    is_good = seen.conclusion in GOOD
    at = min(max(seen.updated_at or now, run.started_at), now)
    return _result(
        run,
        outcome=Outcome.SUCCESS if is_good else Outcome.FAILED,
        reason=Reason.NONE if is_good else Reason.CONCLUSION,
        completed_at=at,
        error_message="" if is_good else _failure(seen, failed),
        output=_story(seen, failed),
        is_later=run.recorded_attempt > 0 or not run.is_open,
    )


def given_up(run: Followed, *, now: datetime) -> DeliveryResult:
    """The longest wait is over."""
    hours = f"{run.follow_for.total_seconds() / 3600:.3g} h"
    why = f" The last look: {run.last_error}" if run.last_error else ""
    if run.run_id is None:
        return _never_found(run, hours, why, now=now)
    last = f"it was {run.run_status} when it was last seen" if run.run_status else "it was never seen"
    link = f" {run.html_url}" if run.html_url else ""
    return _result(
        run,
        outcome=Outcome.FAILED,
        reason=Reason.TIMEOUT,
        completed_at=now,
        error_message=f"The workflow had not ended within {hours}: {last}.{why}{link}",
        output=run.html_url,
    )


def not_found(run: Followed, *, doubt: str, now: datetime) -> DeliveryResult:
    """GitHub shows no run with our id. Without a `doubt` none was started, and another attempt may follow.

    With one nobody knows, and a second dispatch might be a second run.
    """
    if run.was_accepted:
        return _not_followed(run, _NOT_IN_NAME, now=now)
    if doubt:
        text = f"{_UNCERTAIN.format(why=doubt)} {_LOOK_THERE} {run.last_error}".rstrip()
        return _uncertain(run, text, now=now)
    return _result(
        run,
        outcome=Outcome.FAILED,
        reason=Reason.NOT_STARTED,
        completed_at=now,
        error_message=(
            f"GitHub started no run: none with this execution's id has appeared within "
            f"{FIND_FOR.total_seconds() / 60:.0f} minutes. {run.last_error}"
        ).rstrip(),
        is_retryable=True,
    )


def _never_found(run: Followed, hours: str, why: str, *, now: datetime) -> DeliveryResult:
    """It could not be looked for: that says nothing about the run, and no more about the dispatch."""
    if run.was_accepted:
        text = (
            f"Dispatched, outcome not followed: no run with this execution's id was found within the longest "
            f"wait ({hours}).{why}"
        )
        return _not_followed(run, text, now=now)
    text = (
        f"Whether GitHub started a run is not known: none with this execution's id was found within the "
        f"longest wait ({hours}). Look at the repository's Actions page before running it again.{why}"
    )
    return _uncertain(run, text, now=now)


def _not_followed(run: Followed, text: str, *, now: datetime) -> DeliveryResult:
    """GitHub took the dispatch, which is all that is known: a success."""
    return _result(run, outcome=Outcome.SUCCESS, completed_at=now, output=text)


def _uncertain(run: Followed, text: str, *, now: datetime) -> DeliveryResult:
    """Whether GitHub took the dispatch is not known, and never will be: nothing is sent again."""
    return _result(run, outcome=Outcome.FAILED, reason=Reason.UNCERTAIN, completed_at=now, error_message=text)


def _result(
    run: Followed,
    *,
    outcome: Outcome,
    completed_at: datetime,
    reason: Reason = Reason.NONE,
    error_message: str = "",
    output: str = "",
    is_retryable: bool = False,
    is_later: bool = False,
) -> DeliveryResult:
    return DeliveryResult(
        execution_id=run.execution_id,
        claim_token=run.claim_token,
        outcome=outcome,
        started_at=run.started_at,
        completed_at=completed_at,
        duration_s=max((completed_at - run.started_at).total_seconds(), 0.0),
        attempt=run.attempt,
        reason=reason,
        response_status=run.response_status,
        error_message=error_message,
        output=output,
        is_retryable=is_retryable,
        is_later=is_later,
    )


def _failure(seen: RunSeen, failed: Sequence[FailedJob]) -> str:
    where = "; ".join(_named(job) for job in failed[:_MOST_JOBS])
    more = f"; and {len(failed) - _MOST_JOBS} more" if len(failed) > _MOST_JOBS else ""
    jobs = f": {where}{more}" if where else ""
    return f"The workflow ended as {seen.conclusion or 'unknown'}{jobs}. {seen.html_url}".rstrip()


def _named(job: FailedJob) -> str:
    steps = ", ".join(f'"{step}"' for step in job.steps[:_MOST_STEPS])
    said = "" if job.conclusion == "failure" else f" ({job.conclusion})"
    return f'job "{job.name}"{said}, step {steps}' if steps else f'job "{job.name}"{said}'


def _story(seen: RunSeen, failed: Sequence[FailedJob]) -> str:
    lines = [seen.html_url, f"Conclusion: {seen.conclusion or 'unknown'} (attempt {seen.attempt})"]
    lines += [f"Failed: {_named(job)}" for job in failed]
    return _LINE.join(line for line in lines if line)
