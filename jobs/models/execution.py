"""One run of a job: a slot that came due, or a run by hand. The history, and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField, LeanModel, uuid7
from jobs.choices import ExecutionType, Status, TriggerType
from jobs.querysets import ExecutionQuerySet

if TYPE_CHECKING:
    from django.db.models.manager import Manager

TARGET_MAX = 800
# What figures are made of.
COUNTED = ("status", "trigger_type", "execution_type", "duration_seconds")


class JobExecution(LeanModel):
    """UNIQUE(job, scheduled_for) is the promise that a slot fires at most once: no insert, no fire."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    job = models.ForeignKey(
        "jobs.Job", on_delete=models.CASCADE, related_name="executions", db_index=False, verbose_name=_("job")
    )
    status = KeyField(_("status"), max_length=10, choices=Status.choices, default=Status.QUEUED)
    trigger_type = KeyField(_("trigger"), max_length=10, choices=TriggerType.choices)
    execution_type = KeyField(_("type"), max_length=20, choices=ExecutionType.choices)
    target = models.CharField(_("target"), max_length=TARGET_MAX)
    # The slot (UTC, on the minute); null for a run by hand.
    scheduled_for = models.DateTimeField(_("scheduled for"), null=True)
    triggered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="+",
        null=True,
        verbose_name=_("triggered by"),
    )

    # Until it is sent, `started_at` holds the time it was accepted: lists order and filter by it.
    started_at = models.DateTimeField(_("started"))
    completed_at = models.DateTimeField(_("completed"), null=True)
    duration_seconds = models.FloatField(_("duration (s)"), null=True)
    response_status = models.PositiveSmallIntegerField(_("response"), null=True)
    # jobs.engine.messages.Reason: why it did not succeed, for rules; error_message is for people.
    reason = KeyField(max_length=20, blank=True, default="")
    error_message = models.TextField(_("error"), blank=True, default="")
    output = models.TextField(_("output"), blank=True, default="")

    # The queue: sent when `available_at` has come; a retry is the same row, later.
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    available_at = models.DateTimeField()
    # SEND_BACKEND=celery: when a queue was last told of it; a row that nobody took is offered again.
    offered_at = models.DateTimeField(null=True)
    # The claim: who sends it, under which token, and when it is given up for lost.
    claimed_by = models.CharField(max_length=255, blank=True, default="")
    claim_token = models.UUIDField(null=True)
    deadline_at = models.DateTimeField(null=True)
    # This run's own target, inputs and token: encrypted JSON, erased when the run ends.
    overrides = models.TextField(blank=True, default="")

    # A `missed` row may stand for a gap: `scheduled_for` is its first slot, these its size and end.
    missed_count = models.PositiveIntegerField(default=0)
    missed_last_at = models.DateTimeField(null=True)

    objects: ClassVar[Manager[Any]] = ExecutionQuerySet.as_manager()

    class Meta:
        verbose_name = _("execution")
        verbose_name_plural = _("executions")
        ordering = ("-started_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=["job", "scheduled_for"], name="execution_slot_once"),
            models.CheckConstraint(
                name="execution_status_known", condition=models.Q(status__in=Status.values)
            ),
            models.CheckConstraint(
                name="execution_slot_when_scheduled",
                condition=models.Q(trigger_type=TriggerType.SCHEDULED, scheduled_for__isnull=False)
                | models.Q(trigger_type=TriggerType.MANUAL, scheduled_for__isnull=True),
            ),
        )
        indexes = (
            # SEND's claim, and the few rows in flight (overlap, rescue).
            models.Index(fields=["status", "available_at"], name="execution_queue"),
            # Lists, newest first: all, of one job, in one state. What else is filtered and summed stands
            # in the index, so that counting and finding a page read no row (their outputs are long).
            models.Index(fields=["-started_at", "-id", *COUNTED], name="execution_newest_counted"),
            models.Index(fields=["job", "-started_at", "-id", *COUNTED], name="execution_job_counted"),
            models.Index(fields=["status", "-started_at", "-id"], name="execution_status_page"),
            # Reading a claim back by its token.
            models.Index(fields=["claim_token"], name="execution_claim"),
        )

    def __str__(self) -> str:
        return f"{self.job_id} {self.scheduled_for or self.started_at:%Y-%m-%d %H:%M} {self.status}"


class RunAttempt(models.Model):
    """An attempt after which its run was queued again; the last one is the run itself. Written by RECORD.

    No constraint makes a number unique: nothing that is kept for people may stop a batch of results.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    execution = models.ForeignKey(JobExecution, on_delete=models.CASCADE, related_name="earlier_attempts")
    number = models.PositiveSmallIntegerField()
    # How many the job allowed its runs then.
    allowed = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    response_status = models.PositiveSmallIntegerField(null=True)
    reason = KeyField(max_length=20, blank=True, default="")
    error_message = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("number", "id")

    def __str__(self) -> str:
        return f"{self.execution_id} {self.number}/{self.allowed}"


class UntoldRun(models.Model):
    """A finished run whose handlers failed in RECORD: swept up later, then this row goes."""

    execution: Any = models.OneToOneField(
        JobExecution, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    since = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("since",)

    def __str__(self) -> str:
        return str(self.pk)
