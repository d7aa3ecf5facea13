"""How often GitHub may be asked with one token, so that following never costs a dispatch.

docs.github.com, "Rate limits for the REST API": a primary limit (told by `x-ratelimit-*`), secondary
ones (900 points a minute, 100 requests at once), and `Retry-After` where one is exceeded. A part of
what is left is kept for dispatches; ours are ten a second over time, and no more than 650 in a minute.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cronsched.core.http.client import HttpResult
from jobs.engine.messages import GitHubApp
from jobs.engine.transports import github

PER_SECOND: Final = 10.0
# What may leave at once after a quiet while.
BURST: Final = 50.0
# Of the primary limit, what is left to dispatches and to people.
RESERVE: Final = 200
_MOST_PAUSE: Final = timedelta(hours=1)
# Beyond so many tokens those are forgotten that have been quiet for longer than any pause.
_MOST_TOKENS: Final = 1000


def limits_name(token: str, app: GitHubApp | None) -> str:
    """Whose limits a request counts to: the token's, wherever it was entered, or the installation's."""
    if app is not None:
        return f"app:{app.app_id}:{app.installation_id}"
    return "token:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(slots=True)
class _OfToken:
    room: float = BURST
    counted_at: datetime | None = None
    paused_until: datetime | None = None


class Limits:
    """What each token has left, by its name. For one thread."""

    def __init__(self) -> None:
        self._tokens: dict[str, _OfToken] = defaultdict(_OfToken)

    def paused_until(self, name: str, *, now: datetime) -> datetime | None:
        """Until when this token is not to be used; None where it may be."""
        until = self._tokens[name].paused_until
        return until if until is not None and until > now else None

    def take(self, name: str, *, now: datetime) -> bool:
        """Whether one more request may leave now; it is counted."""
        self._forget_quiet(now)
        of_token = self._tokens[name]
        since_s = (now - of_token.counted_at).total_seconds() if of_token.counted_at else 0.0
        of_token.room = min(BURST, of_token.room + max(0.0, since_s) * PER_SECOND)
        of_token.counted_at = now
        if of_token.room < 1 or self.paused_until(name, now=now):
            return False
        of_token.room -= 1
        return True

    def note(self, name: str, result: HttpResult, *, now: datetime) -> None:
        """What an answer says about the limits."""
        if github.is_limited(result):
            self._pause(name, github.limit_wait_s(result, now), now)
        elif (left := _number(result, "x-ratelimit-remaining")) is not None and left <= RESERVE:
            reset = _number(result, "x-ratelimit-reset")
            limit = _number(result, "x-ratelimit-limit")
            # A limit of 60 is that of nobody: there a reserve of 200 would be all of it.
            if reset is not None and (limit is None or limit > 2 * RESERVE):
                self._pause(name, reset - now.timestamp(), now)

    def _forget_quiet(self, now: datetime) -> None:
        """Tokens of single runs come and go."""
        if len(self._tokens) > _MOST_TOKENS:
            kept = {
                name: one
                for name, one in self._tokens.items()
                if one.counted_at is not None and now - one.counted_at < _MOST_PAUSE
            }
            self._tokens = defaultdict(_OfToken, kept)

    def _pause(self, name: str, seconds: float, now: datetime) -> None:
        wait = min(timedelta(seconds=max(seconds, 0.0)), _MOST_PAUSE)
        self._tokens[name].paused_until = now + wait


def _number(result: HttpResult, header: str) -> int | None:
    text = result.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None
