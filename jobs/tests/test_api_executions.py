from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.choices import Status
from jobs.models import Job, JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = pytest.mark.django_db
NOWHERE = str(uuid.UUID(int=1))
EXECUTION_KEYS = {
    "id",
    "job_id",
    "status",
    "trigger_type",
    "scheduled_for",
    "started_at",
    "completed_at",
    "duration_seconds",
    "execution_type",
    "target",
    "response_status",
    "error_message",
    "output",
}


@pytest.fixture
def job() -> Job:
    created: Job = JobFactory(name="Backup", github_repo="app")
    return created


def at(hour: int, **values: Any) -> JobExecution:
    """A run that started on 10 March at this hour (UTC)."""
    moment = datetime(2026, 3, 10, hour, tzinfo=UTC)
    run: JobExecution = ExecutionFactory(started_at=moment, **values)
    return run


@pytest.mark.parametrize("path", ["/executions", f"/executions/{NOWHERE}", f"/jobs/{NOWHERE}/executions"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_history_is_not_written(admin_api: Any, path: str, method: str) -> None:
    assert getattr(admin_api, method)(path).status_code == 405


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/executions/7", "Execution not found", "No execution found with ID: 7"),
        ("/jobs/7/executions", "Job not found", "No job found with ID: 7"),
        ("/jobs/{job}/executions/{run}", "Execution not found", "No execution found with ID: {run}"),
    ],
)
def test_what_is_not_there_is_named(viewer_api: Any, job: Job, path: str, error: str, message: str) -> None:
    ids = {"job": job.pk, "run": at(1).pk}

    answer = viewer_api.get(path.format(**ids)).json()

    assert answer == {"error": error, "message": message.format(**ids)}


# ---- one run ------------------------------------------------------------------------------------


def test_run_is_answered_whole(viewer_api: Any, job: Job) -> None:
    run = at(1, job=job, failed=True, output="x" * 5000, response_status=500)

    everywhere = viewer_api.get(f"/executions/{run.pk}").json()["execution"]
    of_job = viewer_api.get(f"/jobs/{job.pk}/executions/{run.pk}").json()

    assert set(everywhere) >= EXECUTION_KEYS | {"job_name", "github_repo"}
    assert (everywhere["job_name"], everywhere["github_repo"]) == ("Backup", "app")
    assert (everywhere["output"], everywhere["response_status"]) == ("x" * 5000, 500)
    assert everywhere["started_at"] == "2026-03-10T01:00:00Z"
    assert of_job["job"] == {"id": str(job.pk), "name": "Backup"}
    assert of_job["execution"].items() <= everywhere.items()


def test_queued_run_shows_what_is_not_known_yet_as_null(viewer_api: Any) -> None:
    run = at(1, manual=True, queued=True)

    shown = viewer_api.get(f"/executions/{run.pk}").json()["execution"]

    unknown = (
        "scheduled_for",
        "completed_at",
        "duration_seconds",
        "response_status",
        "error_message",
        "output",
    )
    assert {key: shown[key] for key in unknown} == dict.fromkeys(unknown)
    assert shown["started_at"] == "2026-03-10T01:00:00Z"


# ---- lists --------------------------------------------------------------------------------------


def test_list_is_newest_first_with_totals(viewer_api: Any, job: Job) -> None:
    runs = [str(at(hour, job=job).pk) for hour in (1, 2, 3)]

    answer = viewer_api.get("/executions?limit=2").json()

    assert [run["id"] for run in answer.pop("executions")] == [runs[2], runs[1]]
    assert answer == {"total": 3, "page": 1, "limit": 2, "total_pages": 2}


def test_list_of_a_job_counts_all_that_match(viewer_api: Any, job: Job) -> None:
    for hour in range(4):
        at(hour, job=job)
    at(5)

    answer = viewer_api.get(f"/jobs/{job.pk}/executions?limit=3").json()

    assert (answer["job_id"], answer["job_name"], answer["total_executions"]) == (str(job.pk), "Backup", 4)
    assert len(answer["executions"]) == 3
    assert set(answer["executions"][0]) >= EXECUTION_KEYS


def test_runs_of_one_moment_have_one_order(viewer_api: Any, job: Job) -> None:
    runs = [at(1, job=job) for _ in range(5)]
    expected = [str(run.pk) for run in sorted(runs, key=lambda run: run.pk, reverse=True)]

    pages = [viewer_api.get(f"/executions?limit=2&page={page}").json()["executions"] for page in (1, 2, 3, 4)]

    assert [run["id"] for page in pages for run in page] == expected


