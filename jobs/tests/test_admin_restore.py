from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse

from accounts.models import AuditEntry
from cronsched.core import clock
from cronsched.testing.fixtures_admin import messages_of
from jobs.models import Job
from jobs.services.lifecycle import update_job
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db

PAGE, HISTORY = "jobs_job_restore", "jobs_job_history"


@pytest.fixture
def history(a_user) -> tuple[Job, AuditEntry]:
    """A job of a_user that was called Backup, then Nightly with retries; and the line of its first edit."""
    job = JobFactory(name="Backup", created_by=a_user)
    now = clock.now() - timedelta(hours=1)
    update_job(job, data={"cron_expression": "0 2 * * *"}, by=a_user, now=now)
    first = AuditEntry.objects.get()
    update_job(job, data={"name": "Nightly", "max_retries": 2}, by=a_user, now=now + timedelta(minutes=5))
    return Job.objects.get(pk=job.pk), first


def test_the_page_of_a_job_shows_its_changes_and_the_way_back(user_site, history):
    job, first = history
    text = user_site.open("jobs_job_page", job.pk).content.decode()

    assert "Nightly" in text
    assert "0 2 * * *" in text
    assert reverse(f"admin:{PAGE}", args=[job.pk, first.pk]) in text
    newest = AuditEntry.objects.order_by("-at").first()
    assert reverse(f"admin:{PAGE}", args=[job.pk, newest.pk]) not in text


def test_who_only_reads_sees_the_changes_and_no_way_back(viewer_site, history):
    job, _first = history
    text = viewer_site.open("jobs_job_page", job.pk).content.decode()

    assert "0 2 * * *" in text
    assert "/restore/" not in text


@pytest.fixture
def long_history(a_user) -> Job:
    """A job of a_user that was edited sixty times: its retries went round, its name stayed."""
    job = JobFactory(name="Backup", created_by=a_user)
    now = clock.now() - timedelta(hours=2)
    for number in range(60):
        data = {"max_retries": number % 7 + 1}
        update_job(job, data=data, by=a_user, now=now + timedelta(minutes=number))
    return job


@pytest.mark.parametrize(("role", "ways_back"), [("viewer_site", 0), ("user_site", 59), ("admin_site", 59)])
def test_the_whole_history_is_for_everybody_who_reads_the_job(request, role, ways_back, long_history):
    site = request.getfixturevalue(role)
    address = reverse(f"admin:{HISTORY}", args=[long_history.pk])
    assert address in site.open("jobs_job_page", long_history.pk).content.decode()

    pages = [site.open(HISTORY, long_history.pk, p=number) for number in (1, 2)]

    assert [page.status_code for page in pages] == [200, 200]
    text = "".join(page.content.decode() for page in pages)
    assert text.count("cd-history-item") == 60
    assert text.count("/restore/") == ways_back
    assert ("/accounts/auditentry/?kind__exact=job" in text) == (role == "admin_site")


def test_the_oldest_version_is_within_reach(user_site, long_history):
    oldest = AuditEntry.objects.order_by("at").first()
    assert f"/restore/{oldest.pk}/" in user_site.open(HISTORY, long_history.pk, p=2).content.decode()

    user_site.send(PAGE, long_history.pk, oldest.pk, field=["max_retries"])

    long_history.refresh_from_db()
    assert long_history.max_retries == 1


@pytest.mark.parametrize("page", ["junk", "0", "99999999999999999999"])
def test_a_page_of_the_history_that_is_none_is_the_nearest(viewer_site, long_history, page):
    assert viewer_site.open(HISTORY, long_history.pk, p=page).status_code == 200


def test_the_history_of_no_job_is_not_found(viewer_site):
    assert viewer_site.open(HISTORY, "junk").status_code == 404
    assert viewer_site.open(HISTORY, uuid4()).status_code == 404


def test_the_history_costs_the_same_however_long_it_is(
    user_site, long_history, django_assert_max_num_queries
):
    with django_assert_max_num_queries(8):
        user_site.open(HISTORY, long_history.pk)


def test_a_refusal_is_said_in_the_viewers_language(user_site, history):
    job, first = history
    user_site.user.language = "ja"
    user_site.user.save()
    JobFactory(name="Backup")

    page = user_site.send(PAGE, job.pk, first.pk, field=["name"])

    faults = {row["field"]: row["faults"] for row in page.context["rows"]}
    assert "already exists" not in faults["name"][0]
    assert "Backup" in faults["name"][0]


def test_what_would_change_is_shown_before(user_site, history):
    job, first = history
    page = user_site.open(PAGE, job.pk, first.pk)

    shown = {line.label: (line.old, line.new) for row in page.context["rows"] for line in row["lines"]}
    assert shown == {"name": ("Nightly", "Backup"), "retries": ("2", "0")}
    job.refresh_from_db()
    assert job.name == "Nightly"


def test_only_what_was_chosen_is_put_back(user_site, history):
    job, first = history
    answer = user_site.send(PAGE, job.pk, first.pk, field=["name"])

    assert messages_of(answer) == ["The earlier version was restored."]
    job.refresh_from_db()
    assert (job.name, job.max_retries) == ("Backup", 2)
    newest = AuditEntry.objects.order_by("-at").first()
    assert (newest.action, newest.actor_name, newest.via) == ("restored", "uma_user", "admin")


def test_a_refusal_stands_at_its_field(user_site, history):
    job, first = history
    JobFactory(name="Backup")
    page = user_site.send(PAGE, job.pk, first.pk, field=["name", "max_retries"])

    assert page.status_code == 200
    faults = {row["field"]: row["faults"] for row in page.context["rows"]}
    assert faults == {"name": ['A job named "Backup" already exists.'], "max_retries": []}
    job.refresh_from_db()
    assert job.max_retries == 2


def test_nothing_chosen_is_said(user_site, history):
    job, first = history
    page = user_site.send(PAGE, job.pk, first.pk)

    assert "There is nothing to put back" in page.content.decode()


@pytest.mark.parametrize(("role", "status"), [("viewer_site", 403), ("admin_site", 200), ("user_site", 200)])
def test_who_may_restore(request, role, status, history):
    job, first = history
    site = request.getfixturevalue(role)

    assert site.open(PAGE, job.pk, first.pk).status_code == status
    if status == 403:
        assert site.send(PAGE, job.pk, first.pk, field=["name"]).status_code == 403
        job.refresh_from_db()
        assert job.name == "Nightly"


def test_anothers_job_and_anothers_entry(user_site, history):
    job, first = history
    other = JobFactory()

    assert user_site.open(PAGE, other.pk, first.pk).status_code == 403
    mine = JobFactory(created_by=user_site.user)
    assert user_site.open(PAGE, mine.pk, first.pk).status_code == 404
    assert user_site.send(PAGE, mine.pk, first.pk, field=["name"]).status_code == 404
    assert user_site.open(PAGE, job.pk, mine.pk).status_code == 404
