"""Tokens: who may set them, which one is used, what GitHub says about them, and that nobody sees them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from accounts.models import AuditEntry
from accounts.tests.factories import UserFactory
from cronsched.chores import all_chores
from cronsched.core.crypto import decrypt
from cronsched.core.errors import InvalidInput
from cronsched.testing.fake_github import TEST_TOKEN, FakeGitHub, Mode
from cronsched.testing.fake_github.server import Grant
from cronsched.testing.fixtures_admin import Visitor, errors_of, messages_of
from jobs.engine.config import EngineConfig, from_settings
from jobs.engine.github_tokens import TokenBook
from jobs.engine.messages import TargetKind
from jobs.engine.transports import github_app
from jobs.models import GitHubToken
from jobs.services.github_check import Expiring, check_github_token, look_for_expiry
from jobs.services.github_tokens import create_github_token, delete_github_token, update_github_token
from jobs.services.trial import try_target
from jobs.tests.factories import NOON, JobFactory
from notifications.audience import FAILURES
from notifications.engine.mail import build_mail
from notifications.engine.slack import build_post
from notifications.github_tokens import announce_expiring
from notifications.models import Message, Notification, NotificationPreferences
from notifications.services.slack_settings import update_slack_settings
from notifications.unsubscribe import Subscription, unsubscribe, why_unwanted

pytestmark = pytest.mark.django_db
SECRET = "github_pat_11AAAAAAA0123456789"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    github_app._kept.clear()
    github_app._refused.clear()


@pytest.fixture
def github(settings: Any) -> Any:
    with FakeGitHub() as made:
        settings.GITHUB_API_URL, settings.GITHUB_TOKEN = made.api_url, TEST_TOKEN
        yield made


def make(**values: Any) -> GitHubToken:
    return create_github_token(data={"owner": "acme", "secret": SECRET, **values}, by=None, now=NOON)


def refusal(**values: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidInput) as caught:
        make(**values)
    return caught.value.details


@pytest.fixture(scope="module")
def app_key() -> tuple[str, str]:
    """A key pair in PEM: private, public."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


# ---- set --------------------------------------------------------------------------------------


def test_a_token_is_kept_encrypted():
    row = make()

    assert SECRET not in json.dumps(list(GitHubToken.objects.values()), default=str)
    assert decrypt(row.secret) == SECRET


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": "a/b"}, "owner"),
        ({"owner": ".."}, "owner"),
        ({"repo": "a b"}, "repo"),
        ({"kind": "password"}, "kind"),
        ({"secret": ""}, "secret"),
        ({"secret": "two words"}, "secret"),
        ({"secret": "x" * 501}, "secret"),
        ({"kind": "app", "app_id": "1", "installation_id": "2", "secret": "no key"}, "secret"),
        ({"kind": "app", "app_id": "1", "installation_id": "x", "secret": "no key"}, "installation_id"),
        ({"kind": "app", "secret": "no key"}, "app_id"),
        ({"owner": "a\x00"}, "owner"),
    ],
)
def test_what_is_wrong_is_said_by_its_field_and_never_repeats_the_secret(values, field):
    details = refusal(**values)

    assert field in details
    assert "no key" not in json.dumps(details)
    assert not GitHubToken.objects.exists()


def test_there_is_one_token_for_a_scope():
    make(repo="App")

    assert refusal(owner="ACME", repo="app").keys() == {"repo"}


def test_an_empty_secret_keeps_the_stored_one_and_the_history_shows_none(a_user):
    row = make(repo="app")
    update_github_token(row, data={"repo": "site", "secret": ""}, by=a_user, now=NOON)
    update_github_token(row, data={"secret": "ghp_another"}, by=a_user, now=NOON)
    delete_github_token(row, by=a_user, now=NOON)

    entries = list(AuditEntry.objects.filter(kind="github_token").order_by("at", "id"))
    assert [entry.action for entry in entries] == ["created", "updated", "updated", "deleted"]
    assert entries[1].changes == {"repo": ["app", "site"]}
    kept = json.dumps([entry.changes for entry in entries])
    assert SECRET not in kept
    assert "ghp_another" not in kept
    assert "gAAAA" not in kept


# ---- chosen -----------------------------------------------------------------------------------


