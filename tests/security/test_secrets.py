"""Secrets: encrypted where they are kept, and nowhere to be read: not in answers, pages, logs or reports."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import RequestFactory
from django.urls import reverse
from django.views.debug import ExceptionReporter, get_default_exception_reporter_filter

from accounts.models import AuditEntry, User
from cronsched.core.crypto import decrypt
from cronsched.management.commands.reencrypt import ENCRYPTED
from jobs.models import Job, JobExecution
from jobs.tests.factories import JobFactory
from notifications.models import SlackSettings

pytestmark = pytest.mark.django_db

SIGNING = "whsec_c2VjcmV0LXRoYXQtbm9ib2R5LXNoYWxsLXNlZQ=="
HOOK = "https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/nobodyShallSeeThis1234"
TOKEN = "ghp_nobodyShallSeeThisToken1234567890"
PASSWORD = "nobody-shall-see-this-password"
SECRETS = (SIGNING, HOOK.rpartition("/")[2], TOKEN, PASSWORD)
# Columns whose names say secret, and which hold none that could be read.
NO_SECRETS = {
    # Hashes.
    "accounts.User.password",
    "accounts.ApiKey.secret_hash",
    # When, or how often, or a random name that opens nothing.
    "accounts.User.token_version",
    "accounts.User.tokens_valid_after",
    "jobs.Job.signing_secret_changed_at",
    "jobs.JobExecution.claim_token",
    "notifications.Message.claim_token",
}
_SAYS_SECRET = re.compile("secret|token|passw|webhook_url|override|credential|api_?key|private_?key")


@pytest.fixture
def kept(admin_api: Any, admin_site: Any, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Each secret that the product keeps, given to it as people do."""
    job = JobFactory(github=True)
    assert admin_api.put(f"/jobs/{job.pk}", {"signing_secret": SIGNING}).status_code == 200
    assert admin_api.post(f"/jobs/{job.pk}/execute", {"github_token": TOKEN}).status_code == 200
    assert admin_api.put("/settings/slack", {"webhook_url": HOOK}).status_code == 200
    assert admin_site.submit("jobs_githubtoken_add", owner="acme", new_secret=TOKEN).status_code == 302
    user = {"username": "newcomer", "email": "new@example.com", "password": PASSWORD}
    assert admin_api.post("/auth/register", user).status_code == 201
    return job


def test_every_column_of_secrets_is_encrypted_and_can_be_rotated() -> None:
    """A new column that says secret belongs into `reencrypt`, or into the list above."""
    found = {
        f"{model._meta.label}.{column.name}"
        for model in apps.get_models()
        if model._meta.app_label in {"accounts", "jobs", "notifications", "taxonomy"}
        for column in model._meta.concrete_fields
        if _SAYS_SECRET.search(column.name)
    }

    assert found - NO_SECRETS <= {f"{model._meta.label}.{column}" for model, column in ENCRYPTED}


def test_nothing_in_the_database_can_be_read(kept: Job) -> None:
    with connection.cursor() as cursor:
        for model in apps.get_models():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(model._meta.db_table)}")  # noqa: S608
            assert leaks(repr(cursor.fetchall())) == [], model._meta.label
    assert decrypt(Job.objects.get(pk=kept.pk).signing_secret) == SIGNING
    assert TOKEN in decrypt(JobExecution.objects.get(job=kept).overrides)
    assert decrypt(SlackSettings.objects.get().webhook_url) == HOOK
    assert AuditEntry.objects.count() >= 3


def test_no_answer_of_the_api_tells_one(kept: Job, admin_api: Any) -> None:
    """But /settings/slack, which tells admins the URL: the contract has it so."""
    run = JobExecution.objects.get(job=kept)
    paths = ["/jobs", f"/jobs/{kept.pk}", "/executions", f"/executions/{run.pk}",
             "/auth/users",
             "/notifications", "/scheduler/status", "/health"]  # fmt: skip

    for path in paths:
        assert leaks(admin_api.get(path).content.decode()) == [], path


def test_no_page_of_the_admin_site_tells_one(kept: Job, admin_site: Any) -> None:
    """Lists and every row of every registered model, with its history."""
    for model in admin.site._registry:
        page = f"{model._meta.app_label}_{model._meta.model_name}"
        assert leaks(admin_site.open(f"{page}_changelist").content.decode()) == [], page
        for key in model._default_manager.values_list("pk", flat=True)[:5]:
            for view in ("change", "history"):
                answer = admin_site.open(f"{page}_{view}", key)
                assert leaks(answer.content.decode()) == [], f"{page}_{view}"


def test_no_log_tells_one(admin_api: Any, admin_site: Any, caplog: Any, request: Any) -> None:
    caplog.set_level(logging.DEBUG)
    request.getfixturevalue("kept")

    assert leaks(caplog.text) == []


# ---- reports of errors -------------------------------------------------------------------------------


def test_a_report_of_an_error_hides_settings_headers_and_forms(settings: Any) -> None:
    """What DEBUG shows on a page, and what Django would mail where ADMINS are set."""
    settings.DATABASE_URL = f"mysql://cron:{PASSWORD}@db/cron"
    settings.CELERY_BROKER_URL = f"redis://:{PASSWORD}@redis/0"
    settings.SECRET_KEY = settings.JWT_SECRET_KEY = settings.GITHUB_TOKEN = TOKEN
    settings.WEBHOOK_SIGNING_SECRET = SIGNING
    settings.EMAIL_HOST_PASSWORD = PASSWORD
    settings.DEBUG = False
    asked = RequestFactory().post(
        "/admin/login/", {"password": PASSWORD}, HTTP_AUTHORIZATION=f"Bearer {TOKEN}"
    )
    asked.COOKIES["sessionid"] = TOKEN
    asked.exception_reporter_filter = get_default_exception_reporter_filter()

    try:
        raise ValueError("no secret of ours")
    except ValueError:
        reporter = ExceptionReporter(asked, *sys.exc_info())

    for text in (reporter.get_traceback_text(), settings_shown(asked)):
        assert leaks(text) == []


def settings_shown(asked: Any) -> str:
    return repr(asked.exception_reporter_filter.get_safe_settings())


def test_nobody_is_mailed_of_errors(settings: Any) -> None:
    assert settings.ADMINS == []
    assert settings.MANAGERS == []


@pytest.mark.parametrize("path", ["/api/v2/auth/users", "/admin/accounts/user/"])
def test_a_failure_tells_nothing_of_itself(
    admin_api: Any, admin_site: Any, monkeypatch: Any, path: str
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError(f"cannot connect with {PASSWORD}")

    client = admin_api if path.startswith("/api") else admin_site
    client.raise_request_exception = False
    monkeypatch.setattr(User.objects.__class__, "get_queryset", fail, raising=False)

    answer = client.get(path)

    assert answer.status_code == 500
    assert leaks(answer.content.decode()) == []
    assert "RuntimeError" not in answer.content.decode()


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_the_sign_in_page_is_kept_by_nobody(client: Any) -> None:
    """Neither a browser's back button nor a proxy may show what one saw before signing out."""
    assert "no-store" in client.get(reverse("admin:login"))["Cache-Control"]
