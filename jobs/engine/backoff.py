"""Which jobs PLAN leaves alone for a while: those that the database refused, without a proof against them.

Such a job stays due. Asked for at each tick, it would have every batch undone and done again job by job;
so it is asked for after 2 s, 4 s, 8 s, ... and then once a minute. In memory: a successor finds out itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

FIRST = timedelta(seconds=2)
MOST = timedelta(seconds=60)


class Backoff:
    def __init__(self) -> None:
        # Job → how long it is left alone, and until when.
        self._held: dict[UUID, tuple[timedelta, datetime]] = {}

    def held(self, now: datetime) -> set[UUID]:
        """The jobs to pass over. Those that nobody was refused for since a while are forgotten."""
        self._held = {job: one for job, one in self._held.items() if now < one[1] + MOST}
        # One that is held for longer than ever was is of a clock that was set back.
        return {job for job, (_, until) in self._held.items() if now < until <= now + MOST}

    def refuse(self, jobs: Iterable[UUID], *, now: datetime) -> None:
        for job in jobs:
            pause = min(self._held[job][0] * 2, MOST) if job in self._held else FIRST
            self._held[job] = (pause, now + pause)
