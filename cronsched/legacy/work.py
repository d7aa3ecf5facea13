"""Jobs: judged by the one validation that every job passes, with what only a job from elsewhere may have.

A team that is disabled, an end date that has gone by, or none of either, are as they were. What could
not run here (an expression, a target) is left out with its history, until it is mended and imported again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db.models import Model

from accounts.audit import deleted_ids
from accounts.choices import AuditKind
from cronsched.core.clock import scheduler_date
from cronsched.core.errors import InvalidInput
from cronsched.legacy import cron
from cronsched.legacy.context import Import, store, times
from cronsched.legacy.report import Kind
from cronsched.legacy.source import Row
from cronsched.legacy.values import addresses, day, flag, json_object, text, uuid_of
from jobs.choices import PausedReason
from jobs.engine.slots import is_within, next_slot, schedule_key
from jobs.models import Job
from jobs.models.job import TARGET_FIELDS
from jobs.services.fields import Refused, check_emails
from jobs.services.validation import Lookups, clean_job
from taxonomy.models import JobCategory, PicTeam

TABLE: Final = "jobs"
PAUSED_NOTE: Final = "Paused by import_legacy --paused; it was active in the earlier system."
_NO_JOB: Final = UUID(int=0)
# What an import never overwrites: what a job has from its runs here, and what only cronsched knows.
_KEPT: Final = frozenset(
    {
        "id", "created_at", "last_execution_at", "last_status", "consecutive_failures", "timezone",
        "catch_up", "timeout_seconds", "max_retries", "signing_secret", "previous_signing_secret",
        "signing_secret_changed_at", "alert_after", "follow_run", "follow_timeout_minutes",
        "github_correlation_input", "managed_by",
    }
)  # fmt: skip
# All that waking a job writes: the rest may have been edited here since it was taken.
_WOKEN: Final = (
    "is_active", "paused_reason", "paused_note", "next_run_at", "planned_schedule", "schedule_version",
)  # fmt: skip
_GROUPS: Final = {
    "name": "its name cannot be had",
    "cron_expression": "bad cron expression",
    "category": "unknown category",
    "pic_team": "unknown team",
    "metadata": "its metadata are no JSON object",
}


def bring_jobs(run: Import) -> None:
    step = _Jobs(run)
    for batch in run.batches(run.rows_oldest_first(TABLE)):
        step.take(batch)


class _Known(Lookups):
    """Answers validation from what the import knows, so that a dry run judges as a real one."""

    def __init__(self, names: dict[str, UUID]) -> None:
        self.names = names

    def category(self, text: str) -> JobCategory:
        raise InvalidInput(f'Category "{text[:60]}" does not exist.', field="category")

    def team(self, text: str) -> PicTeam:
        raise InvalidInput(f'PIC team "{text[:60]}" does not exist.', field="pic_team")

    def is_name_taken(self, key: str, *, except_for: UUID | None) -> bool:
        return self.names.get(key, except_for) != except_for


class _Jobs:
    def __init__(self, run: Import) -> None:
        self.run = run
        self.today = scheduler_date(run.options.now)
        self.here: dict[UUID, Job] = {job.pk: job for job in Job.objects.without_secrets().for_lists()}
        self.known = _Known({job.name_key: job.pk for job in self.here.values()})
        self.deleted = deleted_ids(AuditKind.JOB)
        self.new: list[Job] = []
        self.changed: list[tuple[Job, Sequence[str]]] = []

    def take(self, batch: list[Row]) -> None:
        self.new, self.changed = [], []
        for row in batch:
            self._one(row)
        if not self.run.options.dry_run:
            store(Job, self.new, self.changed)
        self.run.report.count(TABLE, "new", len(self.new))
        self.run.report.count(TABLE, "updated", len(self.changed))

    def _one(self, row: Row) -> None:
        job_id = uuid_of(row["id"]) or _NO_JOB
        stored = self.here.get(job_id)
        if stored is None and job_id in self.deleted:
            self.run.stays_deleted(TABLE, row, job_id)
        elif stored is None or self._is_to_update(row, stored):
            self._take(row, stored)
        else:
            self.run.jobs[job_id] = stored
            self._leave(row, stored)

    def _take(self, row: Row, stored: Job | None) -> None:
        """The job as it is there, new or anew."""
        try:
            job = self._read(row, stored)
        except InvalidInput as fault:
            field = next(iter(fault.details), "")
            group = _GROUPS.get(field, "no target that can be called" if field in TARGET_FIELDS else field)
            self.run.left_out(TABLE, row, group, fault.message)
            return
        if stored is not None:
            job.schedule_version = stored.schedule_version + 1
            self.changed.append((job, _columns(Job)))
            del self.known.names[stored.name_key]
        else:
            self.new.append(job)
        self.run.jobs[job.pk] = self.here[job.pk] = job
        self.known.names[job.name_key] = job.pk
        self._compare(row, job)

    def _is_to_update(self, row: Row, stored: Job) -> bool:
        return self.run.options.update and self.run.is_newer(row, stored.updated_at)

    def _leave(self, row: Row, stored: Job) -> None:
        """The job as it is here; all that may happen is that it wakes."""
        is_to_wake = (
            stored.paused_note == PAUSED_NOTE
            and not self.run.options.paused
            and flag(row.get("is_active"), True)
        )
        if is_to_wake and self.run.options.update:
            self._schedule(row, stored)
            stored.schedule_version += 1
            self.changed.append((stored, _WOKEN))
            return
        self.run.report.count(TABLE, "already")
        if is_to_wake or self.run.is_newer(row, stored.updated_at):
            self.run.find(TABLE, row, Kind.CHANGED_THERE, "still paused" if is_to_wake else "the job")

    def _read(self, row: Row, stored: Job | None) -> Job:
        """The job as it is to be stored. InvalidInput where it could not run here."""
        created, updated = times(row, self.run.options.now)
        job = Job(
            id=uuid_of(row["id"]),
            end_date=self._end_date(row),
            timezone=self._zone() if stored is None else stored.timezone,
            # A blank one stands in for one that is not there: `_given` then names it.
            category=self.run.categories.get(text(row.get("category")).strip() or "general") or JobCategory(),
            pic_team=self.run.teams.get(text(row.get("pic_team")).strip()),
            created_by_id=self._owner(row),
            created_at=created,
            updated_at=updated,
        )
        given = self._given(row)
        if not any(given[field] for field in TARGET_FIELDS):
            raise InvalidInput("It has neither target_url nor a GitHub workflow.", field="target_url")
        clean = clean_job(given, instance=job, now=self.run.options.now, lookups=self.known)
        for field, value in clean.items():
            setattr(job, field, value)
        self._schedule(row, job)
        job.refresh_keys()
        return job

    def _given(self, row: Row) -> dict[str, Any]:
        """The row as input. What names a category or a team that is not there is named, to be refused."""
        expression = text(row.get("cron_expression"))
        given: dict[str, Any] = {
            "name": text(row.get("name")),
            "cron_expression": cron.as_fired(expression) if self.run.options.as_fired else expression,
            "metadata": self._metadata(row),
            "notification_emails": self._emails(row),
            "enable_email_notifications": flag(row.get("enable_email_notifications"), False),
            "notify_on_success": flag(row.get("notify_on_success"), False),
            **{field: text(row.get(field)) for field in TARGET_FIELDS},
        }
        for field, default, known in (
            ("category", "general", self.run.categories),
            ("pic_team", "", self.run.teams),
        ):
            slug = text(row.get(field)).strip() or default
            if slug and slug not in known:
                given[field] = slug
        return given

    def _metadata(self, row: Row) -> dict[str, Any]:
        try:
            return json_object(row.get("job_metadata", row.get("metadata")))
        except ValueError:
            # It is what the job sends: a run with another body would be another job.
            raise InvalidInput("Its metadata are no JSON object.", field="metadata") from None

    def _emails(self, row: Row) -> list[str]:
        found = addresses(row.get("notification_emails"))
        good = []
        for address in found:
            try:
                check_emails("notification_emails", [address])
                good.append(address)
            except Refused:
                self.run.adjusted(TABLE, row, "without what is no e-mail address", repr(address[:80]))
        return good

    def _end_date(self, row: Row) -> date | None:
        try:
            return day(row.get("end_date"))
        except ValueError:
            raise InvalidInput("Its end date is no date.", field="end_date") from None

    def _owner(self, row: Row) -> UUID | None:
        given = text(row.get("created_by")).strip()
        if not given:
            return None
        owner = self.run.users.get(uuid_of(given) or _NO_JOB)
        if owner is None:
            self.run.adjusted(TABLE, row, "without its owner, who was not taken", given)
        return owner

    def _zone(self) -> str:
        """The time zone of a new job; "" where the earlier system's is the one here."""
        zone = self.run.options.zone
        return "" if zone == settings.SCHEDULER_TIMEZONE else zone

    def _schedule(self, row: Row, job: Job) -> None:
        """State and next run, by the job's own expression, zone and end.

        One past its end is paused, as the earlier system would at its next run.
        """
        options = self.run.options
        was_active = flag(row.get("is_active"), True)
        has_ended = job.end_date is not None and job.end_date < self.today
        job.is_active = was_active and not has_ended and not options.paused
        job.next_run_at, job.planned_schedule = None, ""
        job.paused_reason, job.paused_note = "", ""
        if job.is_active:
            job.next_run_at = next_slot(
                expression=job.cron_expression,
                zone_name=job.zone_name,
                end_date=job.end_date,
                after=options.now,
            )
            job.planned_schedule = schedule_key(job.cron_expression, job.zone_name)
        elif has_ended:
            job.paused_reason = PausedReason.EXPIRED
        else:
            job.paused_reason = PausedReason.BY_HAND
            job.paused_note = PAUSED_NOTE if was_active else ""

    def _compare(self, row: Row, job: Job) -> None:
        """Tell where the next runs part, of jobs that ran there and are to run here."""
        if not (job.is_active or job.paused_note == PAUSED_NOTE):
            return
        written = " ".join(text(row.get("cron_expression")).split())
        found = cron.difference(written, job.cron_expression, zone=job.zone_name, now=self.run.options.now)
        if found is None or not any(
            slot is not None and is_within(slot, job.end_date) for slot in (found.there, found.here)
        ):
            return
        keeps = cron.as_fired(written)
        hint = (
            f' (--weekdays as-fired would make it "{keeps}")'
            if keeps not in (written, job.cron_expression)
            else ""
        )
        detail = f'"{job.cron_expression}": there {_shown(found.there)}, here {_shown(found.here)}{hint}'
        self.run.find(TABLE, row, Kind.RUNS_DIFFER, "next runs", detail)


def _shown(slot: Any) -> str:
    return f"{slot:%a %Y-%m-%d %H:%M}" if slot is not None else "none"


def _columns(model: type[Model]) -> list[str]:
    return [field.name for field in model._meta.concrete_fields if field.name not in _KEPT]
