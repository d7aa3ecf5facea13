"""A small world in which every page of the admin site has something to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.test import override_settings
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from accounts.models import ApiKey, LoginFailure, User
from jobs.choices import PausedReason
from jobs.engine.tell import tell_finished
from jobs.models import ChoreState, GitHubToken, Job, RunAttempt, SchedulerLease
from jobs.services.lifecycle import update_job
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import EmailOptOut, Message, SlackSettings
from notifications.services.preferences import get_preferences
from notifications.tests.factories import NotificationFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

EVIL = "<script>document.title='broken'</script>"


def populate(owner: User) -> None:
    """At least one row of whatever has a page, and long words and markup where people type."""
    now = datetime.now(UTC)
    team = TeamFactory(name="Platform", slug="platform")
    category = CategoryFactory(slug="general", name="General")
    shared = {"pic_team": team, "category": category, "created_by": owner}
    JobFactory(name="A name that is long enough to need a second line " + EVIL, next_run_at=now, **shared)
    JobFactory(name="nightly_backup_of_everything_without_a_single_space_in_its_name", github=True, **shared)
    JobFactory(name="Ended", paused=True, paused_reason=PausedReason.EXPIRED, **shared)
    later = now + timedelta(hours=3)
    told = {"enable_email_notifications": True, "consecutive_failures": 1}
    job = JobFactory(name="夜間バックアップ", next_run_at=later, **told, **shared)
    for hours, traits in enumerate(({"running": True}, {"queued": True}, {"failed": True}, {})):
        slot = now - timedelta(hours=hours)
        run = ExecutionFactory(job=job, scheduled_for=slot, output=EVIL, attempt=2, **traits)
        RunAttempt.objects.create(
            execution=run, number=1, allowed=3, started_at=slot, ended_at=slot, error_message=EVIL * 5
        )
    update_job(job, data={"alert_after": 2}, by=owner, now=now, via="admin")
    ApiKey.objects.create(owner=owner, name="reporting", prefix="cs_1", secret_hash="x", created_at=now)
    _tell(job, owner, now)
    _schedule(now)


def _tell(job: Job, owner: User, now: datetime) -> None:
    NotificationFactory(user=owner, created_at=now, message="a_word_without_end_" * 10)
    NotificationFactory(user=owner, created_at=now, read=True, type="info")
    get_preferences(owner)
    EmailOptOut.objects.create(
        address_key=f"ops+{EVIL}@example.com", topic="email_on_job_failure", created_at=now
    )
    SlackSettings.objects.get_or_create(defaults={"channel": "#cron"})
    with override_settings(MAIL_ENABLED=True):
        failed = ExecutionFactory(job=job, failed=True, scheduled_for=now - timedelta(hours=5))
        tell_finished([failed], now=now)
    Message.objects.update(last_error="the mail server said no, at some length " * 4)


def _schedule(now: datetime) -> None:
    SchedulerLease.objects.create(holder="host:1", expires_at=now + timedelta(hours=1))
    ChoreState.objects.create(name="prune", last_error="boom")
    chore = DjangoJob.objects.create(id="prune", next_run_time=now, job_state=b"")
    DjangoJobExecution.objects.create(
        job=chore, status=DjangoJobExecution.ERROR, run_time=now, exception="boom", traceback="line\n" * 3
    )
    GitHubToken.objects.create(
        owner="acme",
        repo="a_repository_whose_name_has_no_end_" + "x" * 40,
        scope_key="acme/a_repository",
        check_result="ok: Metadata: read\nMISSING: Actions: write (403 Forbidden; it needs actions=write)",
        created_at=now,
        updated_at=now,
    )
    LoginFailure.objects.create(key="address:192.0.2.1", count=3, resets_at=now + timedelta(minutes=5))
