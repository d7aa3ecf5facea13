"""The words that the columns of jobs and executions hold, and the sets that rules speak of."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from jobs.engine.messages import TargetKind


class Status(models.TextChoices):
    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCESS = "success", _("success")
    FAILED = "failed", _("failed")
    MISSED = "missed", _("missed")


IN_FLIGHT = (Status.QUEUED, Status.RUNNING)
TROUBLE = (Status.FAILED, Status.MISSED)
FINISHED = (Status.SUCCESS, *TROUBLE)


class TriggerType(models.TextChoices):
    SCHEDULED = "scheduled", _("scheduled")
    MANUAL = "manual", _("manual")


class ExecutionType(models.TextChoices):
    WEBHOOK = TargetKind.WEBHOOK.value, _("webhook")
    GITHUB_ACTIONS = TargetKind.GITHUB_ACTIONS.value, _("GitHub Actions")


class Span(models.TextChoices):
    """What a tally counts, in UTC."""

    HOUR = "hour", _("hour")
    DAY = "day", _("day")
    MONTH = "month", _("month")


class CatchUp(models.TextChoices):
    """What happens to slots that came due while nobody could fire them."""

    SKIP = "skip", _("skip: record them as missed")
    LATEST = "latest", _("latest: run the last one")
    ALL = "all", _("all: run each, up to a cap")


class FollowState(models.TextChoices):
    """Where the following of a GitHub run stands."""

    FINDING = "finding", _("looked for")
    FOLLOWING = "following", _("followed")
    # It ended badly and was recorded; a re-run would replace that.
    WATCHING = "watching", _("watched for a re-run")
    DONE = "done", _("done")


class TokenKind(models.TextChoices):
    TOKEN = "token", _("personal access token")
    APP = "app", _("GitHub App")


class PausedReason(models.TextChoices):
    BY_HAND = "by_hand", _("paused by hand")
    EXPIRED = "expired", _("past its end date")
    BROKEN = "broken", _("its schedule cannot be read")
