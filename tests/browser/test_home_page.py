"""The home page in a browser: it stays up to date by itself, disturbs nobody, and leads on."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from jobs.models import JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from tests.browser.conftest import user_of
from tests.browser.pages import PHONE, Site

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# As a browser does when the tab goes to the back, or comes to the front again.
HIDE = """value => {
  Object.defineProperty(document, 'hidden', { value, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
# Longer than the page waits between two looks.
TURN_MS = 25_000


def failed_job(name: str, owner: Any, **more: Any) -> Any:
    job = JobFactory(name=name, created_by=owner, last_status="failed", **more)
    moment = datetime.now(UTC) - timedelta(hours=2)
    ExecutionFactory(job=job, failed=True, scheduled_for=moment, error_message="connection refused")
    return job


@pytest.mark.smoke
def test_what_failed_is_run_again_with_one_click(as_user: Site):
    failed_job("Mine", as_user.user)
    failed_job("Theirs", user_of("admin"))
    page = as_user.page

    as_user.go("index")
    expect(page.get_by_text("connection refused")).to_have_count(2)
    expect(page.get_by_role("button", name="Run again")).to_have_count(1)
    page.get_by_role("button", name="Run again: Mine").click()

    expect(page.get_by_text("Queued, to be sent within a second or two: 1.")).to_be_visible()
    run = JobExecution.objects.get(trigger_type="manual")
    page.locator(f'a[href="{reverse("admin:jobs_jobexecution_change", args=[run.pk])}"]').first.click()
    expect(page).to_have_url(f"{as_user.base}{reverse('admin:jobs_jobexecution_change', args=[run.pk])}")


@pytest.mark.slow
def test_it_is_brought_up_to_date_without_a_reload_and_keeps_the_focus(as_admin: Site):
    first = failed_job("First", as_admin.user)
    page = as_admin.page
    as_admin.go("index")
    page.evaluate("window.isTheSamePage = true")
    page.locator("#cs-days summary").click()
    button = page.get_by_role("button", name="Run again: First")
    button.focus()

    second = failed_job("Second", as_admin.user)

    expect(page.get_by_role("button", name="Run again: Second")).to_be_visible(timeout=TURN_MS)
    assert page.evaluate("window.isTheSamePage")
    assert page.evaluate("document.activeElement.id") == f"again-{first.pk}"
    assert page.evaluate("document.getElementById('cs-days').open")
    expect(page.locator("#cs-live-status")).to_contain_text("2 failed in 24 hours.")
    assert JobExecution.objects.filter(job=second).count() == 1


@pytest.mark.slow
def test_nothing_is_fetched_while_nobody_looks(as_viewer: Site):
    failed_job("First", user_of("admin"))
    page = as_viewer.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    as_viewer.go("index")
    fragment = as_viewer.base + reverse("admin:home")

    page.evaluate(HIDE, True)
    page.clock.run_for(120_000)
    assert fragment not in asked
    with page.expect_request(fragment):
        page.evaluate(HIDE, False)


@pytest.mark.slow
def test_it_says_when_it_cannot_be_brought_up_to_date(as_viewer: Site):
    page = as_viewer.page
    page.clock.install()
    as_viewer.go("index")
    page.route("**/admin/home/", lambda route: route.abort())
    as_viewer.complaints.clear()

    page.clock.run_for(11_000)

    expect(page.get_by_role("alert")).to_contain_text("could not be brought up to date")
    page.unroute("**/admin/home/")
    page.clock.run_for(11_000)
    expect(page.locator("#cs-live-fault")).to_be_hidden()
    # The browser's own line about the request that was stopped.
    as_viewer.complaints[:] = [text for text in as_viewer.complaints if "ERR_FAILED" not in text]


def test_a_number_leads_to_what_it_counts(as_viewer: Site):
    failed_job("Broken", user_of("admin"))
    page = as_viewer.page
    as_viewer.go("index")

    page.locator(".cs-figure", has_text="Failed").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("#result_list")).to_contain_text("Broken")


@pytest.mark.slow
def test_days_and_hours_lead_to_what_they_count_by_mouse_and_by_keyboard(as_viewer: Site):
    failed_job("Broken", user_of("admin"), cron_expression="0 * * * *", next_run_at=datetime.now(UTC))
    page, rows = as_viewer.page, as_viewer.page.locator("#result_list tbody tr")

    as_viewer.go("index")
    page.locator("#cs-days summary").press("Enter")
    failed = page.locator("#cs-days tbody a[href*='status__exact=failed']").first
    failed.press("Enter")
    expect(rows).to_have_count(1)
    expect(page.locator("#result_list")).to_contain_text("Broken")

    as_viewer.go("index")
    page.locator("#cs-coming summary").press("Enter")
    page.locator("#cs-coming tbody a").first.press("Enter")
    expect(rows).to_have_count(1)
    as_viewer.go("index")
    page.locator(".cs-chart-timeline a").first.click()
    expect(page).to_have_url(re.compile("runs_at="))
    expect(rows).to_have_count(1)


@pytest.mark.slow
def test_it_is_usable_on_a_phone_and_in_the_dark(open_site):
    site = open_site("admin", viewport=PHONE, colours="dark")
    failed_job("A rather long name of a job that needs two lines", site.user)
    site.go("index")

    expect(site.page.get_by_role("button", name="Run again")).to_be_visible()
    assert site.faults() == []
