"""CLAIM: queued rows become running ones, under a fresh token, and leave as deliveries.

The database side of SEND. A row count does not say which rows were changed, so the claim is read
back by its token. Only as many rows are claimed as can be sent at once: what is queued is safe to
hand over to a successor, what is claimed is not.

Whether a run may still go is judged here, at the last moment: a scheduled run that is older than the
grace by now, or whose job was paused or has expired since, is `missed`. The target is the job's now,
not when the run was planned, and the row says so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import QuerySet

from cronsched.core.crypto import SecretUnreadable, decrypt
from cronsched.core.db import DatabaseNow, locked_skipping, retry_conflicts, update_each
from jobs.choices import CatchUp, ExecutionType, Status, TriggerType
from jobs.engine import metrics, retries, slots
from jobs.engine.config import EngineConfig
from jobs.engine.github_tokens import Credential, TokenBook
from jobs.engine.lease import Term, prove
from jobs.engine.messages import Delivery, DeliveryResult, GitHubTarget, Outcome, Reason, TargetKind
from jobs.engine.rows import TOO_LATE_TEXT, end_as_missed
from jobs.engine.signing import signing_secrets
from jobs.engine.transports import github
from jobs.models import Job, JobExecution
from jobs.models.job import TARGET_FIELDS

logger = logging.getLogger(__name__)

_UNREADABLE = "This run could not be prepared: the job's settings cannot be read. Save the job again."
# Beyond the timeout: what recording a result may take before the run is given up for lost.
DEADLINE_MARGIN_S = 15.0
# Begun within this after the claim, or not at all: by the run's deadline RESCUE ends the run or queues its
# next attempt, and a process or a whole machine that stood still meanwhile must not send the first one then.
SEND_WITHIN_S = DEADLINE_MARGIN_S - 5
# What judging and sending need. Each column that is left out is one that is not converted, row by row.
CLAIM_FIELDS = (
    "status", "trigger_type", "execution_type", "target", "scheduled_for", "started_at", "attempt",
    "error_message", "response_status", "overrides",
    *(f"job__{name}" for name in (
        *TARGET_FIELDS, "metadata", "timeout_seconds", "is_active", "end_date", "catch_up",
        "signing_secret", "previous_signing_secret", "signing_secret_changed_at",
        "follow_run", "github_correlation_input",
    )),
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Claim:
    """`deliveries` are to be sent; `refused` failed before sending and are to be recorded."""

    deliveries: list[Delivery] = field(default_factory=list)
    refused: list[DeliveryResult] = field(default_factory=list)
    count: int = 0


def claim(
    *, now: datetime, term: Term, limit: int, config: EngineConfig, send_by: float | None = None
) -> Claim:
    """Claim up to `limit` sendable rows in one transaction. Raises LeaseLost.

    `send_by`, for the deliveries: the sender's steady clock before the claim, plus SEND_WITHIN_S.
    """
    rows = JobExecution.objects.sendable(now)
    fence = partial(prove, term)
    return _claim(rows, now=now, holder=term.holder, limit=limit, config=config, send_by=send_by, fence=fence)


def claim_offered(
    ids: Sequence[uuid.UUID], *, now: datetime, holder: str, config: EngineConfig, send_by: float
) -> Claim:
    """Claim those of `ids` that nobody has claimed yet, for a sender that holds no lease.

    Two senders that are told of one row race for the conditional update, and one of them gets it.
    `send_by` as for `claim`.
    """
    rows = JobExecution.objects.offered().filter(pk__in=ids)
    return _claim(rows, now=now, holder=holder, limit=len(ids), config=config, send_by=send_by)


@retry_conflicts
def _claim(
    sendable: QuerySet[JobExecution],
    *,
    now: datetime,
    holder: str,
    limit: int,
    config: EngineConfig,
    send_by: float | None,
    fence: Callable[[], None] = lambda: None,
) -> Claim:
    token = uuid.uuid4()
    with transaction.atomic():
        fence()
        ids = list(locked_skipping(sendable).values_list("id", flat=True)[:limit])
        if not ids:
            return Claim()
        JobExecution.objects.filter(pk__in=ids, status=Status.QUEUED).update(
            status=Status.RUNNING,
            claim_token=token,
            claimed_by=holder,
            started_at=now,
            deadline_at=DatabaseNow(config.timeout_s + DEADLINE_MARGIN_S),
        )
        rows = _read_back(token, now=now)
        why_not = _judge(rows, now=now, config=config)
        _drop([row for row in rows if row.pk in why_not and row.attempt == 1], why_not, now=now)
        going = [row for row in rows if row.pk not in why_not]
        _set_own_deadlines(going, config)
        _note_targets(going)
    metrics.note_lags(going)
    stopped = [
        _no_more(row, why_not[row.pk], token, now) for row in rows if row.pk in why_not and row.attempt > 1
    ]
    claimed = _to_claim(going, token=token, now=now, config=config, send_by=send_by)
    return Claim(deliveries=claimed.deliveries, refused=[*stopped, *claimed.refused], count=len(rows))


def _read_back(token: uuid.UUID, *, now: datetime) -> list[JobExecution]:
    """The claimed rows with their jobs. One whose job cannot be read, by a hand in SQL, ends alone."""
    rows = JobExecution.objects.filter(claim_token=token).select_related("job").only(*CLAIM_FIELDS)
    try:
        return list(rows)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("claim: a job cannot be read, its runs are looked for one by one")
    ids = JobExecution.objects.filter(claim_token=token).values_list("pk", flat=True)
    return [row for pk in list(ids) if (row := _read_one(rows, pk, now)) is not None]


def _read_one(rows: QuerySet[JobExecution], pk: uuid.UUID, now: datetime) -> JobExecution | None:
    try:
        return rows.get(pk=pk)
    except (ValueError, TypeError) as error:
        job_id = JobExecution.objects.values_list("job_id", flat=True).get(pk=pk)
        logger.warning(
            "claim: run ended, its job cannot be read execution=%s job=%s error=%s", pk, job_id, error
        )
    metrics.ENDED.labels(Status.FAILED.value).inc()
    JobExecution.objects.filter(pk=pk).update(
        status=Status.FAILED,
        reason=Reason.INTERNAL.value,
        error_message=_UNREADABLE,
        completed_at=now,
        deadline_at=None,
        overrides="",
    )
    return None


def _judge(rows: list[JobExecution], *, now: datetime, config: EngineConfig) -> dict[uuid.UUID, Reason]:
    """Which claimed rows must not be sent after all, and why."""
    oldest = now - timedelta(seconds=config.grace_s)
    return {row.pk: reason for row in rows if (reason := _why_not(row, oldest))}


def _why_not(row: JobExecution, oldest: datetime) -> Reason:
    if row.trigger_type != TriggerType.SCHEDULED or row.scheduled_for is None:
        return Reason.NONE
    if not slots.is_within(row.scheduled_for, row.job.end_date):
        return Reason.EXPIRED
    if not row.job.is_active:
        return Reason.PAUSED
    # What waits for its next attempt was sent in time, and a job that catches up wants what is late.
    is_late = row.attempt == 1 and row.job.catch_up == CatchUp.SKIP and row.scheduled_for < oldest
    return Reason.MISFIRE if is_late else Reason.NONE


_WHY_NOT_TEXT = {
    Reason.PAUSED: "Not sent: the job was paused before this run could start.",
    Reason.EXPIRED: "Not sent: the job's end date was moved before this slot, after it had come due.",
    Reason.MISFIRE: TOO_LATE_TEXT,
}


_NO_MORE_TEXT = {
    Reason.PAUSED: "Not tried again: the job was paused meanwhile.",
    Reason.EXPIRED: "Not tried again: the job's end date was moved before this slot meanwhile.",
}


def _no_more(row: JobExecution, reason: Reason, token: uuid.UUID, now: datetime) -> DeliveryResult:
    """The end of a run between two attempts: it was sent, so that it cannot be missed any more."""
    text = f"{_NO_MORE_TEXT[reason]} {retries.fault_in(row.error_message)}"
    result = _refusal(row, token, now, reason, text)
    return replace(result, attempt=row.attempt - 1, response_status=row.response_status)


def _drop(rows: list[JobExecution], why_not: Mapping[uuid.UUID, Reason], *, now: datetime) -> None:
    """Turn claimed rows that must not go into missed ones."""
    by_reason: dict[Reason, list[JobExecution]] = defaultdict(list)
    for row in rows:
        by_reason[why_not[row.pk]].append(row)
    for reason, group in by_reason.items():
        end_as_missed(group, reason=reason, text=_WHY_NOT_TEXT[reason], now=now)


def _note_targets(rows: list[JobExecution]) -> None:
    """Where a job's target was changed after its run was planned, the run tells what is called."""
    changed = []
    for row in rows:
        with contextlib.suppress(SecretUnreadable, ValueError):
            called = _called(row, _overrides(row))
            if (row.execution_type, row.target) != (called.execution_type, called.target):
                row.execution_type, row.target = called.execution_type, called.target
                changed.append((row.execution_type, row.target, row.pk))
    update_each(JobExecution, ("execution_type", "target"), ("id",), changed)


