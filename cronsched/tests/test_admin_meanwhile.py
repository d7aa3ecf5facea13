"""A form that was open while somebody else saved: nothing of theirs is undone, and nothing typed is lost."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import services
from accounts.models import User
from accounts.tests.factories import UserFactory
from cronsched.core import clock
from cronsched.testing.fixtures_admin import errors_of, sent_by
from jobs.models import GitHubToken, Job
from jobs.services.github_tokens import create_github_token, update_github_token
from jobs.services.lifecycle import update_job
from jobs.tests.factories import JobFactory
from notifications.models import SlackSettings
from notifications.services.slack_settings import get_slack_settings, update_slack_settings
from taxonomy.models import PicTeam
from taxonomy.services import update_team
from taxonomy.tests.factories import TeamFactory

pytestmark = pytest.mark.django_db
CHANGE = "jobs_job_change"
URL = "https://hooks.slack.com/services/T0/B0/abcdefgh"
OTHER_URL = "https://hooks.slack.com/services/T0/B0/ijklmnop"


@pytest.fixture
def colleague() -> User:
    return UserFactory(username="carla", role="admin")


def change(job: Job, by: User, **data: Any) -> None:
    update_job(job, data=data, by=by, now=clock.now(), via="api")


def test_a_field_that_nobody_touched_here_keeps_what_a_colleague_gave_it(admin_site, colleague):
    team = TeamFactory()
    job = JobFactory(metadata={"a": 1}, max_retries=1, notification_emails=["a@b.co"])
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(
        job, colleague, cron_expression="0 7 * * *", metadata={"b": 2}, max_retries=5, is_active=False,
        end_date="2031-01-01", pic_team=team.slug, notification_emails=[], target_url="https://a.example.com/",
    )  # fmt: skip

    answer = admin_site.send(CHANGE, job.pk, **{**open_since, "name": "Renamed"})

    job.refresh_from_db()
    assert answer.status_code == 302
    assert (job.name, job.cron_expression, job.metadata) == ("Renamed", "0 7 * * *", {"b": 2})
    assert (job.max_retries, job.is_active, job.end_date) == (5, False, date(2031, 1, 1))
    assert (job.pic_team, job.notification_emails) == (team, [])
    assert job.target_url == "https://a.example.com/"


def test_a_field_that_both_changed_is_told_with_who_when_and_what(admin_site, colleague):
    job = JobFactory(name="Backup", cron_expression="0 9 * * *")
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, cron_expression="0 7 * * *")

    typed = {**open_since, "cron_expression": "0 5 * * *", "name": "Typed"}
    answer = admin_site.send(CHANGE, job.pk, **typed)

    errors = errors_of(answer)
    assert list(errors) == ["cron_expression"]
    assert "carla changed this at 20" in errors["cron_expression"][0]
    assert "cron expression 0 9 * * * → 0 7 * * *" in errors["cron_expression"][0]
    job.refresh_from_db()
    assert (job.name, job.cron_expression) == ("Backup", "0 7 * * *"), (
        "nothing is written before it is decided"
    )
    again = sent_by(answer.context["adminform"].form)
    assert (again["cron_expression"], again["name"]) == ("0 5 * * *", "Typed"), "nothing typed is lost"

    assert admin_site.send(CHANGE, job.pk, **again).status_code == 302
    job.refresh_from_db()
    assert (job.name, job.cron_expression) == ("Typed", "0 5 * * *")


def test_theirs_is_kept_by_entering_it(admin_site, colleague):
    job = JobFactory(cron_expression="0 9 * * *")
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, cron_expression="0 7 * * *")
    answer = admin_site.send(CHANGE, job.pk, **{**open_since, "cron_expression": "0 5 * * *"})

    again = sent_by(answer.context["adminform"].form)
    admin_site.send(CHANGE, job.pk, **{**again, "cron_expression": "0 7 * * *"})

    job.refresh_from_db()
    assert (job.cron_expression, job.schedule_version) == ("0 7 * * *", 2)


@pytest.mark.databases
def test_the_row_is_held_from_the_comparison_to_the_write(admin_site, colleague):
    """Else somebody could change it between the two. SQLite's writers queue anyway."""
    if not connection.features.has_select_for_update:
        pytest.skip("the database locks no rows")
    job = JobFactory()
    given = {**admin_site.filled_in(CHANGE, job.pk), "name": "Renamed"}

    with CaptureQueriesContext(connection) as caught:
        admin_site.send(CHANGE, job.pk, **given)

    of_jobs = [query["sql"] for query in caught if "jobs_job" in query["sql"]]
    assert "FOR UPDATE" in of_jobs[0]


def test_a_third_change_is_told_again(admin_site, colleague):
    job = JobFactory(cron_expression="0 9 * * *")
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, cron_expression="0 7 * * *")
    answer = admin_site.send(CHANGE, job.pk, **{**open_since, "cron_expression": "0 5 * * *"})
    change(job, colleague, cron_expression="0 8 * * *")

    answer = admin_site.send(CHANGE, job.pk, **sent_by(answer.context["adminform"].form))

    assert "0 7 * * * → 0 8 * * *" in errors_of(answer)["cron_expression"][0]


