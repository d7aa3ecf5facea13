from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cronsched.core.crypto import encrypt
from cronsched.testing.fixtures_admin import Visitor
from jobs.admin.execution import ExecutionAdmin
from jobs.models import JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory

pytestmark = pytest.mark.django_db

LIST, ADD, CHANGE, DELETE = (
    f"jobs_jobexecution_{view}" for view in ("changelist", "add", "change", "delete")
)


@pytest.fixture(autouse=True)
def _at_noon():
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.mark.parametrize("role", ["admin", "user", "viewer"])
def test_every_role_reads_runs_and_none_writes_them(request, role):
    site: Visitor = request.getfixturevalue(f"{role}_site")
    run = ExecutionFactory()

    assert site.open(LIST).status_code == 200
    assert site.open(CHANGE, run.pk).status_code == 200
    assert site.open(ADD).status_code == 403
    assert site.send(CHANGE, run.pk, status="failed").status_code == 403
    assert site.send(DELETE, run.pk, post="yes").status_code == 403
    site.act("delete_selected", LIST, run.pk, post="yes")
    assert JobExecution.objects.get().status == "success"


def test_the_page_of_a_run_shows_its_answer_escaped_and_never_its_overrides(admin_site):
    evil = "<script>alert(1)</script>"
    sealed = encrypt('{"github_token": "ghp_secret"}')
    run = ExecutionFactory(
        failed=True, output=f'{{"ok": false}}\n{evil}', error_message=f"500 {evil}", overrides=sealed
    )

    page = admin_site.open(CHANGE, run.pk).content.decode()

    assert "{&quot;ok&quot;: false}\n&lt;script&gt;" in page
    assert evil not in page
    assert sealed not in page
    assert "ghp_secret" not in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status__exact": "failed"}, {"b"}),
        ({"trigger_type__exact": "manual"}, {"c"}),
        ({"execution_type__exact": "github_actions"}, {"c"}),
        ({"q": "nightly"}, {"a", "b"}),
        ({"q": "no such job"}, set()),
        ({"started_at_from_0": "2026-03-10", "started_at_from_1": "20:30:00",
          "started_at_to_0": "2026-03-10", "started_at_to_1": "21:30:00"}, {"a", "c"}),
        ({"started_at_from_0": "2026-03-10", "started_at_to_0": "2026-03-10"}, {"a", "b", "c"}),
        ({"started_at_from_0": "2026-03-11"}, set()),
        ({"started_at_to_0": "2026-03-09"}, set()),
    ],
)  # fmt: skip
def test_a_run_is_found_by(viewer_site, query, expected):
    """Times of the filter are the scheduler's: 21:00 in Tokyo is NOON."""
    nightly, other = JobFactory(name="Nightly"), JobFactory(name="Other")
    runs = {
        "a": ExecutionFactory(job=nightly, started_at=NOON),
        "b": ExecutionFactory(job=nightly, failed=True, started_at=NOON - timedelta(hours=2)),
        "c": ExecutionFactory(job=other, manual=True, execution_type="github_actions", started_at=NOON),
    }

    found = viewer_site.open(LIST, **query).context["cl"].result_list

    assert {name for name, run in runs.items() if run in list(found)} == expected


@pytest.mark.parametrize("day", ["junk", "9999-12-31", "0001-01-01"])
def test_a_day_that_is_none_is_no_server_error(viewer_site, day):
    assert viewer_site.open(LIST, started_at_from_0=day, started_at_to_0=day).status_code in (200, 302)


def test_runs_are_found_by_team_category_and_job(viewer_site):
    mine, _ = ExecutionFactory(job=JobFactory(category=CategoryFactory(slug="backup"))), ExecutionFactory()

    for parameter, key in (
        ("job__pic_team__id__exact", mine.job.pic_team_id),
        ("job__category__id__exact", mine.job.category_id),
        ("job__id__exact", mine.job_id),
    ):
        assert list(viewer_site.open(LIST, **{parameter: key}).context["cl"].result_list) == [mine]


def test_the_list_costs_the_same_for_few_runs_and_many_and_reads_no_output(admin_site):
    job = JobFactory()
    ExecutionFactory(job=job)
    admin_site.open(LIST)

    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as caught:
            admin_site.open(LIST)
        return [query["sql"] for query in caught]

    few = queries()
    ExecutionFactory.create_batch(20, job=job)
    many = queries()

    assert len(many) == len(few) <= 12
    assert not [sql for sql in many if re.search('[`"](output|overrides)[`"]', sql)]


def test_nothing_counts_beyond_the_cap(admin_site, monkeypatch):
    monkeypatch.setattr(ExecutionAdmin.paginator, "cap", 10)
    job = JobFactory()
    ExecutionFactory.create_batch(12, job=job)

    with CaptureQueriesContext(connection) as caught:
        page = admin_site.open(LIST)

    counts = [query["sql"] for query in caught if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 10" in sql for sql in counts)
    assert "or more: narrow the filters" in page.content.decode()
    assert page.context["cl"].result_count == 10


@pytest.mark.parametrize("query", [{"overrides__startswith": "g"}, {"output__contains": "x"}])
def test_a_list_is_filtered_by_its_filters_alone(viewer_site, query):
    """Or ciphertext and claim tokens could be guessed letter by letter."""
    assert viewer_site.open("jobs_jobexecution_changelist", **query).status_code == 400
