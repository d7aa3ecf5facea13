from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_admin import errors_of, messages_of
from jobs.choices import PausedReason, Status, TriggerType
from jobs.models import Job, JobExecution
from jobs.tests.factories import NOON, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db

LIST, ADD, CHANGE, DELETE, PAGE = (
    f"jobs_job_{view}" for view in ("changelist", "add", "change", "delete", "page")
)


@pytest.fixture(autouse=True)
def _at_noon():
    with time_machine.travel(NOON, tick=False):
        yield


def new_job(**values):
    return {
        "name": "Nightly",
        "pic_team": TeamFactory().pk,
        "cron_expression": "0 9 * * *",
        "end_date": "2027-01-31",
        "target_url": "https://hooks.example.com/run",
        **values,
    }


# ---- the form, through the services ---------------------------------------------------------------


def test_a_job_is_created_by_the_service(user_site):
    CategoryFactory()

    response = user_site.submit(ADD, **new_job(metadata='{"a": 1}', notification_emails="a@b.co\r\nc@d.co"))

    job = Job.objects.get()
    assert response.status_code == 302
    assert job.created_by == user_site.user
    assert job.category.slug == "general"
    assert job.metadata == {"a": 1}
    assert job.notification_emails == ["a@b.co", "c@d.co"]
    assert job.next_run_at == NOON.replace(day=11, hour=0)


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"cron_expression": "* * *"}, "cron_expression", "five fields"),
        ({"end_date": "tomorrow"}, "end_date", "YYYY-MM-DD"),
        ({"end_date": "2026-03-09"}, "end_date", "2026-03-10 or later"),
        ({"end_date": ""}, "end_date", "End date is required."),
        ({"metadata": '{"a": 1,\n"b"}'}, "metadata", "Metadata must be a JSON object. Line 2, column 4: "),
        ({"metadata": "[" * 100_000}, "metadata", "Metadata must be a JSON object. It is nested too deep"),
        ({"metadata": "[]"}, "metadata", "Metadata must be a JSON object."),
        ({"target_url": ""}, "target_url", "A target is required"),
        ({"target_url": "http://127.0.0.1/"}, "target_url", "https://"),
        ({"timeout_seconds": "soon"}, "timeout_seconds", "whole number"),
        ({"notification_emails": "nobody"}, "notification_emails", "no e-mail address"),
        ({"pic_team": "nobody"}, "pic_team", 'PIC team "nobody" does not exist.'),
        ({"name": "a\x00b"}, "name", "cannot be stored"),
    ],
)
def test_a_refusal_stands_on_its_field_in_the_services_words(user_site, values, field, words):
    CategoryFactory()

    response = user_site.submit(ADD, **new_job(**values))

    errors = errors_of(response)
    assert list(errors) == [field]
    assert words in errors[field][0]
    assert not Job.objects.exists()


def test_a_refused_form_keeps_what_was_typed(user_site):
    CategoryFactory()

    response = user_site.submit(ADD, **new_job(name="Kept", metadata="{broken", cron_expression="nonsense"))

    page = response.content.decode()
    assert "Kept" in page
    assert "{broken" in page
    assert "nonsense" in page


def test_the_words_are_those_of_the_api_with_the_names_that_the_form_has(user_site, user_api):
    CategoryFactory()
    JobFactory(name="Taken")
    job = new_job(name="taken", cron_expression="@daily", end_date="x")

    api = user_api.post("/jobs", {**job, "pic_team": TeamFactory().slug}).json()
    form = errors_of(user_site.submit(ADD, **job))

    assert api["details"].pop("end_date") == ["end_date must be a date, written YYYY-MM-DD."]
    assert form.pop("end_date") == ["End date must be a date, written YYYY-MM-DD."]
    assert form == api["details"]


def test_an_update_sends_only_what_was_changed(admin_site):
    """The end date has gone by and the team is disabled: the job may be renamed all the same."""
    job = JobFactory(end_date=date(2026, 1, 1), paused=True, pic_team=TeamFactory(is_active=False))

    response = admin_site.submit(CHANGE, job.pk, name="Renamed")

    job.refresh_from_db()
    assert response.status_code == 302
    assert job.name == "Renamed"
    assert job.schedule_version == 2


def test_saving_an_untouched_form_writes_nothing(admin_site):
    job = JobFactory(metadata={"b": [1, 2], "ä": "\n"}, notification_emails=["a@b.co", "c@d.co"])

    admin_site.submit(CHANGE, job.pk)

    job.refresh_from_db()
    assert job.schedule_version == 1