def test_what_both_changed_alike_is_no_conflict(admin_site, colleague):
    job = JobFactory(cron_expression="0 9 * * *")
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, cron_expression="0 7 * * *")

    answer = admin_site.send(CHANGE, job.pk, **{**open_since, "cron_expression": "0 7 * * *"})

    assert answer.status_code == 302


def test_a_refusal_of_something_else_does_not_turn_untouched_fields_into_changes(admin_site, colleague):
    job = JobFactory(max_retries=1)
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, max_retries=5)
    answer = admin_site.send(CHANGE, job.pk, **{**open_since, "cron_expression": "nonsense"})
    assert list(errors_of(answer)) == ["cron_expression"]

    again = {**sent_by(answer.context["adminform"].form), "cron_expression": "0 5 * * *"}
    assert admin_site.send(CHANGE, job.pk, **again).status_code == 302

    job.refresh_from_db()
    assert (job.max_retries, job.cron_expression) == (5, "0 5 * * *")


def test_another_kind_of_target_that_was_chosen_meanwhile_is_not_swept_away(admin_site, colleague):
    """A new URL puts the workflow aside, of which this form knew nothing."""
    job = JobFactory()
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, github_owner="acme", github_repo="app", github_workflow_name="nightly.yml")

    answer = admin_site.send(CHANGE, job.pk, **{**open_since, "target_url": "https://b.example.com/"})

    assert set(errors_of(answer)) == {"github_owner", "github_repo", "github_workflow_name"}
    job.refresh_from_db()
    assert job.github_repo == "app"


def test_a_renamed_job_keeps_the_target_that_was_chosen_meanwhile(admin_site, colleague):
    job = JobFactory()
    open_since = admin_site.filled_in(CHANGE, job.pk)
    change(job, colleague, github_owner="acme", github_repo="app", github_workflow_name="nightly.yml")

    assert admin_site.send(CHANGE, job.pk, **{**open_since, "name": "Renamed"}).status_code == 302

    job.refresh_from_db()
    assert (job.name, job.github_repo) == ("Renamed", "app")


def test_users_teams_and_settings_keep_to_it_too(admin_site, colleague):
    now = clock.now()
    user, team, slack = UserFactory(role="user"), TeamFactory(name="Data"), get_slack_settings()
    token = create_github_token(
        data={"owner": "acme", "kind": "token", "secret": "ghp_first"}, by=colleague, now=now
    )
    pages = {
        "accounts_user_change": (user, {"email": "new@example.com"}),
        "taxonomy_picteam_change": (team, {"slack_handle": "@new"}),
        "notifications_slacksettings_change": (slack, {"channel": "#new"}),
        "jobs_githubtoken_change": (token, {"owner": "other"}),
    }
    opened = {page: admin_site.filled_in(page, row.pk) for page, (row, _changes) in pages.items()}
    services.update_user(user, changes={"role": "admin"}, by=colleague, now=now)
    update_team(team, data={"name": "Platform"}, by=colleague, now=now)
    update_slack_settings(data={"webhook_url": OTHER_URL, "is_enabled": True}, by=colleague, now=now)
    update_github_token(token, data={"repo": "app"}, by=colleague, now=now)

    for page, (row, changes) in pages.items():
        answer = admin_site.send(page, row.pk, **{**opened[page], **changes})
        assert answer.status_code == 302, (page, errors_of(answer))

    assert User.objects.filter(pk=user.pk, role="admin", email="new@example.com").exists()
    assert PicTeam.objects.filter(pk=team.pk, name="Platform", slack_handle="@new").exists()
    assert SlackSettings.objects.filter(channel="#new", is_enabled=True).exists()
    assert GitHubToken.objects.filter(pk=token.pk, owner="other", repo="app").exists()

    again = {**opened["taxonomy_picteam_change"], "name": "Mine"}
    assert (
        "carla changed this"
        in errors_of(admin_site.send("taxonomy_picteam_change", team.pk, **again))["name"][0]
    )


def test_no_secret_stands_in_a_hidden_field(admin_site):
    job = JobFactory()
    user = UserFactory()
    update_slack_settings(data={"webhook_url": URL}, by=admin_site.user, now=clock.now())
    token = create_github_token(
        data={"owner": "acme", "kind": "token", "secret": "ghp_first"}, by=admin_site.user, now=clock.now()
    )
    tries = [
        (CHANGE, job.pk, "new_signing_secret", "too short, but a secret"),
        ("accounts_user_change", user.pk, "new_password", "s3cr3"),
        ("jobs_githubtoken_change", token.pk, "new_secret", "ghp s3cr3t s3cr3t"),
        ("notifications_slacksettings_change", get_slack_settings().pk, "webhook_url", "ftp://s3cr3t"),
    ]
    for page, pk, field, secret in tries:
        for given in (admin_site.filled_in(page, pk), {}):
            answer = admin_site.send(page, pk, **{**given, field: secret})
            form = answer.context["adminform"].form
            assert form.errors, page
            hidden = {name: value for name, value in sent_by(form).items() if name.startswith("initial-")}
            assert secret not in str(hidden), page
            assert "abcdefgh" not in answer.content.decode()
