"""GitHub's side of a run: which workflow run it started, and what tokens there are to ask with."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField
from jobs.choices import FollowState, TokenKind
from jobs.models.execution import JobExecution
from jobs.querysets import GitHubRunQuerySet

if TYPE_CHECKING:
    from django.db.models.manager import Manager

URL_MAX = 500


class GitHubRun(models.Model):
    """The workflow run of one execution: what is known of it, and when it is looked at next.

    Written by RECORD (the row), the follower (all of it) and the webhook (what GitHub told, and
    `next_look_at`). An execution is `running` for as long as its row here is FINDING or FOLLOWING.
    """

    execution: Any = models.OneToOneField(
        JobExecution,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="github_run",
        verbose_name=_("execution"),
    )
    # As GitHub is asked, casefolded: it knows no case in names.
    owner = KeyField(_("owner"), max_length=255)
    repo = KeyField(_("repository"), max_length=255)
    workflow = models.CharField(_("workflow file"), max_length=255)
    # Null until the run is found.
    run_id = models.BigIntegerField(_("run"), null=True)
    html_url = models.CharField(_("link"), max_length=URL_MAX, blank=True, default="")
    # The newest that GitHub told: its words for them, "completed" with a conclusion.
    run_attempt = models.PositiveIntegerField(_("attempt"), default=1)
    run_status = KeyField(_("status at GitHub"), max_length=30, blank=True, default="")
    conclusion = KeyField(_("conclusion"), max_length=30, blank=True, default="")
    # Which attempt the execution's outcome is of; 0: none yet.
    recorded_attempt = models.PositiveIntegerField(default=0)

    state = KeyField(_("state"), max_length=10, choices=FollowState.choices)
    # When the dispatch was answered, or its answer given up: a run may have been started until then.
    dispatched_at = models.DateTimeField(_("dispatched"))
    # Null once it is done.
    next_look_at = models.DateTimeField(_("next look"), null=True)
    deadline_at = models.DateTimeField(_("given up at"))
    # What went wrong in the dispatch, or in the last look.
    last_error = models.TextField(_("last error"), blank=True, default="")
    # Whose run-name it is that should show our id (RunNaming.key); "" where no id is known to have been sent.
    naming_key = KeyField(max_length=64, blank=True, default="", db_default="")
    # Whether the run's name shows it; null until a name was seen.
    shows_id = models.BooleanField(null=True)

    objects: ClassVar[Manager[Any]] = GitHubRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("GitHub run")
        verbose_name_plural = _("GitHub runs")
        ordering = ("-dispatched_at",)
        indexes = (
            # The follower's look at what is due.
            models.Index(fields=["next_look_at"], name="github_run_next_look"),
            # The webhook's.
            models.Index(fields=["run_id"], name="github_run_id"),
        )

    def __str__(self) -> str:
        return f"{self.owner}/{self.repo} {self.run_id or self.get_state_display()}"


class RunNaming(models.Model):
    """Whether runs of one workflow, of one branch and with the id in one input, show that id in their name.

    As the newest run did that was seen. Only where they do, a run that is not there was not started.
    """

    # jobs.engine.transports.github.naming_key
    key = KeyField(max_length=64, primary_key=True)
    shows_id = models.BooleanField()
    # The dispatch of the run that it was seen on; of one of the same day where nothing has changed.
    dispatched_at = models.DateTimeField()

    class Meta:
        ordering = ("key",)

    def __str__(self) -> str:
        return str(self.key)


class GitHubToken(models.Model):
    """What GitHub is asked with for one owner or one repository; the environment's token is for the rest."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.CharField(_("owner"), max_length=255)
    repo = models.CharField(_("repository"), max_length=255, blank=True, default="")
    # "owner/repo" or "owner/", casefolded: one token for each.
    scope_key = KeyField(max_length=600, unique=True, editable=False)
    kind = KeyField(_("kind"), max_length=10, choices=TokenKind.choices, default=TokenKind.TOKEN)
    # Encrypted (cronsched.core.crypto), never shown again: the token, or the App's private key.
    secret = models.TextField(blank=True, default="", editable=False)
    app_id = models.CharField(_("App id"), max_length=100, blank=True, default="")
    installation_id = models.CharField(_("installation id"), max_length=100, blank=True, default="")

    # As GitHub told with its last answer; an App's tokens renew themselves.
    expires_at = models.DateTimeField(_("expires"), null=True, editable=False)
    checked_at = models.DateTimeField(_("checked"), null=True, editable=False)
    check_result = models.TextField(_("result of the check"), blank=True, default="", editable=False)
    created_at = models.DateTimeField(_("created"), editable=False)
    updated_at = models.DateTimeField(_("updated"), editable=False)

    class Meta:
        verbose_name = _("GitHub token")
        verbose_name_plural = _("GitHub tokens")
        ordering = ("scope_key",)

    def __str__(self) -> str:
        return f"{self.owner}/{self.repo or '*'}"