def test_the_most_specific_token_is_used():
    make(secret="of-acme")
    make(repo="app", secret="of-app")
    config = EngineConfig(grace_s=30, max_instances=3, timeout_s=30, github_token="of-the-environment")
    book = TokenBook(config)

    found = [
        book.find(*each.split("/")).token for each in ("Acme/APP", "acme/site", "other/app", "acme/app-two")
    ]
    assert found == ["of-app", "of-acme", "of-the-environment", "of-acme"]


def test_a_batch_reads_the_tokens_once(django_assert_num_queries):
    make()
    book = TokenBook(from_settings())

    with django_assert_num_queries(1):
        for number in range(5):
            book.find("acme", f"app{number}")


def test_a_test_run_uses_the_same_token(github):
    github.token = "nobody's"
    github.grants[SECRET] = Grant()
    make()
    target = {"github_repo": "acme/app", "github_workflow_name": "w.yml", "ref": "main"}

    assert try_target(target, now=NOON).ok
    assert not try_target({**target, "github_repo": "other/app"}, now=NOON).ok


# ---- an App -----------------------------------------------------------------------------------


def app(app_key: tuple[str, str], github: FakeGitHub, **permissions: str) -> GitHubToken:
    github.apps["77"] = (
        app_key[1],
        permissions or {"actions": "write", "contents": "read", "metadata": "read"},
    )
    return make(kind="app", app_id="77", installation_id="5", secret=app_key[0])


def test_an_app_is_asked_for_a_token_once_an_hour(github, app_key):
    app(app_key, github)
    github.mode = Mode.RUN_DETAILS
    target = {"github_repo": "acme/app", "github_workflow_name": "w.yml", "ref": "main"}

    results = [try_target(target, now=NOON) for _ in range(3)]

    assert [result.ok for result in results] == [True, True, True]
    assert [result.kind for result in results] == [TargetKind.GITHUB_ACTIONS] * 3
    assert len(github.calls_of("POST", "/access_tokens")) == 1
    assert all(
        call.headers["authorization"].startswith("Bearer ghs_") for call in github.calls_of("POST", "/disp")
    )


def test_an_app_that_github_does_not_know_says_so(github, app_key):
    make(kind="app", app_id="78", installation_id="5", secret=app_key[0])

    target = {"github_repo": "acme/app", "github_workflow_name": "w.yml", "ref": "main"}
    result = try_target(target, now=NOON)

    assert not result.ok
    assert "GitHub App was given no token" in result.message
    assert not github.runs


def test_a_key_that_was_entered_anew_is_tried_at_once(github, app_key):
    target = {"github_repo": "acme/app", "github_workflow_name": "w.yml", "ref": "main"}
    row = make(kind="app", app_id="78", installation_id="5", secret=app_key[0])
    results = [try_target(target, now=NOON) for _ in range(3)]
    assert [result.ok for result in results] == [False] * 3
    assert len(github.calls_of("POST", "/access_tokens")) == 1, "a refusal stands for a while"

    github.apps["77"] = (app_key[1], {"actions": "write"})
    update_github_token(row, data={"app_id": "77"}, by=None, now=NOON)

    assert try_target(target, now=NOON).ok


def test_a_check_asks_for_a_token_although_one_was_refused_a_moment_ago(github, app_key):
    row = make(kind="app", app_id="77", installation_id="5", secret=app_key[0])
    target = {"github_repo": "acme/app", "github_workflow_name": "w.yml", "ref": "main"}
    assert not try_target(target, now=NOON).ok
    github.apps["77"] = (app_key[1], {"actions": "write", "contents": "read", "metadata": "read"})

    assert check_github_token(row, now=NOON).ok


# ---- checked ----------------------------------------------------------------------------------


def test_a_good_token_is_said_to_be_good(github):
    github.grants[SECRET] = Grant(expires_at=(NOON + timedelta(days=400)).timestamp())
    github.world.add("acme/app", {"w.yml": "on: workflow_dispatch"})
    row = make(repo="app")

    done = check_github_token(row, now=NOON)

    assert done.ok, str(done)
    assert not github.runs, "a check starts nothing"
    row.refresh_from_db()
    assert (row.checked_at, row.expires_at) == (NOON, NOON + timedelta(days=400))


