"""The clock that lengths of time are measured by. Without Django, for the sending half."""

from __future__ import annotations

import time


def uptime() -> float:
    """Seconds on a clock that no one sets and that runs on while the machine sleeps.

    CLOCK_BOOTTIME where there is one (Linux): a leader that was suspended must see that time went
    by, which CLOCK_MONOTONIC does not tell there. Elsewhere the monotonic clock.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
