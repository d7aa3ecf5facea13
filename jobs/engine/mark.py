"""How far the history was counted: `TallyMark`, the one row that whoever reads or writes tallies goes by."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from cronsched.core.db import locked
from jobs.models import TallyMark


class Mark(NamedTuple):
    """The columns of `TallyMark`; all None where nothing was ever counted."""

    counted_until: datetime | None = None
    months_counted_until: datetime | None = None
    jobs_counted_until: datetime | None = None
    changes: int = 0


def read_mark() -> Mark:
    return _first(TallyMark.objects.all())


def locked_mark() -> Mark:
    """Locked for this transaction: until its end nobody else counts, and nobody changes the past."""
    return _first(locked(TallyMark.objects.all()))


def _first(marks: Any) -> Mark:
    found = marks.values_list(*Mark._fields).first()
    return Mark() if found is None else Mark(*found)
