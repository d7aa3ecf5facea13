"""When a failed attempt is made again, and how long it waits. Pure; RECORD and RESCUE ask.

Only a job with `max_retries` repeats anything. The transport says whether another attempt may help
(`DeliveryResult.is_retryable`): never for a 4xx but 408, 425 and 429, never for what somebody must
change first. A run whose sender died counts as one attempt, except at GitHub: a dispatch has no id
there, so a second one would run the workflow twice.

Waits are exponential with full jitter (drawn from zero to the bound), so that jobs that failed
together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Final

from jobs.engine.messages import DeliveryResult, Outcome, Reason, TargetKind

# The bound doubles with each attempt: 5 s, 10 s, 20 s, ... up to an hour.
FIRST_BOUND_S: Final = 5.0
MOST_S: Final = 3600.0
_NOTE_END: Final = " UTC. "

Uniform = Callable[[float, float], float]


def may_repeat(result: DeliveryResult, *, max_retries: int, kind: str) -> bool:
    """Whether the attempt that `result` tells of is followed by another."""
    if result.outcome is not Outcome.FAILED or result.attempt > max_retries:
        return False
    if result.reason is Reason.INTERRUPTED:
        return kind == TargetKind.WEBHOOK
    return result.is_retryable


def wait_s(result: DeliveryResult, *, uniform: Uniform = random.uniform) -> float:
    """Seconds until the next attempt; never less than `Retry-After` asked for."""
    if result.retry_after_s is not None:
        return result.retry_after_s + uniform(0.0, FIRST_BOUND_S)
    # An exponent beyond the bound would only overflow.
    bound_s = min(MOST_S, FIRST_BOUND_S * 2.0 ** min(result.attempt - 1, 20))
    return uniform(0.0, bound_s)


def note(fault: str, *, attempt: int, max_retries: int, next_at: datetime) -> str:
    """What a waiting run shows: which attempt failed, when the next one follows, and why."""
    which = f"Attempt {attempt} of {1 + max_retries} failed"
    return f"{which}; the next follows at {next_at:%H:%M:%S}{_NOTE_END}{fault}"


def fault_in(note: str) -> str:
    """Why the last attempt failed, out of what `note` wrote."""
    return note.partition(_NOTE_END)[2]
