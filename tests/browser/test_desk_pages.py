"""The history, uploads, the taxonomy, people and the inbox in a browser, as each role uses them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import AuditEntry, User
from accounts.tests.factories import PASSWORD, UserFactory
from cronsched.core import clock
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.admin.filters import last_night
from jobs.choices import TriggerType
from jobs.models import Job, JobExecution
from jobs.services.lifecycle import update_job
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import Notification, NotificationPreferences, SlackSettings
from notifications.tests.factories import NotificationFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory
from tests.browser.conftest import user_of
from tests.browser.pages import PHONE, SHORT_LOOKS, Site

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SOON = date.today() + timedelta(days=400)  # noqa: DTZ011
HEADER = "Job Name,Cron Schedule,Target URL,PIC Team,End Date\n"


@pytest.fixture
def _local_targets(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True


def rows_of(page: Page) -> Any:
    return page.locator("#result_list tbody tr.data-row")


def choose_rows(page: Page, action: str, count: int) -> None:
    boxes = page.locator("#result_list tbody input.action-select")
    for number in range(count):
        boxes.nth(number).check()
    page.locator("select[name=action]").select_option(action)
    page.get_by_role("button", name="Run", exact=True).click()


# ---- executions ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_last_nights_failures_of_a_team_are_found_and_run_again(as_admin: Site):
    team = TeamFactory(name="Payments")
    job, other = JobFactory(name="Send invoices", pic_team=team, end_date=SOON), JobFactory(name="Others")
    begin, _end = last_night(clock.now())
    for each in (job, other):
        ExecutionFactory(
            job=each,
            scheduled_for=begin + timedelta(hours=1),
            failed=True,
            response_status=401,
            output='{"ok":false}',
        )
        ExecutionFactory(job=each, scheduled_for=begin + timedelta(hours=2))
    as_admin.go("jobs_jobexecution_changelist")
    page = as_admin.page

    page.get_by_role("link", name="Failed last night").click()
    page.get_by_role("link", name="Payments", exact=True).click()
    expect(rows_of(page)).to_have_count(1)
    expect(rows_of(page)).to_contain_text("Send invoices")

    choose_rows(page, "run_again", 1)
    expect(page.get_by_text("Queued, to be sent within a second or two: 1.")).to_be_visible()
    assert JobExecution.objects.get(trigger_type=TriggerType.MANUAL).job == job


@pytest.mark.slow
def test_of_forty_teams_ones_failures_of_last_night_are_two_clicks_away(as_viewer: Site):
    teams = [TeamFactory(name=f"Team {n:02}") for n in range(40)]
    begin, _end = last_night(clock.now())
    for team in teams:
        job = JobFactory(name=f"Of {team.name}", pic_team=team)
        ExecutionFactory(job=job, scheduled_for=begin + timedelta(hours=1), failed=True)
    page = as_viewer.page

    as_viewer.go("jobs_jobexecution_changelist")
    page.get_by_role("link", name="Failed last night").click()
    page.get_by_role("link", name="Team 31", exact=True).click()
    expect(rows_of(page)).to_have_count(1)
    expect(rows_of(page)).to_contain_text("Of Team 31")

    search = page.get_by_role("searchbox", name="Team: type a part of the name")
    search.fill("m 17")
    expect(page.get_by_role("group", name="Team").get_by_role("link")).to_have_count(1)
    search.press("Enter")
    expect(rows_of(page)).to_contain_text("Of Team 17")
    assert as_viewer.faults_in(SHORT_LOOKS, of="forty teams") == []


@pytest.mark.smoke
def test_the_page_of_a_run_says_what_to_do_and_leads_on(as_admin: Site):
    job = JobFactory(name="Send invoices", end_date=SOON, metadata={"env": "production"})
    now = clock.now()
    ExecutionFactory(job=job, scheduled_for=now - timedelta(hours=3))
    run = ExecutionFactory(
        job=job,
        scheduled_for=now - timedelta(hours=2),
        failed=True,
        response_status=401,
        output='{"error":{"code":7}}',
    )
    as_admin.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    as_admin.go("jobs_jobexecution_change", run.pk)
    page = as_admin.page

    expect(page.get_by_role("heading", name="What to do")).to_be_visible()
    expect(page.get_by_text("check the job's signing secret")).to_be_visible()
    page.get_by_role("button", name="Copy the answer").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert '"code": 7' in page.evaluate("navigator.clipboard.readText()")

    page.get_by_role("link", name="Earlier run").click()
    page.get_by_role("link", name="Later run").click()
    expect(page).to_have_url(f"{as_admin.base}{reverse('admin:jobs_jobexecution_change', args=[run.pk])}")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("Queued. This page shows the new run.")).to_be_visible()
    new = JobExecution.objects.get(trigger_type=TriggerType.MANUAL)
    assert str(new.pk) in page.url


# ---- uploads ------------------------------------------------------------------------------------


# A user's own job is changed; an admin changes anybody's, and it stays theirs.
@pytest.mark.parametrize(
    "role", [pytest.param("user", marks=pytest.mark.smoke), pytest.param("admin", marks=pytest.mark.slow)]
)
def test_a_file_is_checked_mended_and_stored(open_site: Any, tmp_path: Path, role: str):
    TeamFactory(slug="devops", name="DevOps")
    CategoryFactory(slug="general")
    owner = user_of("user")
    old = JobFactory(name="Old", created_by=owner, cron_expression="0 5 * * *")
    site = open_site(role)
    line = "{},{},https://hooks.example.com/run,{},2090-12-31\n"
    file = tmp_path / "jobs.csv"
    file.write_text(
        HEADER
        + line.format("New", "0 1 * * *", "devops")
        + line.format("Old", "0 6 * * *", "devops")
        + line.format("Bad", "0 7 * * *", "nobody")
    )
    site.go("jobs_job_changelist")
    page = site.page

    page.get_by_role("link", name="Upload a CSV file").click()
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_text("Nothing is stored yet.")).to_be_visible()
    changed = page.get_by_role("region", name="Changed").get_by_role("table")
    expect(changed).to_contain_text("0 5 * * *")
    expect(changed).to_contain_text("0 6 * * *")
    expect(page.get_by_text('PIC team "nobody" does not exist.')).to_be_visible()
    assert Job.objects.count() == 1

    with page.expect_download() as download:
        page.get_by_role("link", name="Download the refused rows").click()
    refused = download.value.path().read_text(encoding="utf-8-sig")
    page.get_by_role("button", name="Store it without the refused rows").click()
    expect(page.get_by_text("The upload is done.")).to_be_visible()
    assert set(Job.objects.values_list("name", flat=True)) == {"New", "Old"}
    old.refresh_from_db()
    assert (old.cron_expression, old.created_by) == ("0 6 * * *", owner)
    assert Job.objects.get(name="New").created_by == site.user

    file.write_text(refused.replace("nobody", "devops"))
    page.get_by_role("link", name="Choose another file").click()
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Check the file").click()
    page.get_by_role("button", name="Store it", exact=True).click()
    expect(page.get_by_text("The upload is done.")).to_be_visible()
    assert Job.objects.filter(name="Bad").exists()


@pytest.mark.slow
def test_a_larger_file_shows_its_progress(as_admin: Site, tmp_path: Path):
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")
    file = tmp_path / "jobs.csv"
    file.write_text(
        HEADER
        + "".join(f"J{n},{n % 60} 1 * * *,https://h.example.com/{n},devops,2090-12-31\n" for n in range(2500))
    )
    as_admin.go("jobs_job_upload")
    page = as_admin.page

    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Check the file").click()
    page.get_by_role("button", name="Store it", exact=True).click(timeout=60_000)
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text("The upload is done.")).to_be_visible(timeout=120_000)
    assert Job.objects.count() == 2500


@pytest.mark.slow
def test_a_viewer_is_offered_no_upload(as_viewer: Site):
    JobFactory()
    as_viewer.go("jobs_job_changelist")
    expect(as_viewer.page.get_by_role("link", name="Export this list as CSV")).to_be_visible()
    expect(as_viewer.page.get_by_role("link", name="Upload a CSV file")).to_have_count(0)

    as_viewer.expect_status(403)
    as_viewer.go("jobs_job_upload")


# ---- taxonomy, Slack, people --------------------------------------------------------------------


@pytest.mark.slow
def test_a_category_is_renamed_and_its_jobs_follow(as_admin: Site):
    category = CategoryFactory(name="Reports", slug="reports")
    names = {job.name for job in JobFactory.create_batch(3, category=category)}
    other = JobFactory(name="Of another category")
    as_admin.go("taxonomy_jobcategory_change", category.pk)
    page = as_admin.page

    expect(page.get_by_text("will follow when you rename it")).to_be_visible()
    page.get_by_label("Name").fill("Figures")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("3 jobs followed: they answer with figures now.")).to_be_visible()
    as_admin.go("jobs_job_changelist", query=f"?category__id__exact={category.pk}")
    expect(rows_of(page)).to_have_count(3)
    for job in Job.objects.filter(name__in=names):
        assert job.category.slug == "figures"
        as_admin.go("jobs_job_page", job.pk)
        expect(page.locator("#content dl", has_text="Category")).to_contain_text("Figures")
        expect(page.locator("#content")).not_to_contain_text("Reports")
    other.refresh_from_db()
    assert other.category.slug == "general"


@pytest.mark.slow
@pytest.mark.usefixtures("_local_targets")
def test_slack_is_set_up_and_tested(as_admin: Site, http_sink: HttpSink):
    http_sink.by_default(Reply(body=b"ok"))
    as_admin.go("notifications_slacksettings_changelist")
    page = as_admin.page

    page.locator("#id_is_enabled").check(force=True)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Webhook URL is required when Slack is enabled.")).to_be_visible()

    page.get_by_label("Webhook URL").fill(http_sink.url("/services/T0/B0/a-long-secret-part"))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Webhook URL")).not_to_have_value("")
    assert "secret" not in page.get_by_label("Webhook URL").input_value()
    page.get_by_role("button", name="Send a test message").click()
    expect(page.get_by_text("Slack took the message.")).to_be_visible()
    assert SlackSettings.objects.get().is_enabled
    assert "secret" not in page.content()


@pytest.mark.smoke
def test_a_user_is_added_and_given_another_role(as_admin: Site):
    as_admin.go("accounts_user_add")
    page = as_admin.page
    page.get_by_label("Username").fill("nina")
    page.get_by_label("E-mail").fill("nina@example.com")
    page.locator("#id_new_password").fill("a-good-one")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="nina", exact=True).first.click()
    page.locator("#id_role").select_option("user")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()

    nina = User.objects.get(username="nina")
    assert nina.role == "user"
    as_admin.go("accounts_auditentry_changelist")
    expect(rows_of(page).first).to_contain_text("role changed")
    as_admin.go("accounts_user_change", as_admin.user.pk)
    page.locator("#id_role").select_option("viewer")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("This is the last active admin")).to_be_visible()


@pytest.mark.slow
def test_the_jobs_of_somebody_who_left_are_handed_over(as_admin: Site):
    gone = UserFactory(username="gone")
    heir = UserFactory(username="heir")
    JobFactory.create_batch(2, created_by=gone, end_date=SOON)
    as_admin.go("accounts_user_changelist")
    page = as_admin.page

    row = page.locator("#result_list tbody", has_text="gone")
    row.locator("input.action-select").check()
    page.locator("select[name=action]").select_option("deactivate")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("link", name="Hand over").click()
    expect(rows_of(page)).to_have_count(2)
    choose_rows(page, "hand_over", 2)
    page.get_by_label("New owner").select_option(label="heir")
    page.get_by_role("button", name="Hand over").click()

    expect(page.get_by_text("Handed over to heir: 2.")).to_be_visible()
    assert set(Job.objects.values_list("created_by", flat=True)) == {heir.pk}
    assert AuditEntry.objects.filter(action="handed_over").count() == 2


# ---- history ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "role", [pytest.param("user", marks=pytest.mark.smoke), pytest.param("admin", marks=pytest.mark.slow)]
)
def test_an_earlier_version_of_a_job_is_restored(open_site: Any, role: str):
    """A user's own; an admin restores anybody's."""
    owner = user_of("user")
    job = JobFactory(name="Backup", created_by=owner, end_date=SOON)
    now = clock.now() - timedelta(hours=1)
    update_job(job, data={"cron_expression": "0 2 * * *"}, by=owner, now=now)
    update_job(job, data={"name": "Nightly"}, by=owner, now=now + timedelta(minutes=1))
    site = open_site(role)
    site.go("jobs_job_page", job.pk)
    page = site.page

    page.get_by_role("link", name="Restore this version").click()
    expect(page.get_by_role("table")).to_contain_text("Nightly")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("The earlier version was restored.")).to_be_visible()
    expect(page.get_by_text("restored", exact=True)).to_be_visible()
    job.refresh_from_db()
    assert (job.name, job.cron_expression, job.created_by) == ("Backup", "0 2 * * *", owner)
    assert AuditEntry.objects.latest("at").actor_name == site.user.username


# ---- one's own ----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_user_keeps_their_own_preferences_password_and_inbox(as_user: Site, open_site: Any):
    run = ExecutionFactory(job=JobFactory(name="Backup", created_by=as_user.user), failed=True)
    NotificationFactory(
        user=as_user.user,
        title="Backup failed",
        message="500 Internal Server Error",
        related_job=run.job,
        related_execution=run,
    )
    NotificationFactory(user=as_user.user, title="Another")
    as_user.go("index")
    page = as_user.page
    page.get_by_role("link", name="Inbox, unread: 2").click()
    expect(page.get_by_text("500 Internal Server Error")).to_be_visible()
    page.get_by_role("link", name="Backup failed").click()
    expect(page).to_have_url(f"{as_user.base}{reverse('admin:jobs_jobexecution_change', args=[run.pk])}")
    page.get_by_role("link", name="Inbox, unread: 1").click()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_role("link", name="Inbox", exact=True)).to_be_visible()
    assert not Notification.objects.filter(is_read=False).exists()

    as_user.go("notifications_notificationpreferences_changelist")
    page.locator("#id_daily_digest").check(force=True)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("changed successfully")).to_be_visible()
    assert NotificationPreferences.objects.get(user=as_user.user).daily_digest

    as_user.go("password_change")
    page.locator("#id_old_password").fill(PASSWORD)
    page.locator("#id_new_password1").fill("another-good-one")
    page.locator("#id_new_password2").fill("another-good-one")
    page.locator("#id_new_password2").press("Enter")
    page.wait_for_url(f"{as_user.base}{reverse('admin:password_change_done')}")
    other = open_site()
    other.sign_in(as_user.user.username, "another-good-one")


@pytest.mark.slow
def test_the_bell_rings_on_a_page_that_stays_open(as_user: Site):
    as_user.go("jobs_job_changelist")
    bell = as_user.page.locator("[data-unread-url]")
    expect(bell).to_have_attribute("aria-label", "Inbox")

    NotificationFactory(user=as_user.user)
    as_user.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(bell).to_have_attribute("aria-label", "Inbox, unread: 1")


PAGES_WITHOUT_ROWS = (
    "jobs_job_changelist",
    "jobs_jobexecution_changelist",
    "notifications_notification_changelist",
    "accounts_auditentry_changelist",
    "notifications_message_changelist",
    "taxonomy_picteam_changelist",
)


@pytest.mark.slow
def test_an_empty_list_says_what_to_do_first(as_admin: Site):
    for name in PAGES_WITHOUT_ROWS:
        as_admin.go(name)
        expect(as_admin.page.locator("#content h2", has_text="yet")).to_be_visible()
        assert as_admin.faults() == [], name


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_desks_own_pages_have_no_faults(open_site: Any, tmp_path: Path, colours: str):
    """Those that are reached by a form; the others are in test_every_page."""
    admin = user_of("admin")
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")
    job = JobFactory(name="Old", created_by=admin, metadata={"token": "a" * 300}, end_date=SOON)
    update_job(job, data={"name": "New", "metadata": {"token": "b"}}, by=admin, now=clock.now())
    entry = AuditEntry.objects.get()
    update_job(job, data={"name": "Newer", "metadata": {}}, by=admin, now=clock.now())
    file = tmp_path / "jobs.csv"
    file.write_text(
        HEADER
        + "Newer,0 1 * * *,https://hooks.example.com/a-long-path/and-longer,devops,2090-12-31\n"
        + "Fresh,0 1 * * *,https://hooks.example.com/,devops,2090-12-31\nBad,x,y,z,\n"
    )
    site = open_site("admin", colours=colours, viewport=PHONE)
    site.go("jobs_job_restore", job.pk, entry.pk)
    assert site.faults() == []
    site.go("jobs_job_upload")
    assert site.faults() == []
    site.page.get_by_label("CSV file").set_input_files(file)
    site.page.get_by_role("button", name="Check the file").click()
    expect(site.page.get_by_text("Nothing is stored yet.")).to_be_visible()
    assert site.faults() == []
