from __future__ import annotations

import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from accounts.tests.factories import UserFactory
from cronsched import selfcheck
from cronsched.core import clock
from cronsched.core.crypto import encrypt
from cronsched.core.db import DatabaseNow
from cronsched.selfcheck import Finding, Grade, Options, run_checks
from jobs.choices import Status
from jobs.engine.lease import acquire
from jobs.models import GitHubToken, Job, JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.services.slack_settings import get_slack_settings

pytestmark = pytest.mark.django_db


@pytest.fixture
def well(settings):
    """A leader, and nothing wrong."""
    settings.SCHEDULER_ENABLED = True
    settings.MAIL_ENABLED = False
    acquire(holder="a-scheduler", ttl_s=60)


def findings(*, send: bool = False) -> dict[str, Finding]:
    return {finding.what: finding for finding in run_checks(Options(now=clock.now(), send=send))}


def failures() -> set[str]:
    return {what for what, finding in findings().items() if finding.grade is Grade.FAILED}


def future() -> object:
    return clock.now() + timedelta(days=1)


@pytest.mark.databases
def test_a_well_installation_ends_with_zero(well):
    JobFactory(next_run_at=future())
    out = StringIO()

    call_command("selfcheck", stdout=out)

    assert out.getvalue().endswith("All well.\n")
    assert failures() == set()


def test_what_is_to_be_mended_ends_non_zero_with_what_to_do(well):
    JobFactory(next_run_at=clock.now() - timedelta(minutes=5))
    out = StringIO()

    with pytest.raises(CommandError, match="1 to mend"):
        call_command("selfcheck", stdout=out)

    assert "FAILED  due slots: 1 jobs are due and not planned" in out.getvalue()


def break_leader(settings):
    from jobs.models import SchedulerLease

    SchedulerLease.objects.update(expires_at=DatabaseNow(-1))


def break_lag(settings):
    at = clock.now() - timedelta(seconds=30)
    ExecutionFactory(queued=True, available_at=at, job=JobFactory(next_run_at=future()))


def break_ticks(settings):
    from jobs.models import SchedulerLease

    SchedulerLease.objects.update(tick_lag_worst_ms=9000)


def break_github_token(settings):
    now = clock.now()
    GitHubToken.objects.create(owner="acme", scope_key="acme/", secret="lost", created_at=now, updated_at=now)


def break_stuck(settings):
    ExecutionFactory(running=True, claim_token=uuid.uuid4(), job=JobFactory(next_run_at=future()))
    JobExecution.objects.update(deadline_at=DatabaseNow(-120))


def break_cron(settings):
    job = JobFactory(next_run_at=future())
    Job.objects.filter(pk=job.pk).update(cron_expression="61 * * * *")


def break_secret_key(settings):
    settings.SECRET_KEY = "insecure-secret_key-for-debug-and-tests-only"


def break_short_key(settings):
    settings.JWT_SECRET_KEY = "short"


def break_keys(settings):
    settings.ENCRYPTION_KEYS = []


def break_stored(settings):
    JobFactory(next_run_at=future(), signing_secret="written under another key")


def break_admin(settings):
    settings.DEFAULT_ADMIN_PASSWORD, settings.DEFAULT_ADMIN_USERNAME = "first-password", "boss"
    user = UserFactory(username="boss")
    user.set_password("first-password")
    user.save()


def break_mail(settings):
    settings.MAIL_ENABLED, settings.EMAIL_HOST, settings.EMAIL_PORT = True, "127.0.0.1", 1
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


def break_slack(settings):
    row = get_slack_settings()
    row.is_enabled, row.webhook_url = True, "not encrypted"
    row.save()


@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (break_leader, "leader"),
        (break_lag, "lag"),
        (break_ticks, "ticks"),
        (break_stuck, "stuck runs"),
        (break_cron, "cron"),
        (break_secret_key, "secrets"),
        (break_short_key, "secrets"),
        (break_keys, "secrets"),
        (break_stored, "stored secrets"),
        (break_github_token, "stored secrets"),
        (break_admin, "first admin"),
        (break_mail, "mail"),
        (break_slack, "slack"),
    ],
)
def test_each_fault_is_found_and_no_other(well, settings, break_it, what):
    break_it(settings)

    assert failures() == {what}


def test_a_clock_apart_from_the_databases_is_found(well, monkeypatch):
    monkeypatch.setattr(selfcheck, "read_clock", lambda: clock.now() + timedelta(seconds=9))

    assert failures() == {"clock"}


def test_missing_migrations_are_found_and_end_the_check(well):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'jobs'")

    assert set(findings()) == {"database"}
    assert failures() == {"database"}


def test_a_database_that_cannot_be_reached_is_one_clear_line(monkeypatch):
    def refuse():
        raise OperationalError("Can't connect")

    monkeypatch.setattr(connection, "ensure_connection", refuse)

    (finding,) = findings().values()

    assert finding.grade is Grade.FAILED
    assert "DATABASE_URL" in finding.text


def test_a_check_that_breaks_off_hides_no_other(well, monkeypatch):
    def broken(options):
        raise RuntimeError("no")
        yield

    monkeypatch.setattr(selfcheck, "CHECKS", (broken, selfcheck.stuck_runs))

    assert list(findings()) == ["database", "broken", "stuck runs"]


def test_a_job_that_works_off_its_backlog_is_not_overdue(well):
    JobFactory(catch_up="all", next_run_at=clock.now() - timedelta(hours=5))

    assert failures() == set()


@pytest.mark.parametrize("expression", ["0 9 */2 * 1", "0 9 2,*/18 * 0-6", "*/7 1-5 * * 1-5", "0 0 29 2 *"])
def test_the_evaluators_agree_but_for_the_known_difference(well, expression):
    JobFactory(cron_expression=expression, next_run_at=future())

    assert failures() == set()


def test_send_posts_to_slack(well, settings, http_sink):
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    row = get_slack_settings()
    row.is_enabled, row.webhook_url = True, encrypt(http_sink.url("/slack"))
    row.save()

    found = findings(send=True)

    assert found["slack"].grade is Grade.OK
    assert len(http_sink.calls_of("/slack")) == 1
    assert Status.RUNNING not in JobExecution.objects.values_list("status", flat=True)


def test_send_mails_an_admin(well, settings, mailoutbox):
    settings.MAIL_ENABLED, settings.EMAIL_HOST, settings.EMAIL_PORT = True, "mail.example.com", 25
    UserFactory(role="admin", email="boss@example.com")

    assert findings(send=True)["mail"].grade is Grade.OK
    assert mailoutbox[0].to == ["boss@example.com"]
