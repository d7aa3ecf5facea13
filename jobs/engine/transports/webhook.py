"""Webhooks: POST the job's metadata to a URL, so that a receiver can tell runs apart and trust them.

Headers and signature follow the Standard Webhooks specification (standardwebhooks.com, symmetric
`v1`). The id is the run's, the same on every attempt: a receiver drops what it has seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from cronsched.core.http.client import HttpRequest, HttpResult
from cronsched.core.http.faults import Fault
from cronsched.core.http.guard import parse_url
from jobs.engine.messages import Delivery, Outcome, Reason
from jobs.engine.transports.base import (
    Verdict,
    encode_json,
    faulted,
    finished,
    is_retryable_status,
    misconfigured,
    output_of,
    retry_after_s,
    status_text,
)

KEY_PREFIX: Final = "whsec_"

# The receiver knows a repeat by its id, so a lost answer may be asked for again. What is refused or
# wrongly set up, a bad certificate among it, does not mend itself between two attempts.
_RETRYABLE_FAULTS: Final = frozenset({Fault.TIMEOUT, Fault.CONNECTION, Fault.DNS})
_MAX_LOCATION_CHARS: Final = 500


def build(delivery: Delivery, *, now: datetime, user_agent: str) -> HttpRequest | Verdict:
    """The call of contract §12. `now` becomes `webhook-timestamp`: receivers refuse an old one."""
    try:
        body = encode_json(delivery.payload)
    except (TypeError, ValueError):
        return misconfigured("The job's metadata cannot be written as JSON.")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "webhook-id": str(delivery.execution_id),
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if delivery.signing_secrets:
        try:
            keys = [decode_secret(secret) for secret in delivery.signing_secrets]
        except ValueError as error:
            return misconfigured(f"The run was not sent: {error}")
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        headers["webhook-signature"] = " ".join(_signature(key, signed) for key in keys)
    return HttpRequest(
        method="POST", url=delivery.target_url, headers=headers, body=body, timeout_s=delivery.timeout_s
    )


def interpret(delivery: Delivery, result: HttpResult, *, now: datetime) -> Verdict:
    """2xx with a whole answer is success; everything else failed, and says why."""
    verdict = _judge(result, now=now)
    return finished(verdict, secrets=_secrets(delivery), is_truncated=result.is_truncated)


def _judge(result: HttpResult, *, now: datetime) -> Verdict:
    if result.error is not None:
        is_retryable = result.error in _RETRYABLE_FAULTS and not _is_accepted(result.status)
        return faulted(result, result.error, message=result.message, is_retryable=is_retryable)
    status = result.status or 0
    if _is_accepted(status):
        return Verdict(outcome=Outcome.SUCCESS, response_status=status, output=output_of(result))
    return Verdict(
        outcome=Outcome.FAILED,
        reason=Reason.HTTP_STATUS,
        response_status=status,
        error_message=_status_sentence(status, result),
        output=output_of(result),
        is_retryable=is_retryable_status(status),
        retry_after_s=retry_after_s(result, now=now),
    )


def _is_accepted(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _status_sentence(status: int, result: HttpResult) -> str:
    if not 300 <= status < 400:
        return f"The receiver answered {status_text(status)}."
    where = result.headers.get("location", "none given")[:_MAX_LOCATION_CHARS]
    return f"The receiver answered {status_text(status)}; redirects are not followed (Location: {where})."


def decode_secret(secret: str) -> bytes:
    """The signing key in a secret. Raises ValueError, without the secret, when there is none in it.

    As in the specification's reference libraries, a secret is base64, with or without `whsec_` and
    padding. They take any text as base64; we sign with the text's own bytes where it is none, so that a
    plain password works with any HMAC code, but only without the prefix, which promises base64.
    """
    encoded = secret.removeprefix(KEY_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        if secret.startswith(KEY_PREFIX):
            raise ValueError("the signing secret begins with whsec_ but is not base64.") from None
        key = secret.encode("utf-8", "surrogatepass")
    if not key:
        raise ValueError("the signing secret is empty.")
    return key


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _secrets(delivery: Delivery) -> Iterator[str]:
    for secret in delivery.signing_secrets:
        yield secret
        yield secret.removeprefix(KEY_PREFIX)
    yield from _userinfo(delivery.target_url)


@lru_cache(maxsize=1024)
def _userinfo(url: str) -> tuple[str, ...]:
    """User and password of a URL. It is refused before it is called, but one may be stored."""
    if "@" not in url:
        return ()
    try:
        parsed = parse_url(url)
    except ValueError:
        return ()
    parts = (parsed.raw_user, parsed.raw_password)
    return tuple(text for part in parts if part for text in (part, unquote(part)))
