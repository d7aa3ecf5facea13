"""What people do in the admin site every day, in a real browser."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from playwright.sync_api import expect

from accounts.tests.factories import UserFactory
from jobs.models import JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def rows(transactional_db: None) -> None:
    now = datetime.now(UTC)
    job = JobFactory(next_run_at=now)
    for hours in range(3):
        ExecutionFactory(job=job, scheduled_for=now - timedelta(hours=hours), failed=True)


@pytest.mark.smoke
def test_a_job_is_made_corrected_and_run_by_hand(open_site):
    UserFactory(username="uma")
    CategoryFactory()
    TeamFactory(name="Platform")
    site = open_site()
    site.sign_in("uma")
    page = site.page

    site.go("jobs_job_add")
    page.get_by_label("Name").first.fill("Nightly")
    page.get_by_label("PIC team").select_option(label="Platform")
    page.get_by_label("Cron expression").fill("0 25 * * *")
    page.get_by_label("End date").fill(f"{date.today() + timedelta(days=30)}")  # noqa: DTZ011
    page.get_by_label("Target URL").fill("https://hooks.example.com/run")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errorlist").get_by_text('In the hour field, "25"')).to_be_visible()

    page.get_by_label("Cron expression").fill("0 2 * * *")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("At 02:00")).to_be_visible()

    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("Queued, to be sent within a second or two: 1.")).to_be_visible()
    page.get_by_role("link", name="Executions of this job").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    assert JobExecution.objects.get().triggered_by.username == "uma"


@pytest.mark.slow
def test_an_action_of_the_list_and_its_filters(as_admin, rows):
    site, page = as_admin, as_admin.page

    site.go("jobs_job_changelist")
    page.locator("#result_list tbody input.action-select").first.check()
    page.get_by_label("Select action to run").select_option("disable")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Disabled: 1.")).to_be_visible()

    page.locator("#result_list tbody input.action-select").first.check()
    page.get_by_label("Select action to run").select_option("delete_selected")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Are you sure you want to delete the selected job?")).to_be_visible()

    site.go("jobs_job_changelist")
    page.locator("#changelist a", has_text="Filters").click()
    page.locator("#filter-form select[name=state]").select_option("paused")
    page.get_by_role("button", name="Apply Filters").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    assert "state=paused" in page.url
