"""The first hour on an empty installation: sign in with the password that was shown once, and be guided."""

from __future__ import annotations

from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import expect

from accounts.models import User
from cronsched.core import clock
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.choices import Status
from jobs.models import Job, JobExecution
from tests.browser.pages import PHONE, SHORT_LOOKS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SOON = date.today() + timedelta(days=30)  # noqa: DTZ011


@pytest.fixture
def shown_password(settings: Any, transactional_db: None) -> str:
    """What `./start.sh` shows of a database without anybody in it: the first admin's password."""
    assert not User.objects.exists()
    settings.ALLOW_DEFAULT_ADMIN, settings.DEFAULT_ADMIN_PASSWORD = True, ""
    said = StringIO()
    call_command("seed", stdout=said)
    return said.getvalue().rpartition("only this once: ")[2].strip()


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [None, PHONE])
def test_the_first_sign_in_and_the_guide_to_the_first_run(
    open_site: Any, settings: Any, http_sink: HttpSink, shown_password: str, viewport: Any
):
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    http_sink.by_default(Reply(body=b"ok"))
    site = open_site(None, **({"viewport": viewport} if viewport else {}))
    page = site.page

    site.sign_in(settings.DEFAULT_ADMIN_USERNAME, shown_password)
    guide = page.get_by_role("region", name="First steps")
    expect(guide).to_contain_text("0 of 4 done")
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    found = site.faults_in(SHORT_LOOKS, of="the guide")
    if viewport:
        site.look(viewport=viewport)

    guide.get_by_role("link", name="Add a team").click()
    page.locator("#id_name").fill("Platform")
    page.get_by_label("Slack handle").fill("@platform")
    page.get_by_role("button", name="Save", exact=True).click()
    site.go("index")
    expect(guide).to_contain_text("1 of 4 done")

    guide.get_by_role("link", name="Open the Slack settings").click()
    page.locator("#id_is_enabled").check(force=True)
    page.get_by_label("Webhook URL").fill(http_sink.url("/services/T0/B0/a-long-secret-part"))
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Send a test message").click()
    expect(page.get_by_text("Slack took the message.")).to_be_visible()
    site.go("index")
    expect(guide).to_contain_text("2 of 4 done")

    guide.get_by_role("link", name="Create a job").click()
    page.locator("#id_name").fill("Nightly")
    page.locator("#id_pic_team").select_option(label="Platform")
    page.locator("#id_cron_expression").fill("0 2 * * *")
    page.locator("#id_end_date").fill(f"{SOON}")
    page.locator("#id_target_url").fill(http_sink.url("/run"))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Nightly", level=2)).to_be_visible()
    site.go("index")
    expect(guide).to_contain_text("3 of 4 done")
    found += site.faults_in(SHORT_LOOKS, of="the guide, nearly done")

    guide.get_by_role("link", name="Open the job").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("Queued, to be sent within a second or two: 1.")).to_be_visible()
    # As a scheduler would.
    JobExecution.objects.update(status=Status.SUCCESS, completed_at=clock.now(), duration_seconds=0.1)
    site.go("index")
    expect(page.get_by_role("heading", name="The coming 24 hours")).to_be_visible()
    expect(guide).to_have_count(0)

    assert Job.objects.get().created_by.username == settings.DEFAULT_ADMIN_USERNAME
    assert found == []


@pytest.mark.slow
def test_the_guide_is_hidden_by_who_needs_none(as_admin: Any):
    as_admin.go("index")
    guide = as_admin.page.get_by_role("region", name="First steps")

    guide.get_by_role("button", name="Hide").click()

    expect(guide).to_have_count(0)