def test_an_enterprise_server_without_rate_limits_takes_a_good_token_too(github, settings):
    github.has_rate_limits = False
    settings.GITHUB_TOKEN = ""
    github.grants[SECRET] = Grant(expires_at=(NOON + timedelta(days=400)).timestamp())
    github.world.add("acme/app", {"w.yml": "on: workflow_dispatch"})
    row = make(repo="app")

    assert check_github_token(row, now=NOON).ok
    assert [one.expires_at for one in look_for_expiry(now=NOON)] == [NOON + timedelta(days=400)]
    github.grants.clear()
    assert "Bad credentials" in str(check_github_token(row, now=NOON))


def test_an_enterprise_server_without_rate_limits_takes_an_app_too(github, app_key):
    github.has_rate_limits = False
    row = app(app_key, github)
    github.world.add("acme/app", {"w.yml": "on: workflow_dispatch"})
    JobFactory(github=True)

    assert check_github_token(row, now=NOON).ok


@pytest.mark.parametrize(
    ("missing", "line"), [("actions=read", "Actions: read"), ("actions=write", "Actions: write")]
)
def test_a_check_names_the_missing_permission(github, missing, line):
    full = Grant()
    github.grants[SECRET] = Grant(permissions=full.permissions - {missing})
    github.world.add("acme/app", {"w.yml": "on: workflow_dispatch"})

    done = check_github_token(make(repo="app"), now=NOON)

    [bad] = [one for one in done.lines if not one.ok]
    assert bad.what == line
    assert f"it needs {missing}" in bad.text


def test_a_check_of_an_app_reads_its_permissions(github, app_key):
    row = app(app_key, github, actions="read", contents="read", metadata="read")
    github.world.add("acme/app", {"w.yml": "on: workflow_dispatch"})
    JobFactory(github=True)

    done = check_github_token(row, now=NOON)

    assert [line.what for line in done.lines if not line.ok] == ["Actions: write"]


def test_a_token_of_an_app_that_was_revoked_is_asked_for_anew_by_the_next_check(github, app_key):
    row = app(app_key, github)
    github.world.add("acme/app", {"w.yml": "on: workflow_dispatch"})
    assert check_github_token(row, now=NOON).ok
    github._app_tokens.clear()
    github.grants.clear()

    assert not check_github_token(row, now=NOON).ok
    assert check_github_token(row, now=NOON).ok


def test_a_token_that_github_does_not_take(github):
    done = check_github_token(make(), now=NOON)

    assert [line.ok for line in done.lines] == [False]
    assert "Bad credentials" in done.lines[0].text


# ---- their end --------------------------------------------------------------------------------


def test_the_end_is_announced_two_weeks_and_three_days_before_once_each(github, an_admin):
    UserFactory()
    end = NOON + timedelta(days=20)
    token = Expiring(key="acme/", name="acme/*", expires_at=end)

    told = {
        days: announce_expiring([token], now=end - timedelta(days=days))
        for days in (20, 15, 14, 13, 4, 3, 2, 1, 0, -1)
    }

    assert [days for days, count in told.items() if count] == [14, 3, 0]
    assert {notice.user_id for notice in Notification.objects.all()} == {an_admin.pk}


def test_the_end_is_told_by_mail_and_slack_once_each(an_admin, settings):
    settings.MAIL_ENABLED = True
    settings.PUBLIC_BASE_URL = "https://cron.example"
    deaf = UserFactory(role="admin", username="deaf")
    NotificationPreferences.objects.create(user=deaf, email_on_job_failure=False, updated_at=NOON)
    UserFactory()
    url = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"
    update_slack_settings(data={"is_enabled": True, "webhook_url": url}, by=None, now=NOON)
    token = Expiring(key="acme/", name="acme/<*>", expires_at=NOON + timedelta(days=2))

    for _ in range(2):
        announce_expiring([token], now=NOON)

    mail, slack = Message.objects.order_by("channel")
    assert (mail.channel, mail.recipient, slack.channel) == ("email", an_admin.email, "slack")
    assert why_unwanted(mail) == ""
    built = build_mail(mail)
    assert built.subject == "[cronsched] The GitHub token acme/<*> ends on 2026-03-12"
    assert "Make a new one at GitHub" in str(built.body)
    assert "https://cron.example/admin/jobs/githubtoken/" in str(built.body)
    html = str(built.alternatives[0][0])
    assert "acme/&lt;*&gt;" in html
    assert "acme/<*>" not in html
    text = json.dumps(build_post(slack))
    assert "Make a new one at GitHub" in text
    assert "acme/&lt;*&gt;" in text


