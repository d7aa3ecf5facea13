"""How many runs there were: the history counted once, by hour and by day (UTC).

`jobs.engine.tally` writes here, `jobs.services.statistics` reads; decision 0003 says why it is so.
"""

from __future__ import annotations

from django.db import models

from cronsched.core.models import KeyField
from jobs.choices import ExecutionType, Span, Status, TriggerType

MARK_ID = 1


class RunTally(models.Model):
    """Runs that started within one span, by what lists filter. Rows add up: a deletion enters negative ones.

    Only what begins before `TallyMark.counted_until`, and of days only those that end by then, counts.
    """

    span = KeyField(max_length=4, choices=Span.choices)
    begins_at = models.DateTimeField()
    status = KeyField(max_length=10, choices=Status.choices)
    trigger_type = KeyField(max_length=10, choices=TriggerType.choices)
    execution_type = KeyField(max_length=20, choices=ExecutionType.choices)
    runs = models.IntegerField()
    # Of these, how many have a duration, and their sum.
    timed = models.IntegerField()
    seconds = models.FloatField()

    class Meta:
        ordering = ("span", "begins_at")
        indexes = (models.Index(fields=["span", "begins_at"], name="tally_span"),)

    def __str__(self) -> str:
        return f"{self.span} {self.begins_at:%Y-%m-%d %H:%M} {self.status}: {self.runs}"


class TallyMark(models.Model):
    """One row. Every run that started before `counted_until` (a whole hour) has ended and is tallied."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=MARK_ID, editable=False)
    counted_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"counted until {self.counted_until}"
