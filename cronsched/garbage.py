"""Python's search for reference cycles, made rare.

By default it begins after 700 new objects and walks through all that are alive: with thousands of calls
in flight, or thousands of rows read, it took half of the CPU (0.66 of 1.25 ms for a run, measured with
5,000 at once). What has no cycles, nearly everything here, is freed without it.
"""

from __future__ import annotations

import gc
from typing import Final

# New objects before the young are searched; searches of one age before the next older one.
_THRESHOLDS: Final = (20_000, 20, 50)


def collect_rarely() -> None:
    """Called once by a long-lived process, when all is imported: what is there by then is never searched."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