@pytest.mark.databases
def test_list_and_read_show_a_run_alike(viewer_api: Any, a_user: Any, job: Job) -> None:
    at(1, job=job, output="done", duration_seconds=0.1234, response_status=200)
    at(2, job=job, running=True, manual=True, triggered_by=a_user)
    at(3, job=job, status="missed", missed_count=7, missed_last_at=NOON + timedelta(seconds=0.5), attempt=3)

    shown = viewer_api.get("/executions").json()["executions"]

    assert len(shown) == 3
    for run in shown:
        assert run == viewer_api.get(f"/executions/{run['id']}").json()["execution"]
        assert run["job_id"] == str(job.pk)


@pytest.mark.databases
@pytest.mark.parametrize("path", ["/executions", "/jobs/{job}/executions"])
def test_list_carries_the_beginning_of_the_output_only(viewer_api: Any, job: Job, path: str) -> None:
    at(1, job=job, output="é🚀" * 3000)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        run = viewer_api.get(path.format(job=job.pk)).json()["executions"][0]

    assert run["output"] == "é🚀" * 500
    # Neither the rest nor what is encrypted is even fetched.
    rows = queries[-1]["sql"].lower()
    assert "substr" in rows
    assert "overrides" not in rows


FILTERS = [
    ("", 6),
    ("status=success", 2),
    ("status=failed,missed", 2),
    ("status=queued, running", 2),
    ("trigger_type=manual", 1),
    ("trigger_type=scheduled&status=queued", 0),
    ("execution_type=github_actions", 1),
    ("from=2026-03-10T03:00:00Z", 4),
    ("to=2026-03-10T03:00:00Z", 2),
    ("from=2026-03-10T02:00:00Z&to=2026-03-10T04:00:00Z", 2),
    ("from=2026-03-10T12:00:00%2B09:00", 4),
    ("from=2026-03-10", 6),
    ("to=2026-03-10", 6),
    ("to=2026-03-09", 0),
    ("from=2026-03-11", 0),
]


@pytest.fixture
def history(job: Job) -> Job:
    at(1, job=job)
    at(2, job=job, failed=True)
    at(3, job=job, status=Status.MISSED, duration_seconds=None)
    at(4, job=job, queued=True, manual=True)
    at(5, job=job, running=True)
    at(6, job=job, execution_type="github_actions", duration_seconds=4.0)
    return job


@pytest.mark.databases
@pytest.mark.parametrize(("query", "total"), FILTERS)
def test_filters(viewer_api: Any, history: Job, query: str, total: int) -> None:
    everywhere = viewer_api.get(f"/executions?{query}").json()

    assert (everywhere["total"], len(everywhere["executions"])) == (total, total)


@pytest.mark.parametrize(("query", "total"), FILTERS)
def test_filters_of_a_job(viewer_api: Any, history: Job, query: str, total: int) -> None:
    at(2)

    answer = viewer_api.get(f"/jobs/{history.pk}/executions?{query}").json()

    assert (answer["total_executions"], len(answer["executions"])) == (total, total)


def test_filter_by_job(viewer_api: Any, history: Job) -> None:
    other = at(1)

    assert viewer_api.get(f"/executions?job_id={history.pk}").json()["total"] == 6
    assert viewer_api.get(f"/executions?job_id={other.job_id}").json()["total"] == 1
    assert viewer_api.get(f"/executions?job_id={NOWHERE}").json()["total"] == 0


@pytest.mark.parametrize("path", ["/executions", "/jobs/{job}/executions"])
@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("status=done", "Validation error"),
        ("status=success,", "Validation error"),
        ("trigger_type=magic", "Validation error"),
        ("execution_type=email", "Validation error"),
        ("limit=0", "Validation error"),
        ("limit=ten", "Validation error"),
        ("from=yesterday", "Invalid date"),
        ("to=2026-02-30", "Invalid date"),
        ("from=2026-03-10&to=2026-03-09", "Invalid date range"),
    ],
)
def test_parameter_that_means_nothing_is_refused(
    viewer_api: Any, job: Job, path: str, query: str, error: str
) -> None:
    answer = viewer_api.get(f"{path.format(job=job.pk)}?{query}")

    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(("query", "limit"), [("limit=500", 200), ("", 20), ("limit=7&page=9", 7)])
