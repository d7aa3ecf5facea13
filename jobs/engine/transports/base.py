"""What the transports share: the verdict on one attempt, waiting times, and keeping secrets in.

A transport is two pure functions. `build` turns a delivery into a request, or into a verdict where
nothing can be sent; `interpret` turns what the network gave into a verdict. Neither raises, reads a
clock or a setting, or touches a socket. One that needs more than one call (a token first, a second
try in other words) says so in an `exchange` of its own, in the place of the one below.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

from cronsched.core.http.client import HttpRequest, HttpResult
from cronsched.core.http.faults import Fault
from cronsched.core.masking import USERINFO
from cronsched.core.text import strip_unstorable
from jobs.engine.messages import Delivery, GitHubRunRef, Outcome, Reason

# A receiver may ask for more; a job waits no longer than this for its next attempt.
MAX_RETRY_AFTER_S: Final = 24 * 60 * 60.0
CUT_MARK: Final = "\n[cut: only the first 64 KiB are kept]"
REDACTED: Final = "[redacted]"

# Statuses that say "not now" rather than "not so": RFC 9110 (408, 503), 8470 (425), 6585 (429).
_RETRYABLE: Final = frozenset({408, 425, 429})
_MAX_MESSAGE_CHARS: Final = 2000
# Shorter ones are no secrets, and would be found in every other word.
_MIN_SECRET_CHARS: Final = 4
# Made once: `json.dumps` would make one for each call.
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The part of a result that a transport decides; identity and times are the sender's."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    response_status: int | None = None
    error_message: str = ""
    output: str = ""
    is_retryable: bool = False
    retry_after_s: float | None = None
    github_run: GitHubRunRef | None = None


# Makes one call; the second argument is the gate that is asked before the first byte.
Send = Callable[..., Awaitable[HttpResult]]
Gate = Callable[[], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What an exchange may use: the client's `send`; this attempt's gate and beginning; the clock."""

    send: Send
    gate: Gate
    clock: Callable[[], datetime]
    started_at: datetime
    user_agent: str


class Transport(Protocol):
    def build(self, delivery: Delivery, *, now: datetime, user_agent: str) -> HttpRequest | Verdict: ...

    def interpret(self, delivery: Delivery, result: HttpResult, *, now: datetime) -> Verdict: ...


async def exchange(transport: Transport, delivery: Delivery, line: Line) -> Verdict:
    """Build, send, interpret: one call."""
    request = transport.build(delivery, now=line.started_at, user_agent=line.user_agent)
    if isinstance(request, Verdict):
        return request
    result = await line.send(request, gate=line.gate)
    return transport.interpret(delivery, result, now=line.clock())


def misconfigured(message: str) -> Verdict:
    """Nothing was sent, and sending it again would not help: somebody must change something."""
    return Verdict(outcome=Outcome.FAILED, reason=Reason.CONFIGURATION, error_message=message)


def faulted(result: HttpResult, fault: Fault, *, message: str, is_retryable: bool) -> Verdict:
    """A verdict for a call without a whole answer."""
    return Verdict(
        outcome=Outcome.NOT_SENT if fault is Fault.WITHHELD else Outcome.FAILED,
        reason=Reason.NONE if fault is Fault.WITHHELD else Reason(fault.value),
        response_status=result.status,
        error_message=message,
        output=output_of(result),
        is_retryable=is_retryable,
    )


def output_of(result: HttpResult) -> str:
    return result.body + CUT_MARK if result.is_truncated else result.body


def status_text(status: int) -> str:
    """`503 Service Unavailable`."""
    return f"{status} {_PHRASES.get(status, '')}".rstrip()


def is_retryable_status(status: int) -> bool:
    return status in _RETRYABLE or status >= 500


def retry_after_s(result: HttpResult, *, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date; None without a readable one."""
    text = result.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # Cut before converting: the header may hold a thousand digits, and any twenty are too many.
        return within_a_day(float(text[:20]))
    try:
        at = parsedate_to_datetime(text)
        return within_a_day((at - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        # TypeError: a date without a zone, which HTTP does not know.
        return None


def within_a_day(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON. Raises ValueError or TypeError for what JSON cannot hold (NaN, a set)."""
    plain = dict(value)
    try:
        return _JSON.encode(plain).encode()
    except UnicodeEncodeError:
        # A lone surrogate: JSON can escape what UTF-8 cannot carry.
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()


def finished(verdict: Verdict, *, secrets: Iterable[str], is_truncated: bool = False) -> Verdict:
    """The verdict as it may be stored and shown: without secrets, NUL or lone surrogates."""
    spellings = _spellings(tuple(secrets))
    message = USERINFO.sub(REDACTED, redact(strip_unstorable(verdict.error_message), spellings))
    output = redact(strip_unstorable(verdict.output), spellings)
    if is_truncated:
        output = _redact_cut(output, spellings)
    return replace(verdict, error_message=message[:_MAX_MESSAGE_CHARS], output=output)


def redact(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def _redact_cut(output: str, spellings: tuple[str, ...]) -> str:
    """Take away the beginning of a secret that the limit cut in two."""
    kept = output.removesuffix(CUT_MARK)
    for secret in spellings:
        for size in range(len(secret) - 1, _MIN_SECRET_CHARS - 1, -1):
            if kept.endswith(secret[:size]):
                return kept[:-size] + REDACTED + CUT_MARK
    return output


@lru_cache(maxsize=1024)
def _spellings(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """A secret as it may come back, the longest first: as it is, inside JSON, inside a URL."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) >= _MIN_SECRET_CHARS:
            found |= {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
    return tuple(sorted(found, key=len, reverse=True))
