"""Every filter of the lists has its index. SQLite plans by rules alone, so an empty table shows it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from cronsched.testing.fixtures_admin import Visitor
from jobs.admin.execution import ExecutionAdmin
from jobs.admin.filters import CATEGORY, TEAM
from jobs.engine.lease import Term
from jobs.engine.tally import count_closed_hours
from jobs.models import Job
from jobs.services.dashboard import totals
from jobs.services.maintenance import reconcile
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        connection.vendor != "sqlite", reason="reads SQLite's EXPLAIN; bench/plans.py asks the others"
    ),
]

NEWEST, OF_JOB, OF_STATUS = "execution_newest_counted", "execution_job_counted", "execution_status_page"
OF_JOB_TALLIED = "tally_job"
RANGE = "from=2026-03-01T00:07:00Z&to=2026-03-10T11:07:00Z"


@pytest.fixture
def counted(term: Term) -> Job:
    """A job with some history, half of it tallied."""
    job: Job = JobFactory()
    for moment in (NOON - timedelta(hours=30), NOON - timedelta(hours=3), NOON):
        ExecutionFactory(job=job, started_at=moment)
        ExecutionFactory(job=job, started_at=moment, failed=True)
        ExecutionFactory(job=job, started_at=moment, manual=True)
    count_closed_hours(now=NOON, term=term)
    return job


def plans_of(api: Any, path: str) -> list[str]:
    """How each statement of this request that reads runs or tallies is carried out."""
    with CaptureQueriesContext(connection) as queries:
        assert api.get(path).status_code == 200
    with connection.cursor() as cursor:
        plans = []
        for query in queries:
            if any(
                table in query["sql"] for table in ("jobs_jobexecution", "jobs_runtally", "jobs_jobtally")
            ):
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                plans.append("\n".join(row[3] for row in cursor.fetchall()))
    return plans


def scans(plan: str) -> list[str]:
    """Steps that read a whole table of the history, rather than a part of an index."""
    return [
        step
        for step in plan.splitlines()
        if step.startswith("SCAN jobs_") and "USING" not in step and step != "SCAN jobs_job"
    ]


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("/executions", NEWEST),
        (f"/executions?{RANGE}", NEWEST),
        ("/executions?status=failed", OF_STATUS),
        ("/executions?status=failed,missed", OF_STATUS),
        ("/executions?trigger_type=manual", NEWEST),
        ("/executions?execution_type=webhook", NEWEST),
        (f"/executions?trigger_type=scheduled&execution_type=webhook&{RANGE}", NEWEST),
        ("/executions?job_id={job}", OF_JOB),
        ("/executions?job_id={job}&status=failed,missed", OF_JOB),
        (f"/executions?job_id={{job}}&trigger_type=manual&{RANGE}", OF_JOB),
        ("/jobs/{job}/executions", OF_JOB),
        (f"/jobs/{{job}}/executions?status=failed&{RANGE}", OF_JOB),
        ("/jobs/{job}/executions/stats", OF_JOB),
        (f"/jobs/{{job}}/executions/stats?{RANGE}", OF_JOB),
        ("/executions/statistics", NEWEST),
        (f"/executions/statistics?{RANGE}", NEWEST),
        ("/executions/statistics?job_id={job}", OF_JOB),
        ("/executions/statistics?job_id={job}", OF_JOB_TALLIED),
        ("/executions?job_id={job}&status=failed", OF_JOB_TALLIED),
    ],
)
def test_every_filter_has_its_index(viewer_api: Any, counted: Job, path: str, index: str):
    plans = plans_of(viewer_api, path.format(job=counted.pk))

    assert plans
    assert not [plan for plan in plans if scans(plan)], plans
    assert any(index in plan for plan in plans), plans


@pytest.mark.parametrize(
    "path", ["/executions", "/executions?trigger_type=manual", "/executions?job_id={job}&status=failed"]
)
def test_what_counts_and_finds_a_page_reads_no_row(viewer_api: Any, counted: Job, path: str):
    """The last statement alone reads rows: those of the page, by their ids."""
    *finding, _ = plans_of(viewer_api, path.format(job=counted.pk))

    of_runs = [plan for plan in finding if "execution_" in plan]
    assert of_runs
    assert not [plan for plan in of_runs if "USING INDEX execution" in plan], of_runs


def test_the_page_of_the_admin_site_is_found_without_its_rows(
    admin_site: Visitor, monkeypatch: pytest.MonkeyPatch
):
    """Asked for rows joined with their jobs in order, MariaDB sorts the whole history (110 s)."""
    monkeypatch.setattr(ExecutionAdmin, "list_per_page", 2)
    for _ in range(3):
        ExecutionFactory()

    with CaptureQueriesContext(connection) as queries:
        assert admin_site.open("jobs_jobexecution_changelist").status_code == 200

    texts = [query["sql"] for query in queries if "jobs_jobexecution" in query["sql"]]
    ordered = [text for text in texts if "ORDER BY" in text and "LIMIT" in text]
    assert len(ordered) == 1
    assert "JOIN" not in ordered[0]
    assert "error_message" not in ordered[0]


@pytest.mark.parametrize("by_job", [TEAM + "={team}", CATEGORY + "={category}", "q=job"])
@pytest.mark.parametrize("status", ["", "&status__exact=failed", "&status__exact=problem"])
def test_what_the_admin_site_narrows_to_jobs_goes_along_the_index_by_job(
    admin_site: Visitor, counted: Job, by_job: str, status: str
):
    """Along the index by status, each failure of every team was read: 185 ms of a million runs."""
    CategoryFactory(slug="another")
    query = by_job.format(team=counted.pic_team_id, category=counted.category_id) + status
    path = f"{reverse('admin:jobs_jobexecution_changelist')}?{query}"

    *finding, _rows = [plan for plan in plans_of(admin_site, path) if "execution_" in plan]

    assert finding
    assert not [plan for plan in finding if OF_JOB not in plan or OF_STATUS in plan], finding


def test_each_minute_looks_at_no_job_that_is_in_order():
    JobFactory.create_batch(200, next_run_at=NOON + timedelta(minutes=1))
    JobFactory.create_batch(50, paused=True)
    with connection.cursor() as cursor:
        # Its statistics say that every job has the same drift.
        cursor.execute("ANALYZE")

    with CaptureQueriesContext(connection) as queries:
        reconcile(now=NOON)

    with connection.cursor() as cursor:
        plans = [cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}").fetchall() for query in queries]
    steps = [[row[3] for row in plan] for plan in plans]
    indexes = ("job_active_until", "job_drift", "job_drift", "job_odd")
    assert [len(plan) for plan in steps] == [1] * len(indexes), steps
    assert all(index in step for (step,), index in zip(steps, indexes, strict=True)), steps


def test_the_jobs_that_have_a_next_run_are_counted_without_their_rows():
    JobFactory.create_batch(20)
    JobFactory(paused=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    with CaptureQueriesContext(connection) as queries:
        assert Job.objects.scheduled().count() == 20

    with connection.cursor() as cursor:
        ((*_, step),) = cursor.execute(f"EXPLAIN QUERY PLAN {queries[0]['sql']}").fetchall()
    assert "COVERING INDEX job_next_run" in step


def test_a_page_of_jobs_is_found_in_its_index_before_its_rows_are_joined(viewer_api: Any):
    """Asked for rows joined with their category in order, MariaDB sorts all jobs (9 s of a million)."""
    JobFactory.create_batch(3)

    with CaptureQueriesContext(connection) as queries:
        assert len(viewer_api.get("/jobs?page=1").json()["jobs"]) == 3

    *_, finding, reading = [query["sql"] for query in queries]
    assert "JOIN" not in finding
    assert "JOIN" in reading
    with connection.cursor() as cursor:
        steps = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {finding}").fetchall()]
    assert steps == ["SCAN jobs_job USING COVERING INDEX job_newest"]


def test_the_totals_of_the_home_page_read_no_job(admin_user: Any):
    JobFactory.create_batch(20)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    with CaptureQueriesContext(connection) as queries:
        totals(user=admin_user, now=NOON)

    with connection.cursor() as cursor:
        plans = [cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}").fetchall() for query in queries]
    steps = [row[3] for plan in plans for row in plan]
    assert len(steps) == 3
    assert all("USING COVERING INDEX" in step for step in steps), steps


def test_a_batch_of_due_jobs_is_read_in_order_and_no_further():
    """Sorted by their ids, 16,667 due in one minute were read 35 times: 41 ms a batch in place of 2."""
    JobFactory.create_batch(3)

    plan = Job.objects.due(NOON)[:2].explain()

    assert "job_next_run" in plan
    assert "TEMP B-TREE" not in plan