def test_limit_is_clamped(viewer_api: Any, job: Job, query: str, limit: int) -> None:
    answer = viewer_api.get(f"/executions?{query}").json()

    assert (answer["limit"], answer["total_pages"], answer["executions"]) == (limit, 0, [])


# ---- figures ------------------------------------------------------------------------------------


@pytest.mark.databases
def test_statistics(viewer_api: Any, history: Job) -> None:
    at(7, failed=True, duration_seconds=None)

    answer = viewer_api.get("/executions/statistics?from=2026-03-10&to=2026-03-10").json()

    assert answer == {
        "total_executions": 7,
        "successful_executions": 2,
        "failed_executions": 2,
        "running_executions": 2,
        "missed_executions": 1,
        "success_rate": 50.0,
        "average_duration_seconds": 2.0,
        "range": {"from": "2026-03-10T00:00:00Z", "to": "2026-03-11T00:00:00Z"},
    }


def test_statistics_of_one_job_or_period(viewer_api: Any, history: Job) -> None:
    at(1)

    of_job = viewer_api.get(f"/executions/statistics?job_id={history.pk}").json()
    of_hour = viewer_api.get(
        "/executions/statistics?from=2026-03-10T02:00:00Z&to=2026-03-10T03:00:00Z"
    ).json()

    assert (of_job["total_executions"], of_job["range"]) == (6, {"from": None, "to": None})
    assert (of_hour["total_executions"], of_hour["success_rate"]) == (1, 0.0)


def test_rate_has_one_decimal(viewer_api: Any, job: Job) -> None:
    for number in range(3):
        at(1, job=job, failed=number == 0)

    assert viewer_api.get("/executions/statistics").json()["success_rate"] == 66.7


def test_figures_of_nothing(viewer_api: Any, job: Job) -> None:
    answer = viewer_api.get(f"/jobs/{job.pk}/executions/stats").json()

    assert answer["statistics"] == {
        "total_executions": 0,
        "success_count": 0,
        "failed_count": 0,
        "running_count": 0,
        "missed_count": 0,
        "success_rate": 0.0,
        "average_duration_seconds": None,
    }
    assert answer["latest_execution"] is None


def test_stats_of_a_job(viewer_api: Any, history: Job) -> None:
    at(9)

    answer = viewer_api.get(f"/jobs/{history.pk}/executions/stats").json()

    assert (answer["job_id"], answer["job_name"]) == (str(history.pk), "Backup")
    assert answer["statistics"]["total_executions"] == 6
    assert answer["statistics"]["running_count"] == 2
    assert answer["latest_execution"]["started_at"] == "2026-03-10T06:00:00Z"
    assert set(answer["latest_execution"]) >= EXECUTION_KEYS


def test_latest_run_is_of_the_period(viewer_api: Any, history: Job) -> None:
    answer = viewer_api.get(f"/jobs/{history.pk}/executions/stats?to=2026-03-10T03:00:00Z").json()

    assert answer["statistics"]["total_executions"] == 2
    assert answer["latest_execution"]["started_at"] == "2026-03-10T02:00:00Z"


# ---- cost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "statements"),
    [
        # The caller, the mark of what was tallied, the count, the ids of the page, its rows.
        ("/executions", 5),
        ("/executions?status=success,failed&from=2026-01-01", 5),
        # The mark of what was tallied by job.
        ("/executions?job_id={job}", 5),
        # The job, too.
        ("/jobs/{job}/executions", 6),
        ("/jobs/{job}/executions/stats", 5),
        # The caller, the mark, the figures.
        ("/executions/statistics", 3),
        ("/executions/statistics?job_id={job}", 3),
        ("/executions/{run}", 2),
        ("/jobs/{job}/executions/{run}", 3),
    ],
)
def test_cost_does_not_grow_with_the_history(
    viewer_api: Any, job: Job, django_assert_num_queries: Any, path: str, statements: int
) -> None:
    for number in range(12):
        ExecutionFactory(job=job if number % 2 else JobFactory(), started_at=NOON - timedelta(minutes=number))
    run = at(1, job=job)

    with django_assert_num_queries(statements):
        assert viewer_api.get(path.format(job=job.pk, run=run.pk)).status_code == 200
