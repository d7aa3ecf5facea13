"""How many runs there were: the history counted once, by hour, day and month (UTC), and for each job.

`jobs.engine.tally` and `jobs.engine.job_tally` write here, `jobs.services.statistics` reads; decision
0003 says why it is so.
"""

from __future__ import annotations

from django.db import models

from cronsched.core.models import KeyField
from jobs.choices import ExecutionType, Span, Status, TriggerType

MARK_ID = 1


class Tally(models.Model):
    """Runs that started in one span, by what lists filter. Rows add up: a deletion enters negative ones."""

    span = KeyField(max_length=5, choices=Span.choices)
    begins_at = models.DateTimeField()
    status = KeyField(max_length=10, choices=Status.choices)
    trigger_type = KeyField(max_length=10, choices=TriggerType.choices)
    execution_type = KeyField(max_length=20, choices=ExecutionType.choices)
    runs = models.IntegerField()
    # Of these, how many have a duration, and their sum.
    timed = models.IntegerField()
    seconds = models.FloatField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.begins_at:%Y-%m-%d %H:%M} {self.status}: {self.runs}"


class RunTally(Tally):
    """Of all jobs. Only hours and days that end by `TallyMark.counted_until` count, and months that end by
    `TallyMark.months_counted_until`.
    """

    class Meta:
        ordering = ("span", "begins_at")
        indexes = (models.Index(fields=["span", "begins_at"], name="tally_span"),)


class JobTally(Tally):
    """Of one job. Only days and months that end by `TallyMark.jobs_counted_until` count.

    Of a month a job has the days of all its runs, or of none: then they are few, or not counted yet.
    """

    # Without a constraint, whose check would lock the job's row: a prune holds the mark, whoever deletes
    # a job holds that row, and each would wait for the other.
    job = models.ForeignKey(
        "jobs.Job", on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )

    class Meta:
        ordering = ("job", "span", "begins_at")
        indexes = (models.Index(fields=["job", "span", "begins_at"], name="tally_job"),)


class TallyMark(models.Model):
    """One row. Every run that started before `counted_until` (a whole hour) has ended and is tallied.

    Months are before `months_counted_until`: no later than that where hours are counted, and what is later
    does not count. Before `jobs_counted_until`, a whole day and never later than `counted_until`, runs are
    tallied by job, too. `changes` grows with each change of what was counted.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=MARK_ID, editable=False)
    counted_until = models.DateTimeField(null=True)
    months_counted_until = models.DateTimeField(null=True)
    jobs_counted_until = models.DateTimeField(null=True)
    changes = models.PositiveBigIntegerField(default=0, db_default=0)

    def __str__(self) -> str:
        return f"counted until {self.counted_until}"