def _overrides(row: JobExecution) -> dict[str, Any]:
    """This run's own target, inputs and token. Raises SecretUnreadable."""
    return json.loads(decrypt(row.overrides)) if row.overrides else {}


def _called(row: JobExecution, own: Mapping[str, Any]) -> Job:
    return row.job.with_target(own) if own else row.job


def _set_own_deadlines(rows: list[JobExecution], config: EngineConfig) -> None:
    """Runs of jobs with a timeout of their own, one statement per distinct timeout."""
    own: dict[int, list[uuid.UUID]] = defaultdict(list)
    for row in rows:
        if row.job.timeout_seconds is not None:
            own[row.job.timeout_seconds].append(row.pk)
    for timeout_s, ids in own.items():
        JobExecution.objects.filter(pk__in=ids).update(deadline_at=DatabaseNow(timeout_s + DEADLINE_MARGIN_S))


def _to_claim(
    going: list[JobExecution], *, token: uuid.UUID, now: datetime, config: EngineConfig, send_by: float | None
) -> Claim:
    result, book = Claim(), TokenBook(config)
    for row in going:
        try:
            made = to_delivery(row, token=token, config=config, book=book, send_by=send_by)
            result.deliveries.append(made)
        except SecretUnreadable as error:
            result.refused.append(_refusal(row, token, now, Reason.CONFIGURATION, str(error)))
        except Exception:
            # A row that cannot be read must not stop the others of its batch.
            logger.exception("claim: delivery not built execution=%s", row.pk)
            result.refused.append(_refusal(row, token, now, Reason.INTERNAL, _UNREADABLE))
    return result


