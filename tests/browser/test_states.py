"""Pages that no address shows: questions of bulk actions, refused forms, uploads under way, faults.

What test_every_page asks of the others is asked of them: axe finds nothing, nothing is too wide.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from jobs.models import Job
from jobs.tests.factories import ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory
from tests.browser.pages import ALL_LOOKS, Site

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]
LONG = "a_name_without_any_space_that_goes_on_and_on_" * 4
SOON = date.today() + timedelta(days=30)  # noqa: DTZ011


def faults(site: Site, name: str) -> list[str]:
    return site.faults_in(ALL_LOOKS, of=name)


@pytest.mark.parametrize(
    ("action", "refusal"),
    [
        ("extend_end_date", "Give either a day or a number of days."),
        ("change_team", "This field is required."),
        ("hand_over", "This field is required."),
        ("delete_selected", ""),
    ],
)
def test_the_question_of_a_bulk_action_and_its_refusal(as_admin: Site, action: str, refusal: str):
    for name in (LONG, "<b>Short</b>"):
        ExecutionFactory(job=JobFactory(name=name, end_date=SOON))
    page = as_admin.page
    as_admin.go("jobs_job_changelist")
    page.locator("#action-toggle").check()
    page.get_by_label("Select action to run").select_option(action)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#content")).to_contain_text("<b>Short</b>")
    found = faults(as_admin, action)

    if refusal:
        page.locator("#content form button.cs-button-primary").click()
        expect(page.get_by_text(refusal)).to_be_visible()
        found += faults(as_admin, f"{action}, refused")
    assert found == []
    assert Job.objects.count() == 2


@pytest.mark.parametrize(
    "name", ["jobs_job_add", "accounts_user_add", "taxonomy_picteam_add", "taxonomy_jobcategory_add"]
)
def test_a_form_that_was_refused(as_admin: Site, name: str):
    CategoryFactory()
    as_admin.go(name)

    as_admin.page.get_by_role("button", name="Save", exact=True).click()

    expect(as_admin.page.locator(".errorlist, .errornote").first).to_be_visible()
    assert faults(as_admin, f"{name}, refused") == []


class Gate:
    """Holds the requests of an upload's steps back while it is shut, so that the page stays as it is."""

    def __init__(self, page: Page) -> None:
        self.is_shut = True
        self._held: list[Route] = []
        page.route("**/step/", self._arrive)

    def open(self) -> None:
        self.is_shut = False
        while self._held:
            self._held.pop().continue_()

    def _arrive(self, route: Route) -> None:
        if self.is_shut:
            self._held.append(route)
        else:
            route.continue_()


def test_an_upload_that_was_refused_and_one_under_way(as_admin: Site, tmp_path: Path):
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")
    file = tmp_path / f"{LONG}.csv"
    file.write_text("Not,A,Table\n1,2,3\n")
    page = as_admin.page
    as_admin.expect_status(422, 400)
    as_admin.go("jobs_job_upload")
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    found = faults(as_admin, "upload, refused")

    file.write_text(
        "Job Name,Cron Schedule,Target URL,PIC Team,End Date\n"
        + "".join(f"J{n},0 1 * * *,https://h.example.com/,devops,2090-12-31\n" for n in range(20))
    )
    gate = Gate(page)
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    found += faults(as_admin, "upload, being checked")
    gate.open()
    page.get_by_role("button", name="Store it", exact=True).wait_for()
    gate.is_shut = True
    page.get_by_role("button", name="Store it", exact=True).click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text("The jobs are being stored.")).to_be_visible()
    found += faults(as_admin, "upload, being stored")

    assert found == []


def test_a_page_that_fails(as_admin: Site, monkeypatch: pytest.MonkeyPatch):
    def fail(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("jobs.admin.execution.chips", fail)
    as_admin.expect_status(500)

    as_admin.go("jobs_jobexecution_changelist")

    expect(as_admin.page.get_by_role("heading", level=1)).to_be_visible()
    expect(as_admin.page.locator("body")).not_to_contain_text("a fault of ours")
    assert faults(as_admin, "500") == []


def test_a_form_from_elsewhere_or_of_an_earlier_sign_in(as_admin: Site):
    as_admin.go("viewing")
    as_admin.page.context.clear_cookies(name="csrftoken")
    as_admin.expect_status(403)

    as_admin.page.get_by_role("button", name="Save").click()

    expect(as_admin.page.get_by_role("heading", level=1)).to_be_visible()
    assert faults(as_admin, "403, forged") == []


def test_a_sign_in_that_was_refused(open_site: Any):
    site = open_site()
    site.go("login")
    site.page.locator("#id_username").fill("nobody")
    site.page.locator("#id_password").fill("wrong")
    site.page.locator("#login-form [type=submit]").click()

    expect(site.page.locator(".errorlist, .errornote, [role=alert]").first).to_be_visible()
    assert faults(site, "sign-in, refused") == []


def test_the_answers_of_a_test_run(as_admin: Site):
    """Refused before anything is called; what is answered is in test_jobs_pages."""
    CategoryFactory()
    as_admin.go("jobs_job_add")
    as_admin.page.get_by_role("button", name="Test run").click()

    expect(as_admin.page.locator("#cs-trial")).to_contain_text("Nothing was called.")
    assert faults(as_admin, "test run, refused") == []
