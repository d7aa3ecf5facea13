"""How often GitHub may be asked with one token, so that following never costs a dispatch.

docs.github.com, "Rate limits for the REST API": a primary limit (told by `x-ratelimit-*`), secondary
ones (900 points a minute, 100 requests at once), and `Retry-After` where one is exceeded. A part of
what is left is kept for dispatches; ours are no more than ten a second.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cronsched.core.http.client import HttpResult
from jobs.engine.transports import github

# A turn lasts a second at least: 600 a minute.
LOOKS_PER_TURN: Final = 10
# Of the primary limit, what is left to dispatches and to people.
RESERVE: Final = 200
_MOST_PAUSE: Final = timedelta(hours=1)


@dataclass(slots=True)
class _OfToken:
    left_in_turn: int = LOOKS_PER_TURN
    paused_until: datetime | None = None


class Limits:
    """What each token has left, by its name. For one thread."""

    def __init__(self) -> None:
        self._tokens: dict[str, _OfToken] = defaultdict(_OfToken)

    def begin_turn(self) -> None:
        for of_token in self._tokens.values():
            of_token.left_in_turn = LOOKS_PER_TURN

    def paused_until(self, name: str, *, now: datetime) -> datetime | None:
        """Until when this token is not to be used; None where it may be."""
        until = self._tokens[name].paused_until
        return until if until is not None and until > now else None

    def take(self, name: str, *, now: datetime) -> bool:
        """Whether one more request may leave in this turn; it is counted."""
        of_token = self._tokens[name]
        if of_token.left_in_turn <= 0 or self.paused_until(name, now=now):
            return False
        of_token.left_in_turn -= 1
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

    def _pause(self, name: str, seconds: float, now: datetime) -> None:
        wait = min(timedelta(seconds=max(seconds, 0.0)), _MOST_PAUSE)
        self._tokens[name].paused_until = now + wait


def _number(result: HttpResult, header: str) -> int | None:
    text = result.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None
