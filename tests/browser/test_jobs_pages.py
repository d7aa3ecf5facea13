"""Jobs in a browser, from the first key to the bulk action, for each role."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.tests.factories import UserFactory
from cronsched.testing.fake_github import TEST_TOKEN, FakeGitHub
from cronsched.testing.fake_github.world import NIGHTLY
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.models import Job, JobExecution
from jobs.services.lifecycle import update_job
from jobs.tests.factories import ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory
from tests.browser.conftest import user_of
from tests.browser.pages import DESKTOP, PHONE, Site

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SOON = date.today() + timedelta(days=30)  # noqa: DTZ011


@pytest.fixture
def taxonomy(transactional_db: None) -> None:
    CategoryFactory()
    TeamFactory(name="Platform")


@pytest.fixture
def _local_targets(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True


def begin_job(site: Site, name: str) -> Page:
    """The form of a new job with what every job needs but a schedule and a target."""
    site.go("jobs_job_add")
    page = site.page
    page.locator("#id_name").fill(name)
    page.locator("#id_pic_team").select_option(label="Platform")
    page.locator("#id_end_date").fill(f"{SOON}")
    return page


@pytest.mark.smoke
def test_a_webhook_job_is_made_with_a_preview(as_user: Site, taxonomy: None):
    page = begin_job(as_user, "Nightly")
    preview = page.locator("#cs-preview")
    expect(preview).to_contain_text("Type a schedule")

    page.locator("#id_cron_expression").press_sequentially("0 25 * * *")
    expect(preview).to_contain_text('In the hour field, "25"')
    page.locator("#id_cron_expression").fill("30 2 * * 1-5")
    expect(preview).to_contain_text("At 02:30")
    expect(preview.locator("li")).to_have_count(6)
    page.locator("#id_timezone").fill("America/New_York")
    expect(preview).to_contain_text("America/New_York")
    page.locator("#id_cron_expression").fill("30 2 13 * 5")
    expect(preview).to_contain_text("either of them")

    expect(page.locator("#id_github_repo")).to_be_hidden()
    expect(page.get_by_text("At GitHub")).to_be_hidden()
    page.locator("#id_target_url").fill("https://hooks.example.com/run")
    page.get_by_role("button", name="Save", exact=True).click()

    job = Job.objects.get()
    expect(page).to_have_url(f"{as_user.base}{reverse('admin:jobs_job_page', args=[job.pk])}")
    expect(page.get_by_role("heading", name="Nightly", level=2)).to_be_visible()
    assert (job.created_by, job.timezone) == (as_user.user, "America/New_York")


@pytest.mark.smoke
def test_a_github_job_is_made_and_its_metadata_corrected(as_admin: Site, taxonomy: None):
    page = begin_job(as_admin, "Release")
    page.locator("#id_cron_expression").fill("0 9 * * 1")
    page.get_by_label("a GitHub Actions workflow").check()
    expect(page.locator("#id_target_url")).to_be_hidden()
    page.locator("#id_github_repo").fill("acme/app")
    page.locator("#id_metadata").fill('{"env": "production",}')
    expect(page.locator("#cs-metadata-hint")).to_contain_text("Line 1, column 22")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("Workflow file is required with GitHub repository.")).to_be_visible()
    expect(page.locator("#job_form .field-metadata .errorlist")).to_contain_text("Line 1, column 22")
    page.locator("#id_github_workflow_name").fill("release.yml")
    page.locator("#id_metadata").fill('{"env":"production"}')
    page.get_by_role("button", name="Format metadata").click()
    expect(page.locator("#id_metadata")).to_have_value('{\n  "env": "production"\n}')
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("acme/app/actions/workflows/release.yml")).to_be_visible()
    assert Job.objects.get().metadata == {"env": "production"}


@pytest.mark.slow
@pytest.mark.usefixtures("_local_targets")
def test_a_target_is_tested_before_it_is_saved(as_user: Site, taxonomy: None, http_sink: HttpSink):
    http_sink.on("/run", Reply(status=500, body=b'{"error":"no disk"}'), Reply(body=b"done"))
    page = begin_job(as_user, "Nightly")
    page.locator("#id_target_url").fill(http_sink.url("/run"))

    page.get_by_role("button", name="Test run").click()
    trial = page.locator("#cs-trial")
    expect(trial).to_contain_text("It failed.")
    expect(trial.locator("pre")).to_have_text('{\n  "error": "no disk"\n}')
    page.get_by_role("button", name="Test run").click()
    expect(trial).to_contain_text("It works.")

    assert page.locator("#id_name").input_value() == "Nightly", "the form is as it was"
    assert not Job.objects.exists()


@pytest.fixture
def github(settings: Any, fake_github: FakeGitHub) -> FakeGitHub:
    settings.GITHUB_API_URL, settings.GITHUB_TOKEN = fake_github.api_url, TEST_TOKEN
    fake_github.world.add("acme/app", {"nightly.yml": NIGHTLY})
    return fake_github


@pytest.mark.slow
def test_a_workflow_is_tested_in_the_form_and_from_the_jobs_page(
    as_admin: Site, taxonomy: None, github: FakeGitHub
):
    page = begin_job(as_admin, "Report")
    page.get_by_label("a GitHub Actions workflow").check()
    page.locator("#id_github_owner").fill("acme")
    page.locator("#id_github_repo").fill("app")
    page.locator("#id_github_workflow_name").fill("nightly.yml")
    page.locator("#id_cron_expression").fill("0 9 * * 1")
    page.locator("#id_metadata").fill('{"format": "xml"}')
    trial = page.locator("#cs-trial")

    page.get_by_role("button", name="Test run").click()
    expect(trial).to_contain_text("It failed.")
    expect(trial).to_contain_text("not in the list of allowed values")
    page.locator("#id_metadata").fill('{"format": "html"}')
    page.get_by_role("button", name="Test run").click()
    expect(trial).to_contain_text("It works.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Report", level=2)).to_be_visible()
    page.get_by_role("button", name="Test", exact=True).click()
    expect(trial).to_contain_text("It works.")

    called = [(one.repository, one.workflow, one.inputs["format"]) for one in github.dispatches]
    assert called == [("acme/app", "nightly.yml", each) for each in ("xml", "html", "html")]
    assert not JobExecution.objects.exists(), "a test run is none of the job's runs"


@pytest.mark.slow
@pytest.mark.usefixtures("_local_targets")
@pytest.mark.parametrize("role", ["user", "admin"])
def test_a_job_is_tested_from_its_page(open_site: Any, http_sink: HttpSink, role: str):
    http_sink.on("/run", Reply(status=503, body=b'{"error":"busy"}'), Reply(body=b"done"))
    job = JobFactory(name="Mine", created_by=user_of("user"), target_url=http_sink.url("/run"))
    site = open_site(role)
    site.go("jobs_job_page", job.pk)
    page, trial = site.page, site.page.locator("#cs-trial")

    page.get_by_role("button", name="Test", exact=True).click()
    expect(trial).to_contain_text("It failed.")
    expect(trial).to_contain_text("503")
    expect(trial.locator("pre")).to_have_text('{\n  "error": "busy"\n}')
    assert site.faults() == []
    page.get_by_role("button", name="Test", exact=True).click()
    expect(trial).to_contain_text("It works.")

    assert len(http_sink.calls) == 2
    assert not JobExecution.objects.exists()


@pytest.mark.smoke
def test_a_job_is_run_paused_and_edited_from_its_page(as_user: Site, taxonomy: None):
    job = JobFactory(name="Mine", created_by=as_user.user)
    ExecutionFactory(job=job)
    page = as_user.page

    as_user.go("jobs_job_changelist")
    page.locator("#result_list").get_by_role("link", name="Mine").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("Queued, to be sent within a second or two: 1.")).to_be_visible()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("Disabled: 1.")).to_be_visible()
    expect(page.get_by_role("button", name="Enable")).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    page.locator("#id_name").fill("Still mine")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Still mine", level=2)).to_be_visible()

    assert JobExecution.objects.filter(trigger_type="manual").count() == 1


@pytest.mark.smoke
def test_end_dates_are_extended_in_bulk(as_user: Site):
    JobFactory(name="Mine A", created_by=as_user.user, end_date=SOON)
    JobFactory(name="Mine B", created_by=as_user.user, end_date=SOON)
    JobFactory(name="Theirs", end_date=SOON)
    page = as_user.page

    as_user.go("jobs_job_changelist")
    page.locator("#action-toggle").check()
    page.get_by_label("Select action to run").select_option("extend_end_date")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text="Theirs")).to_be_visible()
    page.get_by_label("Or by so many days").fill("90")
    page.get_by_role("button", name="Extend end date").click()

    expect(page.get_by_text("Extended: 2.")).to_be_visible()
    expect(page.get_by_text("Theirs: this is not yours to change.")).to_be_visible()
    later = SOON + timedelta(days=90)
    assert {job.name: job.end_date for job in Job.objects.all()} == {
        "Mine A": later,
        "Mine B": later,
        "Theirs": SOON,
    }


@pytest.mark.slow
def test_an_admin_extends_enables_and_moves_the_jobs_of_others(as_admin: Site):
    new_team = TeamFactory(name="Night shift")
    for name in ("Theirs A", "Theirs B"):
        JobFactory(name=name, created_by=user_of("user"), end_date=SOON)
    page = as_admin.page

    def act(action: str) -> None:
        as_admin.go("jobs_job_changelist")
        page.locator("#action-toggle").check()
        page.get_by_label("Select action to run").select_option(action)
        page.get_by_role("button", name="Run", exact=True).click()

    act("extend_end_date")
    page.get_by_label("Or by so many days").fill("90")
    page.get_by_role("button", name="Extend end date").click()
    expect(page.get_by_text("Extended: 2.")).to_be_visible()
    act("change_team")
    page.get_by_label("New team").select_option(label="Night shift")
    page.get_by_role("button", name="Change team").click()
    expect(page.get_by_text("Moved to the team: 2.")).to_be_visible()
    act("disable")
    expect(page.get_by_text("Disabled: 2.")).to_be_visible()
    act("enable")
    expect(page.get_by_text("Enabled: 2.")).to_be_visible()
    act("run_now")
    expect(page.get_by_text("Queued, to be sent within a second or two: 2.")).to_be_visible()

    for job in Job.objects.all():
        assert (job.end_date, job.pic_team, job.is_active) == (SOON + timedelta(days=90), new_team, True)
        assert job.created_by == user_of("user"), "it stays theirs"
    assert JobExecution.objects.filter(triggered_by=as_admin.user).count() == 2


@pytest.mark.slow
def test_the_last_row_stays_in_reach_of_the_bar_of_actions(as_admin: Site):
    for n in range(30):
        JobFactory(name=f"Job {n}")
    page = as_admin.page
    as_admin.go("jobs_job_changelist")
    boxes = page.locator("input.action-select")
    boxes.first.check()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")

    # Playwright refuses to click what something else covers.
    boxes.last.check(timeout=5000)
    expect(boxes.last).to_be_checked()


def test_a_user_is_refused_on_anothers_job(as_user: Site):
    job = JobFactory(name="Theirs", created_by=user_of("admin"))
    page = as_user.page

    as_user.go("jobs_job_page", job.pk)
    expect(page.get_by_role("heading", name="Theirs", level=2)).to_be_visible()
    for name in ("Run now", "Disable", "Test", "Edit"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    as_user.go("jobs_job_change", job.pk)
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
    as_user.expect_status(403)
    as_user.go("jobs_job_delete", job.pk)
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()

    as_user.go("jobs_job_changelist")
    page.locator("input.action-select").first.check()
    page.get_by_label("Select action to run").select_option("disable")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Theirs: this is not yours to change.")).to_be_visible()
    assert Job.objects.get().is_active


@pytest.mark.slow
def test_a_viewer_finds_and_reads_and_is_offered_nothing_to_change(as_viewer: Site):
    job = JobFactory(name="Backup", metadata={"env": "production"}, consecutive_failures=3)
    JobFactory(name="Other")
    ExecutionFactory(job=job, failed=True)
    page = as_viewer.page

    as_viewer.go("jobs_job_changelist")
    expect(page.get_by_role("link", name="Failing")).to_contain_text("1")
    page.get_by_role("link", name="Failing").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("input.action-select")).to_have_count(0)
    page.get_by_role("link", name="Backup").click()
    expect(page.get_by_text('"env": "production"')).to_be_visible()
    expect(page.get_by_text("500 Server Error")).to_be_visible()
    expect(page.locator("#content button")).to_have_count(0)
    as_viewer.expect_status(403)
    as_viewer.go("jobs_job_add")
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()


SCROLLS = """() => [...document.querySelectorAll('#changelist *')].some(
  it => it.scrollWidth > it.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(it).overflowX)
)"""


@pytest.mark.slow
@pytest.mark.parametrize(("viewport", "colours"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_pages_keep_to_the_window_and_can_be_read(open_site, viewport, colours):
    long = "a_name_without_any_space_that_goes_on_and_on_" * 4
    target = {"target_url": "https://x.example/" + "y" * 400, "metadata": {long: long}}
    now = datetime.now(UTC)
    soon = {"end_date": SOON, "next_run_at": now + timedelta(minutes=1), "consecutive_failures": 4}
    job, _same_minute = (JobFactory(name=f"{long}{n}", **target, **soon) for n in range(2))
    moment = now - timedelta(hours=1)
    ExecutionFactory(job=job, failed=True, error_message="z" * 300, scheduled_for=moment)
    ExecutionFactory(job=job, running=True, scheduled_for=now)
    site = open_site("admin", viewport=viewport, colours=colours)

    pages = [("index", ()), ("jobs_job_changelist", ()), ("jobs_job_add", ())]
    pages += [(name, (job.pk,)) for name in ("jobs_job_page", "jobs_job_change")]
    for name, args in pages:
        site.go(name, *args)
        site.page.wait_for_load_state("networkidle")
        assert site.faults() == [], name
        assert not site.page.evaluate(SCROLLS), name
    site.go("jobs_job_changelist")
    site.page.locator("input.action-select").first.check()
    site.page.get_by_label("Select action to run").select_option("extend_end_date")
    site.page.get_by_role("button", name="Run", exact=True).click()
    expect(site.page.get_by_label("To this day")).to_be_visible()
    assert site.faults() == []


@pytest.mark.slow
def test_a_link_in_a_message_opens_the_form_at_the_end_date(as_admin: Site):
    job = JobFactory()

    as_admin.go("jobs_job_change", job.pk, query="?focus=end_date")

    assert as_admin.page.evaluate("document.activeElement.id") == "id_end_date"


# ---- the form, with others at work ---------------------------------------------------------------


@pytest.mark.slow
def test_what_two_people_changed_is_decided_by_the_second(as_user: Site, taxonomy: None):
    job = JobFactory(name="Mine", created_by=as_user.user, cron_expression="0 9 * * *", max_retries=1)
    page = as_user.page
    as_user.go("jobs_job_change", job.pk)
    carla = UserFactory(username="carla", role="admin")
    data = {"cron_expression": "0 7 * * *", "max_retries": 5}
    update_job(job, data=data, by=carla, now=datetime.now(UTC))

    page.locator("#id_cron_expression").fill("0 5 * * *")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field-cron_expression .errorlist")).to_contain_text("carla changed this at")
    expect(page.locator(".field-cron_expression .errorlist")).to_contain_text("0 9 * * * → 0 7 * * *")
    expect(page.locator("#id_cron_expression")).to_have_value("0 5 * * *")
    assert not as_user.faults()
    as_user.look(viewport=PHONE, colours="dark")
    assert not as_user.faults()
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page).to_have_url(f"{as_user.base}{reverse('admin:jobs_job_page', args=[job.pk])}")
    job.refresh_from_db()
    assert (job.cron_expression, job.max_retries) == ("0 5 * * *", 5)


def selected(page: Page) -> str:
    """What is selected in the field that has the focus."""
    return str(
        page.evaluate(
            """() => {
              const it = document.activeElement;
              return `${it.id}: ${it.value.slice(it.selectionStart, it.selectionEnd)}`;
            }"""
        )
    )


@pytest.mark.slow
def test_the_place_where_metadata_are_no_json_is_selected(as_user: Site, taxonomy: None):
    page = begin_job(as_user, "Nightly")
    page.locator("#id_cron_expression").fill("0 9 * * 1")
    page.locator("#id_target_url").fill("https://hooks.example.com/run")
    page.locator("#id_metadata").fill('\n{\n  "name": "😀",\n  "env": production\n}')

    page.get_by_role("button", name="Format metadata").click()
    expect(page.locator("#cs-metadata-hint")).to_contain_text("Line 4, column 10")
    assert selected(page) == "id_metadata: p"

    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#job_form .field-metadata .errorlist")).to_contain_text("Line 4, column 10")
    assert selected(page) == "id_metadata: p"


@pytest.mark.slow
def test_all_jobs_of_a_filter_are_chosen_and_shown_before_they_are_disabled(as_admin: Site, taxonomy: None):
    JobFactory.create_batch(52, next_run_at=datetime.now(UTC) + timedelta(days=1))
    other = JobFactory(name="Paused", paused=True)
    page = as_admin.page
    as_admin.go("jobs_job_changelist", query="?state=active")

    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option("disable")
    page.get_by_role("link", name="Select all 52 jobs").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".cs-names")).to_contain_text("and 2 more")
    assert not as_admin.faults()
    page.get_by_role("button", name="Disable", exact=True).click()

    expect(page.get_by_text("Disabled: 52.")).to_be_visible()
    assert not Job.objects.filter(is_active=True).exists()
    other.refresh_from_db()
    assert other.schedule_version == 1


@pytest.mark.slow
def test_the_whole_history_is_read_by_everybody_and_leads_back(as_user: Site, taxonomy: None):
    job = JobFactory(name="Mine", created_by=as_user.user)
    for number in range(60):
        data = {"max_retries": number % 7 + 1}
        update_job(job, data=data, by=as_user.user, now=datetime.now(UTC))
    page = as_user.page
    as_user.go("jobs_job_page", job.pk)

    page.get_by_role("link", name="The whole history").click()
    page.get_by_role("link", name="Older").click()
    assert not as_user.faults()
    as_user.look(viewport=PHONE, colours="dark")
    assert not as_user.faults()
    page.get_by_role("link", name="Restore this version").last.click()
    page.get_by_role("button", name="Restore", exact=True).click()

    expect(page.get_by_text("The earlier version was restored.")).to_be_visible()
    job.refresh_from_db()
    assert job.max_retries == 1
