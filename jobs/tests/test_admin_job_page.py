"""The page of a job, the list's bulk actions, and what the form asks while somebody types."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from accounts.models import AuditEntry
from accounts.tests.factories import UserFactory
from cronsched.core.admin import CappedPaginator
from cronsched.testing.fixtures_admin import errors_of, messages_of
from jobs.admin.job_form import JSON_FAULTS
from jobs.models import Job, JobExecution
from jobs.services import trial
from jobs.services.lifecycle import update_job
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
LIST, ADD, CHANGE, PAGE, TEST = (
    f"jobs_job_{view}" for view in ("changelist", "add", "change", "page", "test")
)
# What signs: the job's own, everybody's, one that is just being typed.
OF_JOB, OF_ALL, TYPED = (f"whsec_{key * 8}" for key in ("Sm9i", "QWxs", "VHlw"))
PREVIEW, METADATA, TRIAL = (f"jobs_job_{tool}" for tool in ("preview", "metadata", "trial"))


@pytest.fixture(autouse=True)
def _at_noon():
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def _local_targets(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True


# ---- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "own", "other"), [("admin", 1, 1), ("user", 1, 0), ("viewer", 0, 0)])
def test_everyone_reads_the_page_and_sees_the_buttons_that_are_theirs(request, role, own, other):
    site = request.getfixturevalue(f"{role}_site")

    for job, buttons in ((JobFactory(created_by=site.user), own), (JobFactory(), other)):
        page = site.open(PAGE, job.pk).content.decode()
        assert page.count('value="run_now"') == buttons
        assert page.count(f'href="{reverse("admin:jobs_job_change", args=[job.pk])}"') == buttons
        assert page.count(f'action="{reverse("admin:jobs_job_test", args=[job.pk])}"') == buttons


def test_the_page_shows_the_last_runs_and_leads_to_each(viewer_site):
    job = JobFactory()
    runs = [
        ExecutionFactory(job=job, scheduled_for=NOON - timedelta(minutes=n + 1), failed=n == 3)
        for n in range(20)
    ]
    ExecutionFactory(scheduled_for=NOON - timedelta(minutes=1))

    page = viewer_site.open(PAGE, job.pk)

    text = page.content.decode()
    assert [run.pk for run in page.context["runs"]] == [run.pk for run in runs[:15]]
    assert "Last 20 runs: 19 success, 1 failed" in text
    assert reverse("admin:jobs_jobexecution_change", args=[runs[3].pk]) in text
    assert "500 Server Error" in text
    assert "30 days: 20 runs, 95.0 % success" in text


@pytest.mark.parametrize("job_id", ["00000000-0000-4000-8000-000000000000"])
def test_there_is_no_page_of_a_job_that_is_not_there(viewer_site, user_site, job_id):
    assert viewer_site.open(PAGE, job_id).status_code == 404
    assert user_site.send(TEST, job_id).status_code == 404


def test_nobody_reads_it_who_is_not_signed_in(client):
    job = JobFactory()
    assert client.get(reverse(f"admin:{PAGE}", args=[job.pk])).status_code == 302
    for tool in (PREVIEW, METADATA, TRIAL):
        assert client.post(reverse(f"admin:{tool}")).status_code == 302


def test_the_page_costs_the_same_for_few_runs_and_for_many(viewer_site):
    job = JobFactory()

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            viewer_site.open(PAGE, job.pk)
        return len(caught)

    ExecutionFactory(job=job)
    few = queries()
    for _ in range(70):
        ExecutionFactory(job=job)
    assert queries() == few
    assert few <= 10


def test_what_was_typed_and_answered_is_escaped(viewer_site):
    evil = "<script>alert(1)</script>"
    job = JobFactory(name=evil, metadata={"x": evil}, paused=True, paused_note=evil)
    ExecutionFactory(job=job, failed=True, error_message=evil)

    assert evil not in viewer_site.open(PAGE, job.pk).content.decode()


def test_saving_leads_to_the_page_of_the_job(admin_site):
    job = JobFactory()

    answer = admin_site.submit(CHANGE, job.pk, name="Renamed")

    assert answer.url == reverse("admin:jobs_job_page", args=[job.pk])


# ---- the list ------------------------------------------------------------------------------------


def test_a_line_has_the_last_runs_as_marks_and_as_a_sentence(viewer_site):
    job = JobFactory(name="Busy")
    for n in range(25):
        ExecutionFactory(job=job, scheduled_for=NOON - timedelta(minutes=n + 1), failed=n == 1)
    JobFactory(name="New")

    page = viewer_site.open(LIST).content.decode()

    assert 'aria-label="Last 20 runs: 19 success, 1 failed"' in page
    assert "no runs yet" in page
    assert reverse("admin:jobs_job_page", args=[job.pk]) in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"ends": "7"}, {"Soon"}),
        ({"ends": "30"}, {"Soon", "Later"}),
        ({"ends": "past"}, {"Over"}),
        ({"ends": "junk"}, {"Soon", "Later", "Over", "Far"}),
        ({"failing": "now"}, {"Soon", "Far"}),
        ({"failing": "repeatedly"}, {"Far"}),
        ({"runs_at": "2026-03-10T17:30Z"}, {"Later"}),
        ({"runs_at": "2026-03-10T17:30Z/2026-03-10T18:00Z"}, {"Later"}),
        ({"runs_at": "2026-03-10T17:31Z/2026-03-10T18:01Z"}, {"Soon", "Far"}),
        ({"runs_at": "2026-03-10T12:01Z/2026-03-11T12:01Z"}, {"Soon", "Later", "Far"}),
        *(
            ({"runs_at": junk}, {"Soon", "Later", "Over", "Far"})
            for junk in (
                "junk",
                "2026-03-10T17:30Z/",
                "2026-03-10T17:30Z/2026-03-10T17:30Z",
                "2026-03-10T17:30Z/2026-03-12T17:30Z",
                "0001-01-01T00:00Z",
                "9999-12-31T23:59Z",
            )
        ),
    ],
)
def test_the_list_finds_jobs_by(viewer_site, query, expected):
    at_three = {"cron_expression": "0 3 * * *", "next_run_at": NOON + timedelta(hours=6)}
    JobFactory(name="Soon", end_date=date(2026, 3, 12), consecutive_failures=1, **at_three)
    half_past_two = {"cron_expression": "30 2 * * *", "next_run_at": NOON + timedelta(hours=5, minutes=30)}
    JobFactory(name="Later", end_date=date(2026, 4, 1), **half_past_two)
    JobFactory(name="Over", end_date=date(2026, 3, 1), paused=True)
    JobFactory(name="Far", consecutive_failures=3, **at_three)

    found = viewer_site.open(LIST, **query).context["cl"].result_list

    assert {job.name for job in found} == expected


def test_what_is_often_looked_for_is_counted_above_the_list(user_site):
    JobFactory(created_by=user_site.user, consecutive_failures=1)
    JobFactory(paused=True)

    page = user_site.open(LIST, failing="now").content.decode()

    assert 'href="/admin/jobs/job/?owner=mine">Mine<b>1</b>' in page
    assert 'href="/admin/jobs/job/?failing=now" aria-current="page">Failing<b>1</b>' in page


# ---- many at once ----------------------------------------------------------------------------------


def test_end_dates_are_moved_to_a_day(user_site):
    own, other = JobFactory(created_by=user_site.user), JobFactory(name="Theirs")

    question = user_site.act("extend_end_date", LIST, own.pk, other.pk)
    assert "To this day" in question.content.decode()
    answer = user_site.act("extend_end_date", LIST, own.pk, other.pk, answered=1, end_date="2031-05-06")

    own.refresh_from_db()
    other.refresh_from_db()
    assert own.end_date == date(2031, 5, 6)
    assert other.end_date == date(2030, 12, 31)
    assert messages_of(answer) == ["Extended: 1.", "Theirs: this is not yours to change."]


def test_end_dates_are_moved_by_days_from_their_own_or_from_today(admin_site):
    running = JobFactory(end_date=date(2026, 3, 20))
    ended = JobFactory(end_date=date(2025, 1, 1), paused=True)

    admin_site.act("extend_end_date", LIST, running.pk, ended.pk, answered=1, days="30")

    running.refresh_from_db()
    ended.refresh_from_db()
    assert (running.end_date, ended.end_date) == (date(2026, 4, 19), date(2026, 4, 9))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Give either a day or a number of days."),
        ({"end_date": "2031-05-06", "days": "3"}, "Give either a day or a number of days."),
        ({"end_date": "soon"}, "Enter a valid date."),
        ({"days": "0"}, "greater than or equal to 1"),
        ({"days": "99999999999"}, "less than or equal to"),
    ],
)
def test_an_answer_that_makes_no_sense_is_asked_again(admin_site, given, words):
    job = JobFactory()

    answer = admin_site.act("extend_end_date", LIST, job.pk, answered=1, **given)

    job.refresh_from_db()
    assert words in answer.content.decode()
    assert job.end_date == date(2030, 12, 31)


def test_extending_shortens_nothing(admin_site):
    """To one day for all: a job that runs longer, or without end, is refused by its name."""
    short = JobFactory(end_date=date(2026, 4, 1))
    longer, same = JobFactory(name="Longer", end_date=date(2028, 1, 1)), JobFactory(end_date=date(2027, 1, 1))
    endless = JobFactory(name="Endless", end_date=None)
    ids = [job.pk for job in (short, longer, same, endless)]

    answer = admin_site.act("extend_end_date", LIST, *ids, answered=1, end_date="2027-01-01")

    ends = dict(Job.objects.values_list("pk", "end_date"))
    assert [ends[pk] for pk in ids] == [date(2027, 1, 1), date(2028, 1, 1), date(2027, 1, 1), None]
    said = messages_of(answer)
    assert said[0] == "Extended: 1."
    assert "Longer: it runs until 2028-01-01 already." in said
    assert "Endless: it has no end date and runs on; to give it one, edit the job." in said
    answer = admin_site.act("extend_end_date", LIST, endless.pk, answered=1, days="30")
    assert messages_of(answer)[-1].startswith("Endless: it has no end date")


def across(site: Any, action: str, query: str = "", **given: Any) -> Any:
    """Choose an action for all jobs of the filter, on all pages, as the list sends it."""
    one = str(Job.objects.values_list("pk", flat=True)[0])
    data = {"action": action, "index": 0, "select_across": "1", "_selected_action": [one]}
    path = f"{reverse(f'admin:{LIST}')}{query}"
    if "answered" in given and "shown" not in given:
        given["shown"] = shown_in(site.post(path, data))
    return site.post(path, {**data, **given})


def shown_in(question: Any) -> str:
    (digest,) = re.findall(r'name="shown" value="(\w+)"', question.content.decode())
    return str(digest)


def test_all_jobs_of_a_filter_can_be_chosen(admin_site):
    JobFactory.create_batch(51)

    assert "Select all 51 jobs" in admin_site.open(LIST).content.decode()


@pytest.mark.parametrize("action", ["enable", "disable", "run_now"])
def test_what_is_done_to_all_jobs_of_a_filter_is_shown_first(admin_site, action):
    JobFactory.create_batch(3, paused=action == "enable")
    other = JobFactory(paused=action != "enable")
    query = f"?state={'paused' if action == 'enable' else 'active'}"

    question = across(admin_site, action, query)
    assert question.status_code == 200
    assert question.content.decode().count("<li>Job ") == 3
    assert Job.objects.exclude(pk=other.pk).filter(is_active=action != "enable").count() == 3
    assert not JobExecution.objects.exists()

    answer = across(admin_site, action, query, answered=1)
    assert messages_of(answer)[0].endswith(": 3.")
    assert Job.objects.exclude(pk=other.pk).filter(is_active=action != "disable").count() == 3
    assert JobExecution.objects.filter(trigger_type="manual").count() == (3 if action == "run_now" else 0)


def test_a_job_that_came_to_the_filter_since_is_shown_before_it_is_changed(admin_site):
    JobFactory.create_batch(2)
    question = across(admin_site, "disable", "?state=active")
    late = JobFactory(name="Late")

    asked = across(admin_site, "disable", "?state=active", answered=1, shown=shown_in(question))

    assert asked.status_code == 200
    assert "<li>Late</li>" in asked.content.decode()
    assert "look again" in asked.content.decode()
    assert Job.objects.get(pk=late.pk).is_active
    answer = across(admin_site, "disable", "?state=active", answered=1, shown=shown_in(asked))
    assert messages_of(answer)[0] == "Disabled: 3."


@pytest.mark.parametrize("value", ["true", "on", "2"])
def test_all_are_meant_however_the_field_says_so(admin_site, value):
    jobs = JobFactory.create_batch(2)
    data = {"action": "delete_selected", "index": 0, "select_across": value, "_selected_action": [jobs[0].pk]}

    admin_site.post(reverse(f"admin:{LIST}"), {**data, "post": "yes"})

    assert Job.objects.count() == 2


def test_a_bulk_action_costs_the_same_for_few_jobs_and_for_many(admin_site):
    new_owner = UserFactory(role="user")
    team = TeamFactory()
    given: dict[str, dict[str, Any]] = {
        "disable": {},
        "enable": {},
        "run_now": {},
        "extend_end_date": {"days": "1"},
        "change_team": {"team": str(team.pk)},
        "hand_over": {"to": str(new_owner.pk)},
    }

    def statements() -> dict[str, int]:
        counts = {}
        for action, values in given.items():
            with CaptureQueriesContext(connection) as caught:
                assert messages_of(across(admin_site, action, answered=1, **values))
            counts[action] = len(caught)
        return counts

    JobFactory.create_batch(3, next_run_at=NOON + timedelta(days=1), pic_team=team)
    statements()
    Job.objects.update(pic_team=TeamFactory(), created_by=admin_site.user)
    few = statements()
    JobFactory.create_batch(40, next_run_at=NOON + timedelta(days=1))
    Job.objects.update(pic_team=TeamFactory(), created_by=admin_site.user)
    many = statements()

    assert many == few


def test_everybody_is_told_once_of_many_and_by_name_of_one(admin_site):
    owner = UserFactory(role="user")
    jobs = JobFactory.create_batch(3, created_by=owner, next_run_at=NOON + timedelta(days=1))

    admin_site.act("disable", LIST, *[job.pk for job in jobs])
    titles = list(owner.notifications.values_list("title", flat=True))
    assert titles == ["Many jobs were disabled at once: 3"]
    assert AuditEntry.objects.filter(action="disabled").count() == 3

    admin_site.act("enable", LIST, jobs[0].pk)
    assert owner.notifications.filter(title=f"{jobs[0].name} was enabled").count() == 1


def test_many_refusals_are_told_by_their_reason(user_site):
    JobFactory.create_batch(30)
    JobFactory(created_by=user_site.user, end_date=date(2020, 1, 1), name="Over")

    said = messages_of(across(user_site, "run_now", answered=1))

    assert len(said) == 2
    assert "… (30): this is not yours to change." in said[0]
    assert said[1].startswith("Over: Job expired.")


def test_more_than_a_list_counts_are_too_many(admin_site, monkeypatch):
    monkeypatch.setattr(CappedPaginator, "cap", 3)
    JobFactory.create_batch(4)

    assert messages_of(across(admin_site, "disable", answered=1)) == [
        "Those are more than 3 jobs: narrow the filters."
    ]
    assert Job.objects.filter(is_active=True).count() == 4


def test_all_jobs_of_a_filter_are_not_deleted(admin_site):
    JobFactory.create_batch(2)

    answer = across(admin_site, "delete_selected", post="yes")

    assert messages_of(answer) == ["Jobs are deleted a page at a time: tick the ones to delete."]
    assert Job.objects.count() == 2


def test_a_day_in_the_past_is_refused_by_name(admin_site):
    job = JobFactory(name="Old")

    answer = admin_site.act("extend_end_date", LIST, job.pk, answered=1, end_date="2020-01-01")

    assert messages_of(answer)[0].startswith("Old: ")
    assert "2026-03-10 or later" in messages_of(answer)[0]


def test_jobs_are_moved_to_an_active_team(admin_site):
    job, team, gone = JobFactory(), TeamFactory(name="Platform"), TeamFactory(is_active=False)

    assert gone.name not in admin_site.act("change_team", LIST, job.pk).content.decode()
    admin_site.act("change_team", LIST, job.pk, answered=1, team=str(gone.pk))
    job.refresh_from_db()
    assert job.pic_team not in (team, gone)
    answer = admin_site.act("change_team", LIST, job.pk, answered=1, team=str(team.pk))

    job.refresh_from_db()
    assert job.pic_team == team
    assert messages_of(answer) == ["Moved to the team: 1."]


def test_a_choice_across_all_pages_is_asked_with_its_filters(admin_site):
    """Not with every id: beyond a thousand fields a form is refused."""
    JobFactory.create_batch(60, pic_team=TeamFactory(name="Old"))
    path = f"{reverse(f'admin:{LIST}')}?state=active"
    ids = [str(pk) for pk in Job.objects.values_list("pk", flat=True)[:50]]
    chosen = {"action": "extend_end_date", "index": 0, "select_across": "1"}

    question = admin_site.post(path, {**chosen, "_selected_action": ids})
    page = question.content.decode()
    assert f'action="{path}"' in page
    assert page.count('name="_selected_action"') == 1
    assert "and 10 more" in page
    answered = {
        **chosen,
        "_selected_action": ids[:1],
        "answered": 1,
        "days": "1",
        "shown": shown_in(question),
    }
    answer = admin_site.post(path, answered)

    assert messages_of(answer) == ["Extended: 60."]
    assert set(Job.objects.values_list("end_date", flat=True)) == {date(2031, 1, 1)}


@pytest.mark.parametrize("action", ["extend_end_date", "change_team"])
def test_a_viewer_moves_nothing(viewer_site, action):
    job, team = JobFactory(created_by=viewer_site.user), TeamFactory()

    viewer_site.act(action, LIST, job.pk, answered=1, days="3", team=str(team.pk))

    job.refresh_from_db()
    assert job.end_date == date(2030, 12, 31)
    assert job.pic_team != team


def test_run_now_links_the_runs_that_it_made(admin_site):
    jobs = JobFactory.create_batch(12)

    answer = admin_site.act("run_now", LIST, *[job.pk for job in jobs])

    said = messages_of(answer)
    assert said[0].endswith(": 12.")
    assert said[1].count("/admin/jobs/jobexecution/") == 11, "ten of them, and the list"
    assert "trigger_type" in said[1]


@pytest.mark.parametrize("back_to", ["junk", "", "//evil.example"])
def test_back_to_nowhere_is_the_list(admin_site, back_to):
    answer = admin_site.act("disable", LIST, JobFactory().pk, back_to=back_to)

    assert answer.status_code == 302
    assert answer.url.startswith(reverse(f"admin:{LIST}"))


# ---- the form --------------------------------------------------------------------------------------


def new_job(**values: Any) -> dict[str, Any]:
    CategoryFactory()
    return {
        "name": "Nightly",
        "pic_team": TeamFactory().pk,
        "cron_expression": "0 9 * * *",
        "end_date": "2027-01-31",
        **values,
    }


WORKFLOW = {"github_owner": "acme", "github_repo": "app", "github_workflow_name": "nightly.yml"}
URL = {"target_url": "https://hooks.example.com/run"}


@pytest.mark.parametrize(
    ("given", "kind", "url"),
    [
        ({"target_kind": "webhook", **URL}, "webhook", True),
        ({"target_kind": "webhook", **URL, **WORKFLOW}, "webhook", True),
        ({"target_kind": "github_actions", **WORKFLOW}, "github_actions", False),
        ({"target_kind": "github_actions", **URL, **WORKFLOW}, "github_actions", True),
        ({"target_kind": "", **URL, **WORKFLOW}, "github_actions", True),
    ],
)
def test_what_is_chosen_is_what_will_be_called(user_site, given, kind, url):
    assert user_site.submit(ADD, **new_job(**given)).status_code == 302

    job = Job.objects.get()
    assert (job.execution_type, bool(job.target_url)) == (kind, url)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"target_kind": "webhook", **WORKFLOW}, "target_url"),
        ({"target_kind": "github_actions", **URL}, "github_repo"),
        ({"target_kind": "github_actions", **URL, "github_repo": "app"}, "github_workflow_name"),
        ({"target_kind": "github_actions", **URL, "github_workflow_name": "a.yml"}, "github_repo"),
    ],
)
def test_a_target_that_was_chosen_and_not_given_is_asked_for_in_place_of_the_other(user_site, given, field):
    answer = user_site.submit(ADD, **new_job(**given))

    assert list(errors_of(answer)) == [field]
    assert not Job.objects.exists()
    page = user_site.send(TRIAL, **given).content.decode()
    assert "Nothing was called." in page, "a test run calls no other target either"


def test_a_webhook_without_a_url_does_not_keep_the_workflow_of_a_job(admin_site):
    job = JobFactory(github=True)

    answer = admin_site.submit(CHANGE, job.pk, target_kind="webhook")

    assert "A target is required" in errors_of(answer)["target_url"][0]
    given = {**admin_site.filled_in(CHANGE, job.pk), "target_kind": "webhook"}
    page = admin_site.post(f"{reverse(f'admin:{TRIAL}')}?job={job.pk}", given).content.decode()
    assert "Nothing was called." in page


def test_a_workflow_becomes_a_webhook(admin_site):
    job = JobFactory(github=True)

    admin_site.submit(CHANGE, job.pk, target_kind="webhook", **URL)

    job.refresh_from_db()
    assert (job.execution_type, job.github_repo, job.github_workflow_name) == ("webhook", "", "")


def test_that_a_workflow_is_missing_is_said_where_it_is_to_be_typed(user_site):
    answer = user_site.submit(ADD, **new_job(target_kind="github_actions", **URL))

    assert list(errors_of(answer)) == ["github_repo"]


def test_fields_are_named_as_the_form_names_them(user_site):
    answer = user_site.submit(ADD, **new_job(target_kind="github_actions", github_repo="app"))

    assert errors_of(answer) == {
        "github_workflow_name": ["Workflow file is required with GitHub repository."]
    }


def preview(site: Any, **values: str) -> str:
    answer = site.send(PREVIEW, **values)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_preview_says_when_it_runs_in_its_zone(viewer_site):
    page = preview(viewer_site, cron_expression="0 9 * * 1-5", timezone="America/New_York")

    assert "Monday through Friday" in page
    assert "Tue 2026-03-10 09:00 EDT" in page
    assert page.count("<li>") == 6


def test_a_preview_ends_with_the_end_date(viewer_site):
    page = preview(viewer_site, cron_expression="0 9 * * *", end_date="2026-03-12")

    assert page.count("<li>") == 2
    assert "it ends on 2026-03-12" in page
    assert "does not run any more" in preview(viewer_site, cron_expression="0 9 1 1 *", end_date="2026-03-12")


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("0 25 * * *", "", "In the hour field, &quot;25&quot;"),
        ("0 9 * * *", "Mars/Olympus", "is not known"),
        ("0 9 13 * 5", "", "every day that matches either of them"),
        ("30 2 * * *", "Europe/Berlin", "03:00 CEST</time>: the clock goes forward by 60 minutes"),
        ("", "", "Type a schedule"),
        ("<b> * * * *", "", "&lt;b&gt;"),
    ],
)
def test_a_preview_warns_of(viewer_site, expression, zone, words):
    assert words in preview(viewer_site, cron_expression=expression, timezone=zone)


def test_a_preview_stands_an_end_date_that_is_none(viewer_site):
    assert "09:00" in preview(viewer_site, cron_expression="0 9 * * *", end_date="soon")


def test_tools_are_posts_with_a_token(user_site):
    assert user_site.open(PREVIEW).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user_site.user, backend="accounts.backends.IdentifierBackend")
    for tool in (PREVIEW, METADATA, TRIAL):
        assert strict.post(reverse(f"admin:{tool}"), {"cron_expression": "* * * * *"}).status_code == 403


def test_metadata_is_put_in_order_without_losing_a_digit(user_site):
    answer = user_site.send(METADATA, metadata='{"id":12345678901234567890,"名":1.0}').json()

    assert answer == {"ok": True, "text": '{\n  "id": 12345678901234567890,\n  "名": 1.0\n}'}


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": 1,\n"b" 2}', "Line 2, column 5: "), ("[1]", "must be an object"), ("[" * 100_000, "too deep")],
)
def test_what_is_wrong_with_metadata_is_said_with_its_line(user_site, text, words):
    answer = user_site.send(METADATA, metadata=text).json()

    assert answer["ok"] is False
    assert words in answer["message"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"a": 1,\r\n"b"}', 12),
        ('\r\n\r\n{"a": }', 8),
        ('{"a": "😀", }', 12),
        ('{"a": ', 6),
        ("[1]", None),
        ("[" * 100_000, None),
    ],
)
def test_the_place_at_fault_is_told_as_a_browser_counts(user_site, text, at):
    """UTF-16, with lines ended by one character."""
    assert user_site.send(METADATA, metadata=text).json().get("at") == at

    form = user_site.submit(ADD, **new_job(**URL, metadata=text)).context["adminform"].form
    assert form.fields["metadata"].widget.attrs.get("data-fault-at") == at


BROKEN_JSON = (
    *("{", '{"a" 1}', '{"a": 1 "b"}', "[1 2]", "{} x", '"\n"', '"a', "[1,]", '{"a":1,}'),
    *(r'"\x"', r'"\u12"'),
)


def test_what_the_parser_says_is_known_to_the_catalogue():
    said = set()
    for text in BROKEN_JSON:
        with pytest.raises(json.JSONDecodeError) as fault:
            json.loads(text)
        said.add(fault.value.msg)

    assert said <= set(JSON_FAULTS)


def test_a_japanese_page_says_in_japanese_what_is_wrong_with_json(user_site):
    user_site.user.language = "ja"
    user_site.user.save()

    message = user_site.send(METADATA, metadata='{"a": }').json()["message"]

    assert "Expecting" not in message
    assert "Line" not in message


# ---- test runs -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_local_targets")
def test_a_test_run_shows_what_was_answered(user_site, http_sink):
    from cronsched.testing.http_sink import Reply

    http_sink.on("/hook", Reply(status=503, body=b'{"error":"<busy>"}'))
    given = {"target_kind": "webhook", "target_url": http_sink.url("/hook"), "metadata": '{"a": 1}'}

    answer = user_site.post(reverse(f"admin:{TRIAL}"), given, headers={"X-Requested-With": "fetch"})

    page = answer.content.decode()
    assert http_sink.wait_for(1)[0].json() == {"a": 1}
    assert "<html" not in page
    assert "503" in page
    assert "&quot;error&quot;: &quot;&lt;busy&gt;&quot;" in page
    assert not Job.objects.exists()
    assert not JobExecution.objects.exists()


@pytest.mark.usefixtures("_local_targets")
def test_without_a_script_a_test_run_is_a_page(user_site, http_sink):
    answer = user_site.send(TRIAL, target_url=http_sink.url("/hook"))

    assert "</html>" in answer.content.decode()
    assert "It works." in answer.content.decode()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "A target is required"),
        ({"target_url": "ftp://x"}, "Target URL: "),
        ({"target_kind": "github_actions", **URL}, "A target is required"),
        ({**URL, "metadata": "{"}, "Metadata must be a JSON object."),
    ],
)
def test_a_test_run_that_cannot_be_says_why(user_site, given, words):
    page = user_site.send(TRIAL, **given).content.decode()

    assert "Nothing was called." in page
    assert words in page


def test_only_so_many_test_runs_at_once(user_site, monkeypatch):
    for _ in range(trial.TEST_RUNS_AT_ONCE):
        assert trial._SEATS.acquire(blocking=False)
    try:
        page = user_site.send(TRIAL, **URL).content.decode()
    finally:
        for _ in range(trial.TEST_RUNS_AT_ONCE):
            trial._SEATS.release()

    assert "test runs are under way" in page


@pytest.mark.usefixtures("_local_targets")
def test_who_may_test_what(admin_site, user_site, viewer_site, http_sink):
    own = JobFactory(created_by=user_site.user, target_url=http_sink.url("/own"))
    other = JobFactory(target_url=http_sink.url("/other"))

    assert user_site.send(TEST, own.pk).status_code == 200
    assert admin_site.send(TEST, other.pk).status_code == 200
    assert user_site.send(TEST, other.pk).status_code == 403
    for job in (own, other):
        assert viewer_site.send(TEST, job.pk).status_code == 403
    assert viewer_site.send(TRIAL, target_url=http_sink.url("/x")).status_code == 403

    assert [call.path for call in http_sink.wait_for(2)] == ["/own", "/other"]


def is_signed(call: Any, secret: str) -> bool:
    try:
        Webhook(secret).verify(call.body, dict(call.headers))
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.usefixtures("_local_targets")
@pytest.mark.parametrize(
    ("typed", "secrets"),
    [
        (None, [OF_JOB]),
        ({}, [OF_JOB]),
        # After a change both sign for a day.
        ({"new_signing_secret": TYPED}, [OF_JOB, TYPED]),
        ({"drop_signing_secret": "on"}, [OF_ALL]),
    ],
)
def test_a_test_run_is_signed_as_a_run_is(user_site, http_sink, settings, typed, secrets):
    settings.WEBHOOK_SIGNING_SECRET = OF_ALL
    job = JobFactory(created_by=user_site.user, target_url=http_sink.url("/hook"))
    update_job(job, data={"signing_secret": OF_JOB}, by=user_site.user, now=NOON - timedelta(days=3))

    if typed is None:
        user_site.send(TEST, job.pk)
    else:
        given = {**user_site.filled_in(CHANGE, job.pk), **typed}
        user_site.post(f"{reverse(f'admin:{TRIAL}')}?job={job.pk}", given)

    call = http_sink.wait_for(1)[0]
    assert [one for one in (OF_JOB, OF_ALL, TYPED) if is_signed(call, one)] == secrets
    job.refresh_from_db()
    assert job.schedule_version == 2, "nothing is stored"


@pytest.mark.usefixtures("_local_targets")
def test_a_test_run_waits_as_long_as_a_run_does(user_site, monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "send_now", lambda delivery, config: asked.append(delivery) or 1 / 0)
    job = JobFactory(created_by=user_site.user, timeout_seconds=7)
    form = f"{reverse(f'admin:{TRIAL}')}?job={job.pk}"

    for post in (
        lambda: user_site.send(TEST, job.pk),
        lambda: user_site.post(form, user_site.filled_in(CHANGE, job.pk)),
        lambda: user_site.post(form, {**user_site.filled_in(CHANGE, job.pk), "timeout_seconds": "3"}),
        lambda: user_site.post(form, {**user_site.filled_in(CHANGE, job.pk), "timeout_seconds": "3600"}),
    ):
        with pytest.raises(ZeroDivisionError):
            post()

    assert [delivery.timeout_s for delivery in asked] == [7, 7, 3, trial.TIMEOUT_MOST_S]
    page = user_site.post(form, {**user_site.filled_in(CHANGE, job.pk), "timeout_seconds": "soon"})
    assert "Timeout (s) must be a whole number of seconds" in page.content.decode()


@pytest.mark.usefixtures("_local_targets")
def test_a_test_that_could_not_wait_as_long_as_a_run_says_so(user_site, http_sink, settings, monkeypatch):
    from cronsched.testing.http_sink import Reply

    settings.WEBHOOK_TIMEOUT_SECONDS = 0.2
    monkeypatch.setattr(trial, "TIMEOUT_MOST_S", 0.2)
    http_sink.on("/slow", Reply(hold=True))
    job = JobFactory(created_by=user_site.user, timeout_seconds=600, target_url=http_sink.url("/slow"))

    page = user_site.send(TEST, job.pk).content.decode()

    assert "A test waits 0.2 s at most; a run of this job waits 600 s." in page
    http_sink.release()


@pytest.mark.usefixtures("_local_targets")
def test_the_secret_of_anothers_job_signs_no_call_of_ones_own(user_site, http_sink):
    other = JobFactory()
    given = {"target_kind": "webhook", "target_url": http_sink.url("/mine")}

    for job, status in ((other.pk, 403), ("junk", 404), (uuid4(), 404)):
        assert user_site.post(f"{reverse(f'admin:{TRIAL}')}?job={job}", given).status_code == status

    assert not http_sink.calls


@pytest.mark.parametrize(
    ("end_date", "words"),
    [
        (date(2026, 3, 9), "has ended"),
        (date(2026, 3, 10), "today is the last day"),
        (date(2026, 3, 11), "1 day left"),
        (date(2026, 4, 20), "41 days left"),
    ],
)
def test_the_page_counts_the_days_that_are_left_in_the_schedulers_zone(viewer_site, end_date, words):
    job = JobFactory(end_date=end_date)

    assert words in viewer_site.open(PAGE, job.pk).content.decode()
