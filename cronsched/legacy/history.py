"""Executions: the whole history, job by job, in batches that are a transaction each.

The earlier system noted when a run began, not for which slot. A scheduled run's slot is the minute in
which it began; a second one of a job in that minute keeps its very moment as its slot, since a slot has
one run.
What the earlier system left as running ends here as failed, "interrupted at the move".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from cronsched.core.db import insert_values, retry_conflicts, update_each
from cronsched.legacy.context import BATCH, Import, chunks
from cronsched.legacy.report import Kind
from cronsched.legacy.source import PAGE, Row
from cronsched.legacy.values import moment, number, text, uuid_of
from jobs.choices import IN_FLIGHT, ExecutionType, Status, TriggerType
from jobs.engine.messages import Reason
from jobs.engine.tally import reopen
from jobs.models import Job, JobExecution
from jobs.models.execution import TARGET_MAX

TABLE: Final = "job_executions"
INTERRUPTED: Final = (
    "Interrupted at the move: the earlier system had not ended this run; its outcome is unknown."
)
# The API and the contract know these; what else stood in the column is told as it was.
_STATUSES: Final = {"success": Status.SUCCESS, "failed": Status.FAILED}
_UNENDED: Final = frozenset({"running", "queued", "pending", ""})
_COLUMNS: Final = (
    "id", "job", "status", "trigger_type", "execution_type", "target", "scheduled_for", "started_at",
    "completed_at", "duration_seconds", "response_status", "reason", "error_message", "output", "attempt",
    "available_at", "claimed_by", "overrides", "missed_count",
)  # fmt: skip
_OUTCOME: Final = (
    "status", "completed_at", "duration_seconds", "response_status", "reason", "error_message", "output",
)  # fmt: skip
_LONGEST_RESPONSE: Final = 32_767
_MINUTE: Final = timedelta(minutes=1)
_TICK: Final = timedelta(microseconds=1)


def bring_history(run: Import) -> None:
    step = _History(run)
    for batch in run.batches(step.rows(), PAGE):
        step.store(batch)
    step.store([])
    if not run.options.dry_run:
        for job_ids in chunks(sorted(step.touched), BATCH):
            _note_last_runs(job_ids)


class _Slots:
    """The minutes that one job's runs have, a bit each: years of them are a few kilobytes a year."""

    def __init__(self) -> None:
        self._days: dict[int, int] = {}
        self._odd: set[datetime] = set()

    def take(self, started: datetime) -> datetime:
        """The slot of a run: its minute, else its own moment, else the next moment that is free."""
        minute = started.replace(second=0, microsecond=0)
        day, bit = minute.toordinal(), 1 << (minute.hour * 60 + minute.minute)
        if not self._days.get(day, 0) & bit:
            self._days[day] = self._days.get(day, 0) | bit
            return minute
        slot = started if started != minute else started + _TICK
        while slot in self._odd:
            slot += _TICK
        self._odd.add(slot)
        return slot

    def note(self, slot: datetime) -> None:
        """One that is in the database already."""
        if slot == slot.replace(second=0, microsecond=0):
            self.take(slot)
        else:
            self._odd.add(slot)