def test_only_active_teams_and_the_present_one_are_offered(admin_site):
    present, other = TeamFactory(is_active=False), TeamFactory(is_active=False)
    active = TeamFactory()
    job = JobFactory(pic_team=present)

    form = admin_site.open(CHANGE, job.pk).context["adminform"].form

    assert set(form.fields["pic_team"].queryset) == {present, active}
    assert other not in form.fields["pic_team"].queryset


def test_an_admin_gives_a_job_away_and_a_user_cannot(admin_site, user_site):
    other = UserFactory()
    job = JobFactory(created_by=user_site.user)

    user_site.submit(CHANGE, job.pk, created_by=other.pk)
    job.refresh_from_db()
    assert job.created_by == user_site.user

    admin_site.submit(CHANGE, job.pk, created_by=other.pk)
    job.refresh_from_db()
    assert job.created_by == other


def test_the_page_shows_the_schedule_in_words_and_the_next_runs(viewer_site):
    job = JobFactory(cron_expression="0 9 * * 1-5", timezone="America/New_York", end_date=date(2026, 3, 12))

    page = viewer_site.open(PAGE, job.pk).content.decode()

    assert "Monday through Friday" in page
    assert "(America/New_York)" in page
    assert "Tue 2026-03-10 09:00 EDT" in page
    assert "Wed 2026-03-11 09:00 EDT" in page
    assert "2026-03-12 09:00" in page
    assert "2026-03-13" not in page, "a slot after the end date is no slot"
    assert f"?job__id__exact={job.pk}" in page


def test_a_job_whose_schedule_cannot_be_read_still_has_a_page(admin_site):
    job = JobFactory(cron_expression="nonsense", timezone="Nowhere/Else")

    assert admin_site.open(CHANGE, job.pk).status_code == 200
    assert admin_site.open(PAGE, job.pk).status_code == 200
    assert admin_site.open(LIST).status_code == 200
    assert admin_site.open("index").status_code == 200


# ---- roles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "may_add", "may_change_own", "may_change_other"),
    [("admin", True, True, True), ("user", True, True, False), ("viewer", False, False, False)],
)
def test_each_role_may_what_the_contract_allows(request, role, may_add, may_change_own, may_change_other):
    site = request.getfixturevalue(f"{role}_site")
    own, other = JobFactory(created_by=site.user), JobFactory()

    assert site.open(LIST).status_code == 200
    assert site.open(ADD).status_code == (200 if may_add else 403)
    for job, may_change in ((own, may_change_own), (other, may_change_other)):
        assert site.open(CHANGE, job.pk).status_code == 200, "everyone reads"
        assert site.send(CHANGE, job.pk, name="Renamed").status_code == (200 if may_change else 403)
        assert site.open(DELETE, job.pk).status_code == (200 if may_change else 403)


def test_who_may_not_change_a_job_gets_no_form_and_no_buttons(user_site, viewer_site):
    job = JobFactory()

    for site in (user_site, viewer_site):
        page = site.open(CHANGE, job.pk)
        assert not page.context["adminform"].form.fields
        assert 'value="run_now"' not in page.content.decode()


def test_who_only_reads_sees_the_owner_without_a_link_to_their_profile(viewer_site):
    job = JobFactory(metadata={"a": "<b>"}, notification_emails=["a@b.co"])

    page = viewer_site.open(CHANGE, job.pk).content.decode()

    assert job.created_by.username in page
    assert reverse("admin:accounts_user_change", args=[job.created_by.pk]) not in page
    assert "a@b.co" in page
    assert "&quot;a&quot;: &quot;&lt;b&gt;&quot;" in page


def test_another_ones_job_is_not_deleted_by_its_address(user_site):
    job = JobFactory()

    response = user_site.send(DELETE, job.pk, post="yes")

    assert response.status_code == 403
    assert Job.objects.filter(pk=job.pk).exists()


def test_an_owner_deletes_their_job_with_its_history(user_site):
    job = JobFactory(created_by=user_site.user)

    response = user_site.send(DELETE, job.pk, post="yes")

    assert response.status_code == 302
    assert not Job.objects.exists()


@pytest.mark.parametrize("action", ["enable", "disable", "run_now", "delete_selected"])
def test_a_viewer_has_no_action(viewer_site, action):
    job = JobFactory(created_by=viewer_site.user)

    viewer_site.act(action, LIST, job.pk, post="yes")

    job.refresh_from_db()
    assert job.is_active
    assert not JobExecution.objects.exists()


# ---- actions ---------------------------------------------------------------------------------------


def test_run_now_queues_the_own_jobs_and_names_the_others(user_site):
    own, other = JobFactory(created_by=user_site.user), JobFactory(name="Not mine")

    response = user_site.act("run_now", LIST, own.pk, other.pk)

    run = JobExecution.objects.get()
    assert (run.job, run.trigger_type, run.status) == (own, TriggerType.MANUAL, Status.QUEUED)
    assert run.triggered_by == user_site.user
    said = messages_of(response)
    assert any(text.endswith(": 1.") for text in said)
    assert any(text.startswith("Not mine: ") for text in said)


