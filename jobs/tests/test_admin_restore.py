from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from accounts.models import AuditEntry
from cronsched.core import clock
from cronsched.testing.fixtures_admin import messages_of
from jobs.models import Job
from jobs.services.lifecycle import update_job
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db

PAGE = "jobs_job_restore"


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
