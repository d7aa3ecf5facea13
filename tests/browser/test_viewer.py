"""A viewer finds and reads everything, and is offered nothing that changes what is not their own."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from accounts.models import AuditEntry
from jobs.models import Job, JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from tests.browser.addresses import pages_of
from tests.browser.conftest import user_of
from tests.browser.pages import Site
from tests.browser.world import populate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# What is each person's own: how they are told, what they see, their password, their inbox.
OWN = ("password_change", "viewing", "notifications_notification", "notifications_notificationpreferences")
# Whatever would send a change, but for forms that only ask (GET).
CHANGING = """() => [...document.querySelectorAll('#content form')]
  .filter(form => form.method === 'post')
  .flatMap(form => [...form.querySelectorAll('button, input[type=submit]')]
    .filter(it => it.offsetParent !== null).map(it => it.outerHTML.slice(0, 120)))"""
WAYS_IN = (
    "jobs_job_add",
    "jobs_job_upload",
    "jobs_job_upload_template",
    "accounts_user_changelist",
    "accounts_user_add",
    "taxonomy_picteam_add",
    "taxonomy_jobcategory_add",
    "notifications_slacksettings_changelist",
    "jobs_schedulerlease_changelist",
    "jobs_githubtoken_changelist",
)
POSTED = """async ([path, values]) => {
  const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
  const body = new URLSearchParams(values);
  body.append('csrfmiddlewaretoken', token);
  const answer = await fetch(path, { method: 'POST', body, redirect: 'manual' });
  return answer.type === 'opaqueredirect' ? 302 : answer.status;
}"""
ACTIONS = ("enable", "disable", "run_now", "extend_end_date", "change_team", "hand_over", "delete_selected")


@pytest.mark.slow
def test_no_page_offers_a_viewer_a_change(open_site: Any):
    viewer = user_of("viewer")
    populate(user_of("admin"))
    site = open_site(viewer)
    offered = {}

    for name, path in pages_of(viewer).items():
        site.open(path)
        found = site.page.evaluate(CHANGING)
        if found and not name.startswith(OWN):
            offered[name] = found

    assert offered == {}


@pytest.mark.slow
def test_a_viewer_finds_and_reads_what_others_have(as_viewer: Site):
    populate(user_of("admin"))
    job = JobFactory(name="Invoices", metadata={"env": "production"}, created_by=user_of("admin"))
    run = ExecutionFactory(job=job, failed=True, output='{"why": "no disk"}')
    page = as_viewer.page
    rows = page.locator("#result_list tbody tr")

    as_viewer.go("jobs_job_changelist", query="?q=invoic")
    expect(rows).to_have_count(1)
    page.locator("#result_list").get_by_role("link", name="Invoices").click()
    expect(page.get_by_text('"env": "production"')).to_be_visible()
    page.get_by_role("link", name="Executions of this job").click()
    expect(rows).to_have_count(1)
    as_viewer.go("jobs_jobexecution_change", run.pk)
    expect(page.get_by_text('"why": "no disk"')).to_be_visible()
    for name in ("taxonomy_jobcategory", "taxonomy_picteam"):
        as_viewer.go(f"{name}_changelist")
        expect(rows.first).to_be_visible()
    with page.expect_download() as download:
        as_viewer.go("jobs_job_changelist", query="?q=invoic")
        page.get_by_role("link", name="Export this list as CSV").click()
    assert "Invoices" in download.value.path().read_text(encoding="utf-8-sig")


@pytest.mark.smoke
def test_a_viewer_who_writes_to_the_addresses_changes_nothing(as_viewer: Site):
    job = JobFactory(name="Theirs")
    run = ExecutionFactory(job=job, failed=True)
    before = (list(Job.objects.values()), list(JobExecution.objects.values()))
    page = as_viewer.page
    as_viewer.expect_status(403)

    for name in WAYS_IN:
        as_viewer.go(name)
        expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    as_viewer.go("jobs_job_changelist")
    expect(page.get_by_label("Select action to run")).to_have_count(0)
    chosen = {"_selected_action": str(job.pk), "index": "0", "answered": "1", "post": "yes", "days": "9"}
    tries = [("", {**chosen, "action": action}) for action in ACTIONS]
    tries += [(f"{job.pk}/change/", {"name": "Mine now"}), (f"{job.pk}/delete/", {"post": "yes"})]
    for path, values in tries:
        page.evaluate(POSTED, [f"/admin/jobs/job/{path}", values])
    assert page.evaluate(POSTED, [f"/admin/jobs/jobexecution/{run.pk}/run-again/", {}]) == 403
    as_viewer.complaints.clear()

    assert (list(Job.objects.values()), list(JobExecution.objects.values())) == before
    assert not AuditEntry.objects.exists()
