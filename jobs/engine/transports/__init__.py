"""How each kind of target is called. A new kind is a module here and a line in TRANSPORTS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jobs.engine.messages import Delivery, TargetKind
from jobs.engine.transports import github, webhook
from jobs.engine.transports.base import Line, Transport, Verdict, exchange

__all__ = ["TRANSPORTS", "Line", "Transport", "Verdict", "deliver"]

TRANSPORTS: Final[Mapping[TargetKind, Transport]] = {
    TargetKind.WEBHOOK: webhook,
    TargetKind.GITHUB_ACTIONS: github,
}


async def deliver(delivery: Delivery, line: Line) -> Verdict:
    """One attempt, in the way of its kind."""
    if delivery.kind is TargetKind.GITHUB_ACTIONS:
        return await github.exchange(delivery, line)
    return await exchange(TRANSPORTS[delivery.kind], delivery, line)