class _History:
    def __init__(self, run: Import) -> None:
        self.run = run
        self.touched: set[UUID] = set()
        self.outcomes: list[tuple[Any, ...]] = []

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The values of _COLUMNS of what is new; what ended meanwhile goes to `outcomes`."""
        counts = self.run.legacy.counts_by(TABLE, "job_id")
        total = sum(counts.values())
        self.run.report.count(TABLE, "read", total)
        for given, count in counts.items():
            job = self.run.jobs.get(uuid_of(given) or UUID(int=0))
            if job is None:
                self.run.without(TABLE, "job", given, count)
                self.run.progress(TABLE, count, total)
            else:
                yield from self._of_job(job, given, total)

    def _of_job(self, job: Job, given: Any, total: int) -> Iterator[tuple[Any, ...]]:
        slots = _Slots()
        has_history = JobExecution.objects.filter(job_id=job.pk).exists()
        if has_history and not job.last_status:
            # An earlier import broke off before it noted them.
            self.touched.add(job.pk)
        if has_history:
            known = JobExecution.objects.filter(job_id=job.pk, scheduled_for__isnull=False)
            for slot in known.values_list("scheduled_for", flat=True).iterator():
                slots.note(slot)
        for page in self.run.legacy.pages(TABLE, column="job_id", value=given):
            here = self._already(page) if has_history else {}
            for row in page:
                if values := self._one(row, job, slots, here):
                    yield values
            self.run.progress(TABLE, len(page), total)

    def _already(self, page: list[Row]) -> dict[UUID, str]:
        ids = [found for row in page if (found := uuid_of(row["id"]))]
        return dict(JobExecution.objects.filter(pk__in=ids).values_list("pk", "error_message"))

    def _one(self, row: Row, job: Job, slots: _Slots, here: dict[UUID, str]) -> tuple[Any, ...] | None:
        run_id, started = uuid_of(row["id"]), moment(row.get("started_at"))
        if run_id is None or started is None:
            fault = "its id is no UUID" if run_id is None else "it has no time of its start"
            self.run.left_out(TABLE, row, fault, repr(row.get("id")))
            return None
        outcome = self._outcome(row, started)
        if run_id in here:
            if self._again(row, run_id, outcome, was_interrupted=here[run_id] == INTERRUPTED):
                self.touched.add(job.pk)
            return None
        is_scheduled = text(row.get("trigger_type")).strip().lower() == TriggerType.SCHEDULED
        kind = self._type(row, job)
        status, completed, took, response, reason, error, output = outcome
        return (
            run_id,
            job.pk,
            status,
            TriggerType.SCHEDULED if is_scheduled else TriggerType.MANUAL,
            kind,
            text(row.get("target"))[:TARGET_MAX] or job.target,
            slots.take(started) if is_scheduled else None,
            started,
            completed,
            took,
            response,
            reason,
            error,
            output,
            1,
            started,
            "",
            "",
            0,
        )

    def _outcome(self, row: Row, started: datetime) -> tuple[Any, ...]:
        """The values of _OUTCOME."""
        word = text(row.get("status")).strip().lower()
        error, output = text(row.get("error_message")), text(row.get("output"))
        completed, took = moment(row.get("completed_at")), number(row.get("duration_seconds"))
        response = number(row.get("response_status"))
        is_response = response is not None and 0 <= response <= _LONGEST_RESPONSE
        answer = int(response) if response is not None and is_response else None
        if word in _UNENDED:
            return Status.FAILED, started, None, answer, Reason.INTERRUPTED.value, INTERRUPTED, output
        status = _STATUSES.get(word)
        if status is None:
            status = Status.FAILED
            error = f'The earlier system called this run "{word[:40]}". {error}'.strip()
            self.run.adjusted(TABLE, row, f'the status "{word[:40]}" is told as failed')
        if completed is None:
            completed = started + timedelta(seconds=took) if took is not None and took < 10**7 else started
        reason = Reason.NONE if status is Status.SUCCESS else _reason(answer)
        return status, completed, took, answer, reason.value, error, output

    def _type(self, row: Row, job: Job) -> str:
        word = text(row.get("execution_type")).strip().lower()
        if word in ExecutionType.values:
            return word
        if target := text(row.get("target")):
            is_workflow = "/actions/workflows/" in target
            return ExecutionType.GITHUB_ACTIONS if is_workflow else ExecutionType.WEBHOOK
        return job.execution_type

    def _again(self, row: Row, run_id: UUID, outcome: tuple[Any, ...], *, was_interrupted: bool) -> bool:
        """Whether the run here gets another end."""
        has_ended = was_interrupted and outcome[5] != INTERRUPTED
        if has_ended and self.run.options.update:
            self.outcomes.append((*outcome, run_id))
            self.run.report.count(TABLE, "updated")
            return True
        self.run.report.count(TABLE, "already")
        if has_ended:
            self.run.find(TABLE, row, Kind.CHANGED_THERE, "runs that have ended since")
        return False

    def store(self, batch: list[tuple[Any, ...]]) -> None:
        self.run.report.count(TABLE, "new", len(batch))
        self.touched |= {values[1] for values in batch}
        outcomes, self.outcomes = self.outcomes, []
        if not self.run.options.dry_run:
            _store(batch, outcomes)


def _reason(answer: int | None) -> Reason:
    return Reason.HTTP_STATUS if answer is not None and not 200 <= answer < 300 else Reason.NONE


@retry_conflicts
def _store(batch: list[tuple[Any, ...]], outcomes: list[tuple[Any, ...]]) -> None:
    with transaction.atomic():
        insert_values(JobExecution, _COLUMNS, batch)
        update_each(JobExecution, _OUTCOME, ("id",), outcomes)
        begins = [values[7] for values in batch]
        if outcomes:
            ids = [values[-1] for values in outcomes]
            begins += JobExecution.objects.filter(pk__in=ids).values_list("started_at", flat=True)
        if begins:
            reopen(min(begins))


@retry_conflicts
def _note_last_runs(job_ids: Sequence[UUID]) -> None:
    """What lists show of a job's history, and how often it has failed in a row."""
    with transaction.atomic():
        rows = [(*_last_run(job_id), job_id) for job_id in job_ids]
        update_each(Job, ("last_execution_at", "last_status", "consecutive_failures"), ("id",), rows)


def _last_run(job_id: UUID) -> tuple[Any, ...]:
    """When the last run began, how it ended, and how many have not succeeded since one did."""
    runs = JobExecution.objects.filter(job_id=job_id).exclude(status__in=IN_FLIGHT)
    began, status = runs.order_by("-started_at", "-id").values_list("started_at", "status").first() or (
        None,
        "",
    )
    success = runs.filter(status=Status.SUCCESS).aggregate(last=Max("started_at"))["last"]
    since = runs.filter(started_at__gt=success) if success else runs
    return began, status, since.count() if status and status != Status.SUCCESS else 0