def test_run_now_of_an_ended_job_says_why_and_pauses_it(admin_site):
    job = JobFactory(name="Over", end_date=date(2026, 3, 9))

    response = admin_site.act("run_now", LIST, job.pk)

    job.refresh_from_db()
    assert not job.is_active
    assert messages_of(response) == [
        "Over: Job expired. This job ended on 2026-03-09; give it a later end date to run it."
    ]


def test_disable_and_enable_go_through_the_services(admin_site):
    job, ended = JobFactory(), JobFactory(name="Over", paused=True, end_date=date(2026, 3, 9))

    admin_site.act("disable", LIST, job.pk)
    job.refresh_from_db()
    assert (job.is_active, job.paused_reason, job.next_run_at) == (False, PausedReason.BY_HAND, None)

    response = admin_site.act("enable", LIST, job.pk, ended.pk)
    job.refresh_from_db()
    assert job.next_run_at == NOON + timedelta(minutes=1)
    assert messages_of(response)[-1].startswith("Over: This job ended on 2026-03-09")


def test_a_button_on_the_page_of_a_job_leads_back_to_it(admin_site):
    job = JobFactory()

    response = admin_site.act("disable", LIST, job.pk, back_to=job.pk)

    assert response.url == reverse("admin:jobs_job_page", args=[job.pk])


def test_deleting_several_asks_first_and_refuses_others_one_by_one(user_site):
    own, other = JobFactory(name="Mine", created_by=user_site.user), JobFactory(name="Theirs")

    question = user_site.act("delete_selected", LIST, own.pk, other.pk)
    assert "and the whole history of its runs" in question.content.decode()
    assert question.status_code == 200
    assert Job.objects.count() == 2

    response = user_site.act("delete_selected", LIST, own.pk, other.pk, post="yes")
    assert list(Job.objects.all()) == [other]
    assert messages_of(response) == ["Deleted: 1.", "Theirs: this is not yours to change."]


# ---- the list --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "active"}, {"Alpha", "Beta"}),
        ({"state": "paused"}, {"Gamma"}),
        ({"state": "expired"}, {"Gamma"}),
        ({"state": "broken"}, set()),
        ({"owner": "mine"}, {"Alpha"}),
        ({"owner": "nobody"}, {"Gamma"}),
        ({"target": "github_actions"}, {"Beta"}),
        ({"target": "webhook"}, {"Alpha", "Gamma"}),
        ({"last_status__exact": "failed"}, {"Beta"}),
        ({"q": "ALPH"}, {"Alpha"}),
        ({"q": "acme/app"}, {"Beta"}),
        ({"q": "%"}, set()),
    ],
)
def test_the_list_finds_a_job_by(admin_site, query, expected):
    JobFactory(name="Alpha", created_by=admin_site.user)
    JobFactory(name="Beta", github=True, last_status="failed")
    JobFactory(name="Gamma", created_by=None, paused=True, paused_reason="expired")

    found = admin_site.open(LIST, **query).context["cl"].result_list

    assert {job.name for job in found} == expected


@pytest.mark.parametrize(
    "query", [{"owner": "junk"}, {"pic_team__id__exact": "junk"}, {"o": "99"}, {"p": "junk"}]
)
def test_a_query_that_makes_no_sense_is_no_server_error(admin_site, query):
    assert admin_site.open(LIST, **query).status_code in (200, 302)


def test_the_list_costs_the_same_for_one_job_and_for_many(admin_site):
    JobFactory()
    admin_site.open(LIST)

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            admin_site.open(LIST)
        return len(caught)

    few = queries()
    JobFactory.create_batch(20)
    assert queries() == few
    # One of them is the bell's.
    assert few <= 13


def test_what_people_typed_is_escaped(admin_site):
    evil = "<script>alert(1)</script>"
    job = JobFactory(
        name=evil, pic_team=TeamFactory(name=evil), paused=True, paused_note=evil, metadata={"x": evil}
    )

    for page in (admin_site.open(LIST), admin_site.open(CHANGE, job.pk), admin_site.open(DELETE, job.pk)):
        assert evil not in page.content.decode()
        assert "&lt;script&gt;" in page.content.decode()


def test_the_next_run_is_shown_in_the_schedulers_zone_with_how_far_it_is(viewer_site):
    JobFactory(next_run_at=datetime.fromisoformat("2026-03-10T15:30:00+00:00"))

    page = viewer_site.open(LIST).content.decode()

    assert "2026-03-11 00:30" in page
    assert "in 3\xa0hours" in page
