"""Tokens of a GitHub App: asked for with a signed JWT, good for an hour, kept for most of it.

docs.github.com/apps, "Generating a JSON Web Token" and "Generating an installation access token". The
tokens live in this process's memory alone. Several dispatches at once wait for one request.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

from cronsched.core.http.client import HttpRequest, HttpResult
from cronsched.core.http.faults import Fault
from jobs.engine.messages import Delivery, GitHubApp, Outcome, Reason
from jobs.engine.transports.base import Line, Send, Verdict, misconfigured, status_text

# GitHub takes ten minutes at most, and its clock may be behind ours.
_JWT_LIFE: Final = timedelta(minutes=9)
_JWT_BACKDATE: Final = timedelta(seconds=60)
# A token is not used in its last minutes: what is sent with it may take a while.
_SPARE: Final = timedelta(minutes=5)
_TIMEOUT_S: Final = 10.0
# How long a refusal stands for all who ask, so that those who wait for one answer do not each ask for their
# own; what may be over in a moment stands for less.
_REFUSED_S: Final = 15.0
_FAULTY_S: Final = 3.0
_BAD_KEY: Final = "The private key of the GitHub App cannot be read: enter it again, whole, in PEM format."
_RETRYABLE: Final = frozenset({408, 425, 429})

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class AppToken:
    token: str = field(repr=False)
    expires_at: datetime
    # As GitHub tells them: {"actions": "write", …}.
    permissions: tuple[tuple[str, str], ...] = ()


_kept: dict[_Key, AppToken] = {}
_refused: dict[_Key, tuple[float, Verdict]] = {}
_locks: MutableMapping[Any, dict[_Key, asyncio.Lock]] = WeakKeyDictionary()


async def with_token(delivery: Delivery, line: Line) -> Delivery | Verdict:
    """The delivery with the token of its App; as it is where it has none; a verdict where none is given."""
    target = delivery.github
    if target is None or target.app is None:
        return delivery
    got = await app_token(
        target.app, api_url=target.api_url, send=line.send, now=line.clock(), user_agent=line.user_agent
    )
    if isinstance(got, Verdict):
        return got
    return replace(delivery, github=replace(target, token=got.token))


async def app_token(
    app: GitHubApp,
    *,
    api_url: str,
    send: Send,
    now: datetime,
    user_agent: str,
    timeout_s: float = _TIMEOUT_S,
    is_anew: bool = False,
) -> AppToken | Verdict:
    """A token that is good for some minutes more; a FAILED verdict that says why there is none.

    `is_anew`: ask GitHub although it refused a moment ago.
    """
    key = _key(app, api_url)
    async with _lock(key):
        kept = _kept.get(key)
        if kept is not None and kept.expires_at - _SPARE > now:
            return kept
        if not is_anew and (refusal := _standing_refusal(key)) is not None:
            return refusal
        try:
            request = _request(app, api_url=api_url, now=now, user_agent=user_agent, timeout_s=timeout_s)
        except ValueError:
            return misconfigured(_BAD_KEY)
        got = _judge(await send(request), now)
        if isinstance(got, AppToken):
            _kept[key] = got
            _refused.pop(key, None)
        else:
            _refused[key] = (time.monotonic(), got)
        return got


def forget(app: GitHubApp, *, api_url: str) -> None:
    """Let go of a token that GitHub did not take: it was revoked, or the App was."""
    _kept.pop(_key(app, api_url), None)


def _standing_refusal(key: _Key) -> Verdict | None:
    if key not in _refused:
        return None
    at, verdict = _refused[key]
    stands_s = _FAULTY_S if verdict.is_retryable else _REFUSED_S
    return verdict if time.monotonic() - at < stands_s else None


def _key(app: GitHubApp, api_url: str) -> _Key:
    # With the private key: one that was entered anew is tried at once.
    entered = hashlib.sha256(app.private_key.encode("utf-8", "surrogatepass")).hexdigest()
    return (api_url, app.app_id, app.installation_id, entered)


def signed_jwt(app: GitHubApp, *, now: datetime) -> str:
    """Raises ValueError for a key that is none."""
    # Only here: it is 9 MB, which a process that calls webhooks alone need not have.
    import jwt

    claims = {"iat": now - _JWT_BACKDATE, "exp": now + _JWT_LIFE, "iss": app.app_id}
    try:
        return jwt.encode(claims, app.private_key, algorithm="RS256")
    except (TypeError, jwt.PyJWTError) as error:
        raise ValueError("no private key") from error


def _lock(key: _Key) -> asyncio.Lock:
    # A lock belongs to one loop, of which a process may have several.
    of_loop = _locks.setdefault(asyncio.get_running_loop(), defaultdict(asyncio.Lock))
    return of_loop[key]


def _request(
    app: GitHubApp, *, api_url: str, now: datetime, user_agent: str, timeout_s: float
) -> HttpRequest:
    return HttpRequest(
        method="POST",
        url=f"{api_url.rstrip('/')}/app/installations/{quote(app.installation_id, safe='')}/access_tokens",
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {signed_jwt(app, now=now)}",
            "User-Agent": user_agent,
            "X-GitHub-Api-Version": "2022-11-28",
        },
        timeout_s=timeout_s,
        is_trusted=True,
    )


def _judge(result: HttpResult, now: datetime) -> AppToken | Verdict:
    if result.error is not None:
        is_retryable = result.error in (Fault.TIMEOUT, Fault.CONNECTION, Fault.DNS)
        return _no_token(result, result.message, is_retryable=is_retryable)
    status = result.status or 0
    if status == 201 and (token := _read(result.body)):
        return token
    # Nothing was dispatched, so that even after a 5xx another attempt starts no second run.
    is_retryable = status >= 500 or status in _RETRYABLE
    return _no_token(result, f"GitHub answered {status_text(status)}.", is_retryable=is_retryable)


def _read(body: str) -> AppToken | None:
    try:
        said = json.loads(body)
        expires_at = datetime.fromisoformat(said["expires_at"].replace("Z", "+00:00"))
        permissions = tuple((str(name), str(level)) for name, level in said.get("permissions", {}).items())
        return AppToken(
            token=str(said["token"]), expires_at=expires_at.astimezone(UTC), permissions=permissions
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _no_token(result: HttpResult, said: str, *, is_retryable: bool) -> Verdict:
    reason = Reason(result.error.value) if result.error else Reason.HTTP_STATUS
    advice = "" if is_retryable else " Look at the App's id, its key and its installation."
    return Verdict(
        outcome=Outcome.FAILED,
        reason=reason,
        response_status=result.status,
        error_message=f"Not dispatched: the GitHub App was given no token. {said}{advice}",
        is_retryable=is_retryable,
    )
