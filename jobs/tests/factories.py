from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from factory.declarations import LazyAttribute, Sequence, SubFactory, Trait
from factory.django import DjangoModelFactory

from accounts.tests.factories import UserFactory
from jobs.choices import ExecutionType, Status, TriggerType
from jobs.engine.slots import schedule_key
from jobs.models import Job, JobExecution
from taxonomy.tests.factories import CategoryFactory, TeamFactory

# Tests of rules are tables around this minute: a Tuesday, 21:00 in Tokyo.
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


class JobFactory(DjangoModelFactory):
    """An active webhook job, every minute, next run at NOON. Traits: paused, github."""

    class Meta:
        model = Job

    class Params:
        paused = Trait(is_active=False, next_run_at=None)
        github = Trait(
            target_url="", github_owner="acme", github_repo="app", github_workflow_name="nightly.yml"
        )

    name = Sequence(lambda n: f"Job {n}")
    cron_expression = "* * * * *"
    timezone = ""
    end_date = date(2030, 12, 31)
    target_url = "https://hooks.example.com/run"
    category = SubFactory(CategoryFactory)
    pic_team = SubFactory(TeamFactory)
    created_by = SubFactory(UserFactory)
    created_at = NOON - timedelta(days=1)
    updated_at = NOON - timedelta(days=1)
    next_run_at = NOON
    planned_schedule = LazyAttribute(
        lambda job: schedule_key(job.cron_expression, job.timezone or "Asia/Tokyo")
    )


class ExecutionFactory(DjangoModelFactory):
    """A finished, successful, scheduled run. Traits: queued, running, failed, manual."""

    class Meta:
        model = JobExecution

    class Params:
        queued = Trait(status=Status.QUEUED, completed_at=None, duration_seconds=None)
        running = Trait(
            status=Status.RUNNING, completed_at=None, duration_seconds=None, claimed_by="someone:1"
        )
        failed = Trait(status=Status.FAILED, reason="http_status", error_message="500 Server Error")
        manual = Trait(trigger_type=TriggerType.MANUAL, scheduled_for=None)

    job = SubFactory(JobFactory)
    status = Status.SUCCESS
    trigger_type = TriggerType.SCHEDULED
    execution_type = ExecutionType.WEBHOOK
    target = LazyAttribute(lambda run: run.job.target)
    scheduled_for = Sequence(lambda n: NOON - timedelta(minutes=n + 1))
    started_at = LazyAttribute(lambda run: run.scheduled_for or NOON)
    available_at = LazyAttribute(lambda run: run.started_at)
    completed_at = LazyAttribute(lambda run: run.started_at + timedelta(seconds=1))
    duration_seconds = 1.0