def to_delivery(
    row: JobExecution,
    *,
    token: uuid.UUID,
    config: EngineConfig,
    book: TokenBook,
    send_by: float | None = None,
) -> Delivery:
    """Everything that one attempt of `row` needs. Raises SecretUnreadable."""
    return delivery_of(row, _overrides(row), token=token, config=config, book=book, send_by=send_by)


def delivery_of(
    row: JobExecution,
    overrides: Mapping[str, Any],
    *,
    token: uuid.UUID,
    config: EngineConfig,
    book: TokenBook,
    send_by: float | None = None,
) -> Delivery:
    """As `to_delivery`, of a row that may be stored nowhere: a test run is called as a run is."""
    job, called = row.job, _called(row, overrides)
    metadata: Mapping[str, Any] = overrides.get("metadata", job.metadata or {})
    is_github = called.execution_type == ExecutionType.GITHUB_ACTIONS
    return Delivery(
        execution_id=row.pk,
        claim_token=token,
        kind=TargetKind.GITHUB_ACTIONS if is_github else TargetKind.WEBHOOK,
        job_id=row.job_id,
        attempt=row.attempt,
        timeout_s=float(job.timeout_seconds or config.timeout_s),
        send_by=send_by,
        payload=metadata,
        target_url="" if is_github else called.target_url,
        signing_secrets=()
        if is_github
        else signing_secrets(job, now=row.started_at, default=config.signing_secret),
        github=_github_target(job, called, metadata, overrides, config, book) if is_github else None,
    )


def _github_target(
    job: Job,
    called: Job,
    metadata: Mapping[str, Any],
    overrides: Mapping[str, Any],
    config: EngineConfig,
    book: TokenBook,
) -> GitHubTarget:
    owner = called.github_owner or config.github_owner
    own = overrides.get("github_token")
    asks = Credential(name="", token=own) if own else book.find(owner, called.github_repo)
    return GitHubTarget(
        api_url=config.github_api_url,
        owner=owner,
        repo=called.github_repo,
        workflow=called.github_workflow_name,
        ref=github.choose_ref(overrides.get("ref"), metadata, config.github_ref),
        inputs=github.merge_inputs(metadata, overrides.get("inputs")),
        token=asks.token,
        app=asks.app,
        is_followed=job.follow_run,
        correlation_input=job.id_input_of(called.target),
    )


def _refusal(row: JobExecution, token: uuid.UUID, now: datetime, reason: Reason, text: str) -> DeliveryResult:
    return DeliveryResult(
        execution_id=row.pk,
        claim_token=token,
        outcome=Outcome.FAILED,
        started_at=now,
        completed_at=now,
        duration_s=0.0,
        attempt=row.attempt,
        reason=reason,
        error_message=text,
    )
