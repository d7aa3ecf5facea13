"""A test run: one real call to a target that may belong to no job yet. Nothing is stored.

The same transports and the same guarded client as a scheduled run, so that what works here works
there. It blocks up to WEBHOOK_TIMEOUT_SECONDS, and is never called inside a transaction.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from cronsched.core.crypto import SecretUnreadable
from cronsched.core.errors import InvalidInput, Throttled
from jobs.engine import config as engine_config
from jobs.engine.github_tokens import Credential, TokenBook
from jobs.engine.messages import Delivery, DeliveryResult, GitHubTarget, Outcome, TargetKind
from jobs.engine.send import SenderConfig, send_now
from jobs.engine.transports import github
from jobs.models import Job
from jobs.models.job import TARGET_FIELDS
from jobs.services.fields import address_policy
from jobs.services.validation import clean_run

# A test run holds its web thread until the target answers; the others must stay free.
TEST_RUNS_AT_ONCE = 4
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


def try_target(data: Mapping[str, Any]) -> TrialResult:
    """Call the target that `data` describes, as a job's fields do, and say what came of it.

    Throttled where too many are under way.
    """
    delivery = _delivery(clean_run(data, stored=dict.fromkeys(TARGET_FIELDS, "")))
    with _seat():
        result = send_now(delivery, config=sender_config())
    return TrialResult(
        ok=result.outcome is Outcome.SUCCESS,
        kind=delivery.kind,
        status_code=result.response_status,
        message=_message(result),
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


def _delivery(values: Mapping[str, Any]) -> Delivery:
    config = engine_config.from_settings()
    # Never saved: it knows which of two targets is called.
    job = Job(**{field: values.get(field, "") for field in TARGET_FIELDS})
    metadata = values.get("metadata", {})
    kind = TargetKind(job.execution_type.value)
    is_github = kind is TargetKind.GITHUB_ACTIONS
    secrets = (config.signing_secret,) if config.signing_secret and not is_github else ()
    return Delivery(
        execution_id=uuid.uuid4(),
        claim_token=uuid.uuid4(),
        kind=kind,
        timeout_s=config.timeout_s,
        payload=metadata,
        target_url="" if is_github else job.target_url,
        signing_secrets=secrets,
        github=_github(job, values, metadata, config) if is_github else None,
    )


def _github(
    job: Job, values: Mapping[str, Any], metadata: Mapping[str, Any], config: engine_config.EngineConfig
) -> GitHubTarget:
    owner = job.github_owner or config.github_owner
    own = values.get("github_token")
    asks = Credential(name="", token=own) if own else _token_for(owner, job.github_repo, config)
    return GitHubTarget(
        api_url=config.github_api_url,
        owner=owner,
        repo=job.github_repo,
        workflow=job.github_workflow_name,
        ref=github.choose_ref(values.get("ref"), metadata, config.github_ref),
        inputs=github.merge_inputs(metadata, values.get("inputs")),
        token=asks.token,
        app=asks.app,
    )


def _token_for(owner: str, repo: str, config: engine_config.EngineConfig) -> Credential:
    try:
        return TokenBook(config).find(owner, repo)
    except SecretUnreadable as error:
        raise InvalidInput(str(error), field="github_token") from None


def _message(result: DeliveryResult) -> str:
    if result.outcome is Outcome.SUCCESS:
        return f"The target answered {result.response_status}."
    return result.error_message or "The call was not made."