def test_several_ends_are_one_message(an_admin, settings):
    settings.MAIL_ENABLED = True
    ends = {"a": NOON - timedelta(hours=1), "b": NOON + timedelta(days=10)}

    announce_expiring([Expiring(key=key, name=key, expires_at=at) for key, at in ends.items()], now=NOON)

    built = build_mail(Message.objects.get())
    assert built.subject == "[cronsched] 2 GitHub tokens have ended or end soon"
    assert "The GitHub token a ended on 2026-03-10" in str(built.body)
    assert "The GitHub token b ends on 2026-03-20" in str(built.body)


def test_whoever_left_the_mail_gets_none(an_admin, settings):
    settings.MAIL_ENABLED = True
    token = Expiring(key="acme/", name="acme/*", expires_at=NOON)
    announce_expiring([token], now=NOON)
    unsubscribe(Subscription(address=an_admin.email, topics=[FAILURES]), now=NOON)

    assert "unsubscribed" in why_unwanted(Message.objects.get())
    announce_expiring([Expiring(key="b", name="b", expires_at=NOON)], now=NOON)
    assert Message.objects.count() == 1


def test_github_tells_the_end(github, settings):
    github.grants[TEST_TOKEN] = Grant(expires_at=(NOON + timedelta(days=10)).timestamp())
    github.grants[SECRET] = Grant()
    make()
    github.clock = NOON.timestamp

    assert [(one.name, one.expires_at) for one in look_for_expiry(now=NOON)] == [
        ("GITHUB_TOKEN", NOON + timedelta(days=10))
    ]


def test_the_chore_tells_admins(github, an_admin):
    github.grants[TEST_TOKEN] = Grant(expires_at=(NOON + timedelta(days=2)).timestamp())
    github.clock = NOON.timestamp
    chore = next(chore for chore in all_chores() if chore.name == "github_tokens")

    chore.work(None, NOON)  # type: ignore[arg-type]

    notice = Notification.objects.get()
    assert notice.title == "The GitHub token GITHUB_TOKEN ends on 2026-03-12"


# ---- pages ------------------------------------------------------------------------------------


def test_an_admin_sets_checks_and_removes_a_token(admin_site: Visitor, github):
    github.grants["ghp_new"] = Grant()
    page = "jobs_githubtoken"

    assert admin_site.submit(f"{page}_add", owner="acme", new_secret="ghp_new").status_code == 302
    row = GitHubToken.objects.get()
    checked = admin_site.send(f"{page}_check", row.pk)
    shown = admin_site.open(f"{page}_change", row.pk)

    assert "GitHub takes the token" in messages_of(checked)
    assert decrypt(row.secret) == "ghp_new"
    assert "ghp_new" not in shown.content.decode()
    assert row.secret not in shown.content.decode()
    assert admin_site.submit(f"{page}_change", row.pk, repo="app").status_code == 302
    row.refresh_from_db()
    assert (row.repo, decrypt(row.secret)) == ("app", "ghp_new")


def test_a_fault_is_shown_at_its_field(admin_site: Visitor):
    answer = admin_site.submit("jobs_githubtoken_add", owner="acme", new_secret="")

    assert errors_of(answer)["new_secret"] == ["Token, or the App's private key is required."]


@pytest.mark.parametrize("site", ["user_site", "viewer_site"])
def test_others_do_not_see_tokens(site, request, github):
    visitor = request.getfixturevalue(site)
    row = make()

    assert visitor.open("jobs_githubtoken_changelist").status_code == 403
    assert visitor.open("jobs_githubtoken_change", row.pk).status_code in (302, 403)
    assert visitor.send("jobs_githubtoken_check", row.pk).status_code == 403
    assert not github.sink.calls


@time_machine.travel(NOON, tick=False)
def test_lists_cost_a_fixed_number_of_statements(admin_site: Visitor, django_assert_max_num_queries):
    for number in range(20):
        make(repo=f"app{number}")

    with django_assert_max_num_queries(12):
        assert admin_site.open("jobs_githubtoken_changelist").status_code == 200
