"""What the stages of a firing hand to each other: plain frozen values.

A `Delivery` carries everything one attempt needs, so that sending touches no database; a
`DeliveryResult` carries everything RECORD needs, so that recording touches no network. Nothing
here may import Django: the import rules check it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class TargetKind(StrEnum):
    WEBHOOK = "webhook"
    GITHUB_ACTIONS = "github_actions"


class Outcome(StrEnum):
    """What became of one attempt."""

    SUCCESS = "success"
    FAILED = "failed"
    # GitHub has taken the dispatch, or may have: what becomes of the workflow's run decides.
    FOLLOWED = "followed"
    # No byte left this process: the row may safely go back to the queue.
    NOT_SENT = "not_sent"


class Reason(StrEnum):
    """Why a run did not succeed, for filters, alerts and the retry rule; text is for people."""

    NONE = ""
    HTTP_STATUS = "http_status"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    DNS = "dns"
    BLOCKED_ADDRESS = "blocked_address"
    CONFIGURATION = "configuration"
    INTERRUPTED = "interrupted"
    MISFIRE = "misfire"
    OVERLAP = "overlap"
    PAUSED = "paused"
    EXPIRED = "expired"
    # The workflow's run ended otherwise than well; GitHub started none; whether it did is not known.
    CONCLUSION = "conclusion"
    NOT_STARTED = "not_started"
    UNCERTAIN = "uncertain"
    INTERNAL = "internal"


@dataclass(frozen=True, kw_only=True, slots=True)
class GitHubApp:
    """An installation of a GitHub App: what short-lived tokens are asked for with."""

    app_id: str
    installation_id: str
    private_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class GitHubTarget:
    """One workflow file on one repository. `token` is empty where none is configured.

    An `app` is asked for a token just before the call. `is_followed`: the run's own end is wanted;
    `correlation_input` is the input that gets the execution's id, to show it in the run's name.
    """

    api_url: str
    owner: str
    repo: str
    workflow: str
    ref: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    app: GitHubApp | None = None
    is_followed: bool = False
    correlation_input: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitHubRunRef:
    """The run that a dispatch started, as far as GitHub has told: without an id it has to be looked for.

    `naming_key` says whose run-name should show our id; "" where no id was sent.
    """

    run_id: int | None = None
    html_url: str = ""
    naming_key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One attempt of one run. Exactly one of `target_url` and `github` is set, after `kind`."""

    execution_id: UUID
    claim_token: UUID
    kind: TargetKind
    # For the log; None where there is no such job yet: a test run.
    job_id: UUID | None = None
    attempt: int = 1
    # Total seconds for the attempt: DNS, connect, TLS, request and response together.
    timeout_s: float = 30.0
    # By the sender's steady clock, when it may not be begun any more, and its first byte not leave when
    # `timeout_s` more have gone by; None: at any time.
    send_by: float | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    target_url: str = ""
    # Standard Webhooks secrets; each signs, so that a receiver can rotate. Empty: unsigned.
    signing_secrets: tuple[str, ...] = field(default=(), repr=False)
    github: GitHubTarget | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryResult:
    """What one attempt came to. Times are aware UTC; `duration_s` is from a monotonic clock."""

    execution_id: UUID
    claim_token: UUID
    outcome: Outcome
    started_at: datetime
    completed_at: datetime
    duration_s: float
    # Counts from 1, as the delivery's.
    attempt: int = 1
    reason: Reason = Reason.NONE
    response_status: int | None = None
    error_message: str = ""
    output: str = ""
    is_retryable: bool = False
    # Seconds the receiver asked to wait (`Retry-After`), None when it did not.
    retry_after_s: float | None = None
    # The end of another attempt of a GitHub run, which may replace what was recorded of an earlier one.
    is_later: bool = False
    # Of a FOLLOWED one.
    github_run: GitHubRunRef | None = None
