from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from cronsched.core import clock
from cronsched.core.db import database_now
from jobs.models import ChoreState, SchedulerLease

pytestmark = pytest.mark.django_db

PAGES = [
    "jobs_schedulerlease",
    "jobs_chorestate",
    "django_apscheduler_djangojob",
    "django_apscheduler_djangojobexecution",
]


@pytest.fixture
def rows():
    now = clock.now()
    job = DjangoJob.objects.create(id="reconcile", next_run_time=now, job_state=b"\x80pickle")
    return {
        "jobs_schedulerlease": SchedulerLease.objects.create(holder="host:1"),
        "jobs_chorestate": ChoreState.objects.create(name="prune", last_error="<script>boom</script>"),
        "django_apscheduler_djangojob": job,
        "django_apscheduler_djangojobexecution": DjangoJobExecution.objects.create(
            job=job, status=DjangoJobExecution.ERROR, run_time=now, traceback="<script>boom</script>"
        ),
    }


@pytest.mark.parametrize("page", PAGES)
def test_admins_read_them_and_nobody_writes_them(admin_site, user_site, viewer_site, rows, page):
    key = rows[page].pk

    shown = admin_site.open(f"{page}_change", key)
    assert admin_site.open(f"{page}_changelist").status_code == 200
    assert shown.status_code == 200
    assert "<script>boom" not in shown.content.decode()
    assert "pickle" not in shown.content.decode()
    assert admin_site.open(f"{page}_add").status_code == 403
    assert admin_site.send(f"{page}_change", key, name="x").status_code == 403
    assert admin_site.send(f"{page}_delete", key, post="yes").status_code == 403
    for site in (user_site, viewer_site):
        assert site.open(f"{page}_changelist").status_code == 403
        assert site.open(f"{page}_change", key).status_code == 403


@pytest.mark.parametrize(
    ("expires_in_s", "holder", "word"), [(60, "a:1", "running"), (-1, "a:1", "silent"), (60, "", "silent")]
)
def test_the_lease_is_judged_by_the_databases_clock(admin_site, expires_in_s, holder, word):
    expires_at = database_now() + timedelta(seconds=expires_in_s)
    SchedulerLease.objects.create(holder=holder, term=7, expires_at=expires_at)

    row = admin_site.open("jobs_schedulerlease_changelist").context["cl"].result_list[0]

    assert row.state == word


def test_nothing_runs_a_chore_in_the_web_process(admin_site, rows):
    for model in (DjangoJob, DjangoJobExecution):
        page = admin.site.get_model_admin(model)
        request = admin_site.open("index").wsgi_request
        assert "run_selected_jobs" not in page.get_actions(request)
        assert not hasattr(page, "run_selected_jobs")
