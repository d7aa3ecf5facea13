"""How each kind of target is called. A new kind is a module here and a line in TRANSPORTS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jobs.engine.messages import TargetKind
from jobs.engine.transports import github, webhook
from jobs.engine.transports.base import Transport, Verdict

__all__ = ["TRANSPORTS", "Transport", "Verdict"]

TRANSPORTS: Final[Mapping[TargetKind, Transport]] = {
    TargetKind.WEBHOOK: webhook,
    TargetKind.GITHUB_ACTIONS: github,
}
