"""The admin site in a real browser: no page breaks its policy, asks another host, or is too wide."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect, sync_playwright

from accounts.tests.factories import PASSWORD, UserFactory
from jobs.models import ChoreState, Job, JobExecution, SchedulerLease
from jobs.tests.factories import ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PAGES = (
    "index",
    "jobs_job_changelist",
    "jobs_job_add",
    "jobs_jobexecution_changelist",
    "taxonomy_jobcategory_changelist",
    "taxonomy_picteam_changelist",
    "notifications_notification_changelist",
    "notifications_notificationpreferences_changelist",
    "notifications_slacksettings_changelist",
    "accounts_user_changelist",
    "accounts_user_add",
    "jobs_schedulerlease_changelist",
    "jobs_chorestate_changelist",
    "django_apscheduler_djangojob_changelist",
    "django_apscheduler_djangojobexecution_changelist",
    "accounts_loginfailure_changelist",
    "password_change",
)


@pytest.fixture
def _loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # Playwright runs an event loop in this thread, beside which Django refuses its database.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@pytest.fixture
def browser(chromium_path: str, _loop: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """A page, with all that it complained of and all that it asked another host for."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.complaints: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("request", self._request)
        page.on("response", self._response)

    def go(self, name: str, *args: Any) -> None:
        self.page.goto(self.base + reverse(f"admin:{name}", args=args), wait_until="load")

    def sign_in(self, username: str) -> None:
        self.go("login")
        self.page.get_by_label("Username or e-mail").fill(username)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(self.base + reverse("admin:index"))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.complaints.append(f"another host: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")


@pytest.fixture
def watched(browser: Browser, live_server: Any) -> Iterator[Any]:
    """`watched(viewport, colours)` opens a page; at the end none of them may have complained."""
    pages: list[Watched] = []

    def open_page(viewport: dict[str, int], colours: str = "light") -> Watched:
        context = browser.new_context(viewport=viewport, color_scheme=colours)
        pages.append(Watched(context.new_page(), live_server.url))
        return pages[-1]

    yield open_page
    assert [text for page in pages for text in page.complaints] == []


@pytest.fixture
def rows(transactional_db: None) -> None:
    now = datetime.now(UTC)
    UserFactory(username="ada", admin=True)
    evil = "<script>document.title='broken'</script>"
    job = JobFactory(name=f"A name that is long enough to need a second line {evil}", next_run_at=now)
    for hours in range(3):
        ExecutionFactory(job=job, scheduled_for=now - timedelta(hours=hours), failed=True, output=evil)
    SchedulerLease.objects.create(holder="host:1", expires_at=now + timedelta(hours=1))
    ChoreState.objects.create(name="prune", last_error="boom")


@pytest.mark.parametrize(("viewport", "colours"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.smoke
def test_every_page_keeps_the_policy_and_its_width(watched, rows, viewport, colours):
    site = watched(viewport, colours)
    site.sign_in("ada")

    too_wide = []
    for name, args in [
        *((name, ()) for name in PAGES),
        ("jobs_job_change", (Job.objects.get().pk,)),
        ("jobs_job_delete", (Job.objects.get().pk,)),
        ("jobs_jobexecution_change", (JobExecution.objects.first().pk,)),
    ]:
        site.go(name, *args)
        if site.page.evaluate("document.documentElement.scrollWidth") > viewport["width"]:
            too_wide.append(name)
        assert site.page.title() != "broken"

    assert too_wide == []


@pytest.mark.smoke
def test_a_job_is_made_corrected_and_run_by_hand(watched, transactional_db):
    UserFactory(username="uma")
    CategoryFactory()
    TeamFactory(name="Platform")
    site = watched(DESKTOP)
    site.sign_in("uma")
    page = site.page

    site.go("jobs_job_add")
    page.get_by_label("Name").first.fill("Nightly")
    page.get_by_label("PIC team").select_option(label="Platform")
    page.get_by_label("Cron expression").fill("0 25 * * *")
    page.get_by_label("End date").fill(f"{date.today() + timedelta(days=30)}")  # noqa: DTZ011
    page.get_by_label("Target URL").fill("https://hooks.example.com/run")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text('In the hour field, "25"')).to_be_visible()

    page.get_by_label("Cron expression").fill("0 2 * * *")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("At 02:00")).to_be_visible()

    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("Queued, to be sent within a second or two: 1.")).to_be_visible()
    page.get_by_role("link", name="Executions of this job").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    assert JobExecution.objects.get().triggered_by.username == "uma"


def test_an_action_of_the_list_and_its_filters(watched, rows):
    site = watched(DESKTOP)
    site.sign_in("ada")
    page = site.page

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
