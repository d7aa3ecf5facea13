"""A test run: one real call to a target that may belong to no job yet. Nothing is stored.

The same delivery, transports and guarded client as a scheduled run, so that what works here works
there. It blocks up to the job's timeout, and is never called inside a transaction.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.conf import settings

from cronsched.core.crypto import SecretUnreadable
from cronsched.core.errors import InvalidInput, Throttled
from jobs.choices import ExecutionType
from jobs.engine import config as engine_config
from jobs.engine.claim import delivery_of
from jobs.engine.github_tokens import TokenBook
from jobs.engine.messages import Delivery, DeliveryResult, Outcome, Reason, TargetKind
from jobs.engine.send import SenderConfig, send_now
from jobs.models import Job, JobExecution
from jobs.models.job import TARGET_FIELDS
from jobs.services.fields import address_policy
from jobs.services.validation import clean_run

# A test run holds its web thread until the target answers; the others must stay free.
TEST_RUNS_AT_ONCE = 4
# A proxy before the site gives up after a minute. Whoever waits longer runs the job: that page stays.
TIMEOUT_MOST_S = 55.0
BUSY = f"{TEST_RUNS_AT_ONCE} test runs are under way; try again when one has ended."
_SEATS = threading.BoundedSemaphore(TEST_RUNS_AT_ONCE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """`status_code` is None where no answer came; `message` says what happened, to a person.

    `duration_s` is the whole call's; `output` is the beginning of the answer, as a run would keep it.
    """

    ok: bool
    kind: TargetKind
    status_code: int | None
    message: str
    duration_s: float
    output: str


def try_target(data: Mapping[str, Any], *, now: datetime, job: Job | None = None) -> TrialResult:
    """Call the target that `data` describes, as a job's fields do, and say what came of it.

    It is called as a run of `job` would be: within its timeout, signed with its secret. Throttled where
    too many are under way.
    """
    own = clean_run(data, stored=dict.fromkeys(TARGET_FIELDS, ""))
    delivery = _delivery(job or Job(), own, now=now)
    with _seat():
        result = send_now(delivery, config=sender_config())
    return TrialResult(
        ok=result.outcome is Outcome.SUCCESS,
        kind=delivery.kind,
        status_code=result.response_status,
        message=_message(result, job or Job(), waited_s=delivery.timeout_s),
        duration_s=result.duration_s,
        output=result.output,
    )


@contextmanager
def _seat() -> Iterator[None]:
    if not _SEATS.acquire(blocking=False):
        raise Throttled(BUSY, retry_after_s=int(settings.WEBHOOK_TIMEOUT_SECONDS) + 1)
    try:
        yield
    finally:
        _SEATS.release()


def sender_config() -> SenderConfig:
    """How outgoing calls are guarded, as the operator decided."""
    return SenderConfig(policy=address_policy(), allow_http=settings.WEBHOOK_ALLOW_HTTP)


def _delivery(job: Job, own: Mapping[str, Any], *, now: datetime) -> Delivery:
    """What CLAIM would make of a run of `job` with these values of its own; nothing of it is stored."""
    config = engine_config.from_settings()
    called = copy(job)
    for field in (*TARGET_FIELDS, "metadata"):
        setattr(called, field, own.get(field, {} if field == "metadata" else ""))
    run = JobExecution(job=called, started_at=now)
    try:
        delivery = delivery_of(run, own, token=uuid.uuid4(), config=config, book=TokenBook(config))
    except SecretUnreadable as error:
        is_github = called.execution_type == ExecutionType.GITHUB_ACTIONS
        field = "github_token" if is_github else "signing_secret"
        raise InvalidInput(str(error), field=field) from None
    # The answer to the dispatch is what a test shows: nobody stays to see the workflow's run end.
    github = replace(delivery.github, is_followed=False) if delivery.github else None
    most_s = max(TIMEOUT_MOST_S, config.timeout_s)
    return replace(delivery, github=github, timeout_s=min(delivery.timeout_s, most_s))


def _message(result: DeliveryResult, job: Job, *, waited_s: float) -> str:
    if result.outcome is Outcome.SUCCESS:
        return f"The target answered {result.response_status}."
    text = result.error_message or "The call was not made."
    if result.reason is Reason.TIMEOUT and (job.timeout_seconds or 0) > waited_s:
        text += f" A test waits {waited_s:g} s at most; a run of this job waits {job.timeout_seconds} s."
    return text
