"""A job: what to call, when, whose it is, and until which day."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField, KeyTextField, LeanModel
from cronsched.core.text import clean_name, name_key
from jobs.choices import CatchUp, ExecutionType, PausedReason, Status
from jobs.drift import ODD, Drift
from jobs.querysets import JobQuerySet

if TYPE_CHECKING:
    from django.db.models.manager import Manager

# Six hours: what one job of a workflow may take on GitHub.
FOLLOW_MINUTES: Final = 360
TARGET_FIELDS: Final = ("target_url", "github_owner", "github_repo", "github_workflow_name")
# The columns of which something is told when a run ends: the others are not read for each of them.
TOLD: Final = frozenset(
    {
        "id", "name", "timezone", "end_date", "paused_note", "pic_team_id", "created_by_id",
        "enable_email_notifications", "notification_emails", "notify_on_success", "alert_after",
        "consecutive_failures",
    }
)  # fmt: skip


class Job(LeanModel):
    """`next_run_at` is the schedule: UTC, null when nothing is to fire. There is no second copy."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=255)
    # Unique without regard to case on every database; three bytes of slack per casefolded letter.
    name_key = KeyField(max_length=765, unique=True, editable=False)
    # Casefolded name, URL, repository and workflow: what `search` looks through, one column for all.
    search_text = KeyTextField(editable=False, default="")

    cron_expression = models.CharField(_("cron expression"), max_length=100)
    timezone = models.CharField(_("time zone"), max_length=64, blank=True, default="")
    catch_up = KeyField(_("catch up"), max_length=10, choices=CatchUp.choices, default=CatchUp.SKIP)
    end_date = models.DateField(_("end date"), null=True)
    is_active = models.BooleanField(_("active"), default=True)
    paused_reason = KeyField(
        max_length=10, choices=PausedReason.choices, blank=True, default="", editable=False
    )
    paused_note = models.TextField(blank=True, default="", editable=False)

    target_url = models.CharField(_("target URL"), max_length=500, blank=True, default="")
    github_owner = models.CharField(_("GitHub owner"), max_length=255, blank=True, default="")
    github_repo = models.CharField(_("GitHub repository"), max_length=255, blank=True, default="")
    github_workflow_name = models.CharField(_("workflow file"), max_length=255, blank=True, default="")
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    # Seconds for one attempt; null means WEBHOOK_TIMEOUT_SECONDS.
    timeout_seconds = models.PositiveIntegerField(_("timeout (s)"), null=True, blank=True)
    max_retries = models.PositiveSmallIntegerField(_("retries"), default=0)
    # Of a GitHub run: whether the execution ends as the workflow does, after how many minutes it is
    # given up (null: FOLLOW_MINUTES), and the input that shows the execution's id in the run's name.
    follow_run = models.BooleanField(_("follow the run"), default=True, db_default=True)
    follow_timeout_minutes = models.PositiveIntegerField(_("longest wait (min)"), null=True, blank=True)
    github_correlation_input = models.CharField(
        _("input for our id"), max_length=255, blank=True, default="", db_default=""
    )
    # Encrypted (cronsched.core.crypto); never shown again.
    signing_secret = models.TextField(blank=True, default="", editable=False)
    # After a change the earlier one signs too, for as long as jobs.engine.signing.OVERLAP.
    previous_signing_secret = models.TextField(blank=True, default="", db_default="", editable=False)
    signing_secret_changed_at = models.DateTimeField(null=True, editable=False)

    category = models.ForeignKey(
        "taxonomy.JobCategory", on_delete=models.PROTECT, related_name="jobs", verbose_name=_("category")
    )
    # Nullable for rows from the earlier system; required on input.
    pic_team = models.ForeignKey(
        "taxonomy.PicTeam",
        on_delete=models.PROTECT,
        related_name="jobs",
        null=True,
        verbose_name=_("PIC team"),
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="jobs",
        null=True,
        blank=True,
        verbose_name=_("owner"),
    )

    # The set of files that this job stands in (jobs.services.as_code); "" for one that no file names.
    managed_by = KeyField(
        max_length=100, blank=True, default="", db_default="", editable=False, db_index=True
    )

    enable_email_notifications = models.BooleanField(_("send e-mail"), default=False)
    notification_emails = models.JSONField(_("e-mail to"), default=list, blank=True)
    notify_on_success = models.BooleanField(_("also on success"), default=False)
    # Tell the n-th consecutive failure.
    alert_after = models.PositiveSmallIntegerField(_("tell after n failures"), default=1)

    created_at = models.DateTimeField(_("created"), editable=False)
    updated_at = models.DateTimeField(_("updated"), editable=False)

    # Written by PLAN and the lifecycle services only.
    next_run_at = models.DateTimeField(_("next run"), null=True, editable=False)
    # "<expression>|<zone>" that next_run_at was computed from: the database finds rows changed
    # behind the services' back by comparing it (jobs.drift), without computing anything.
    planned_schedule = models.CharField(max_length=170, blank=True, default="", editable=False)
    # Grows with every edit, so that a writer that read an earlier row can tell.
    schedule_version = models.PositiveIntegerField(default=1, editable=False)

    # Kept by RECORD in its batch, so that no list has to group the history.
    last_execution_at = models.DateTimeField(_("last run"), null=True, editable=False)
    last_status = KeyField(max_length=10, choices=Status.choices, blank=True, default="", editable=False)
    consecutive_failures = models.PositiveIntegerField(default=0, editable=False)

    objects: ClassVar[Manager[Any]] = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ("-created_at", "id")
        indexes = (
            models.Index(fields=["-created_at", "id"], name="job_newest"),
            # PLAN, in its order: of many due at once each batch would read all, and sort them.
            models.Index(fields=["next_run_at", "id"], name="job_next_run"),
            # End-date maintenance: active jobs whose day has gone by.
            models.Index(fields=["is_active", "end_date"], name="job_active_until"),
            models.Index(fields=["is_active", "consecutive_failures"], name="job_failing"),
            models.Index(fields=["last_execution_at"], name="job_last_execution"),
            models.Index(fields=["updated_at"], name="job_updated"),
            # Reconciliation: jobs that were changed behind the services' back.
            models.Index(Drift(), "id", name="job_drift"),
            models.Index(fields=["cron_expression", "id"], name="job_odd", condition=ODD),
        )
        constraints = (
            models.CheckConstraint(
                name="job_paused_has_no_next_run",
                condition=models.Q(is_active=True) | models.Q(next_run_at__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.refresh_keys()
        super().save(*args, **kwargs)

    def refresh_keys(self) -> None:
        """Set the columns derived from text. `save` calls it; bulk writers must call it themselves."""
        self.name = clean_name(self.name)
        self.name_key = name_key(self.name)
        repository = "/".join(part for part in (self.github_owner, self.github_repo) if part)
        parts = (self.name, self.target_url, repository, self.github_workflow_name)
        self.search_text = "\n".join(name_key(part) for part in parts if part)

    def with_target(self, own: Mapping[str, Any]) -> Job:
        """A job that is never saved: it says what a run calls that has values of its own."""
        return Job(**{field: own.get(field, getattr(self, field)) for field in TARGET_FIELDS})

    @property
    def execution_type(self) -> ExecutionType:
        """If both targets are given, GitHub wins."""
        has_github = bool(self.github_repo and self.github_workflow_name)
        return ExecutionType.GITHUB_ACTIONS if has_github else ExecutionType.WEBHOOK

    @property
    def target(self) -> str:
        """What a run calls, as the history shows it."""
        if self.execution_type == ExecutionType.GITHUB_ACTIONS:
            owner = self.github_owner or settings.GITHUB_DEFAULT_OWNER
            return f"{owner}/{self.github_repo}/actions/workflows/{self.github_workflow_name}"
        return self.target_url

    def id_input_of(self, target: str) -> str:
        """The input that gets the execution's id in a run that calls `target`; "" for none.

        Another workflow, of one run only, need not have it.
        """
        return self.github_correlation_input if target == self.target else ""

    @property
    def follow_minutes(self) -> int:
        return self.follow_timeout_minutes or FOLLOW_MINUTES

    @property
    def zone_name(self) -> str:
        return self.timezone or settings.SCHEDULER_TIMEZONE
