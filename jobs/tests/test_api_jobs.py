from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import time_machine

from cronsched.core import clock
from jobs.api import shapes
from jobs.models import Job, JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
NOWHERE = str(uuid.UUID(int=1))
JOB_KEYS = {
    "id",
    "name",
    "cron_expression",
    "target_url",
    "github_owner",
    "github_repo",
    "github_workflow_name",
    "metadata",
    "category",
    "pic_team",
    "end_date",
    "enable_email_notifications",
    "notification_emails",
    "notify_on_success",
    "created_by",
    "is_active",
    "created_at",
    "updated_at",
    "last_execution_at",
    "next_execution_at",
}


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    CategoryFactory(slug="general", name="General")
    TeamFactory(slug="devops", name="DevOps")


def payload(**values: Any) -> dict[str, Any]:
    return {
        "name": "Backup",
        "cron_expression": "0 2 * * *",
        "pic_team": "devops",
        "end_date": "2099-12-31",
        "target_url": "https://hooks.example.com/run",
        **values,
    }


@pytest.fixture
def mine(a_user: Any) -> Job:
    job: Job = JobFactory(name="Mine", created_by=a_user, category=CategoryFactory(slug="general"))
    return job


@pytest.fixture
def noon() -> Iterator[None]:
    """Named before a client, whose token is of this time too."""
    with time_machine.travel(NOON, tick=False):
        yield


# ---- who may ------------------------------------------------------------------------------------


def test_ownerless_job_is_an_admins(user_api: Any, admin_api: Any) -> None:
    job = JobFactory(created_by=None)

    assert user_api.put(f"/jobs/{job.pk}", {"name": "New"}).status_code == 403
    assert admin_api.put(f"/jobs/{job.pk}", {"name": "New"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("put", "/jobs/{id}", "You can only update your own jobs."),
        ("delete", "/jobs/{id}", "You can only delete your own jobs."),
        ("post", "/jobs/{id}/execute", "You can only execute your own jobs."),
    ],
)
def test_refusal_of_anothers_job_says_so(
    other_api: Any, mine: Job, method: str, path: str, message: str
) -> None:
    answer = getattr(other_api, method)(path.format(id=mine.pk), {}).json()

    assert answer == {"error": "Forbidden", "message": message}


@pytest.mark.parametrize("text", [NOWHERE, "7", "'; drop table jobs"])
def test_unknown_id_has_the_words_of_the_contract(viewer_api: Any, text: str) -> None:
    answer = viewer_api.get(f"/jobs/{text}")

    assert answer.status_code == 404
    assert answer.json() == {"error": "Job not found", "message": f"No job found with ID: {text}"}


# ---- one job ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("noon")
def test_created_job_is_answered_whole(user_api: Any, a_user: Any) -> None:
    answer = user_api.post("/jobs", payload(metadata={"env": "prod"}, notification_emails="a@example.com"))

    assert answer.status_code == 201
    assert answer.json()["message"] == "Job created successfully"
    job = answer.json()["job"]
    assert set(job) >= JOB_KEYS
    assert job["id"] == str(Job.objects.get().pk)
    assert {key: job[key] for key in JOB_KEYS - {"id"}} == {
        "name": "Backup",
        "cron_expression": "0 2 * * *",
        "target_url": "https://hooks.example.com/run",
        "github_owner": None,
        "github_repo": None,
        "github_workflow_name": None,
        "metadata": {"env": "prod"},
        "category": "general",
        "pic_team": "devops",
        "end_date": "2099-12-31",
        "enable_email_notifications": False,
        "notification_emails": ["a@example.com"],
        "notify_on_success": False,
        "created_by": str(a_user.pk),
        "is_active": True,
        "created_at": "2026-03-10T12:00:00Z",
        "updated_at": "2026-03-10T12:00:00Z",
        "last_execution_at": None,
        "next_execution_at": "2026-03-11T02:00:00+09:00",
    }


def test_read_shows_the_job(viewer_api: Any, mine: Job) -> None:
    job = viewer_api.get(f"/jobs/{mine.pk}").json()["job"]

    assert set(job) >= JOB_KEYS
    assert (job["name"], job["next_execution_at"]) == ("Mine", "2026-03-10T21:00:00+09:00")


def test_next_execution_has_the_offset_of_the_jobs_zone(viewer_api: Any, mine: Job) -> None:
    Job.objects.filter(pk=mine.pk).update(
        timezone="America/New_York", next_run_at=datetime(2026, 12, 1, 7, tzinfo=UTC)
    )

    job = viewer_api.get(f"/jobs/{mine.pk}").json()["job"]

    assert (job["timezone"], job["next_execution_at"]) == ("America/New_York", "2026-12-01T02:00:00-05:00")


def test_zone_broken_in_the_database_is_still_answered(viewer_api: Any, mine: Job) -> None:
    Job.objects.filter(pk=mine.pk).update(timezone="Mars/Olympus")

    assert viewer_api.get(f"/jobs/{mine.pk}").json()["job"]["next_execution_at"].endswith("+09:00")
    assert viewer_api.get("/jobs").status_code == 200


def test_secrets_are_in_no_answer(admin_api: Any, mine: Job) -> None:
    Job.objects.filter(pk=mine.pk).update(signing_secret="the-secret")
    answers = [
        admin_api.get("/jobs"),
        admin_api.get(f"/jobs/{mine.pk}"),
        admin_api.put(f"/jobs/{mine.pk}", {"name": "New"}),
        admin_api.post(f"/jobs/{mine.pk}/execute", {"github_token": "ghp_secret"}),
        admin_api.get(f"/jobs/{mine.pk}/executions"),
        admin_api.get("/executions"),
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert not any("secret" in answer.content.decode() for answer in answers)


@pytest.mark.parametrize("method", ["put", "patch"])
def test_update_changes_what_is_sent(user_api: Any, mine: Job, method: str) -> None:
    answer = getattr(user_api, method)(f"/jobs/{mine.pk}", {"name": "New", "colour": "red"})

    assert answer.status_code == 200
    assert answer.json()["message"] == "Job updated successfully"
    assert answer.json()["job"]["name"] == "New"
    assert answer.json()["job"]["target_url"] == "https://hooks.example.com/run"


def test_job_is_put_back_whole_after_its_end(user_api: Any, mine: Job) -> None:
    Job.objects.filter(pk=mine.pk).update(end_date=date(2020, 1, 1))
    job = user_api.get(f"/jobs/{mine.pk}").json()["job"]

    answer = user_api.put(f"/jobs/{mine.pk}", job)

    assert answer.status_code == 200
    assert answer.json()["job"] == job


def test_pause_and_resume_by_update(user_api: Any, mine: Job) -> None:
    paused = user_api.put(f"/jobs/{mine.pk}", {"is_active": False}).json()["job"]
    resumed = user_api.put(f"/jobs/{mine.pk}", {"is_active": True}).json()["job"]

    assert (paused["is_active"], paused["next_execution_at"], paused["paused_reason"]) == (
        False,
        None,
        "by_hand",
    )
    assert resumed["next_execution_at"] > clock.now().isoformat()


@pytest.mark.parametrize(
    ("body", "error", "field"),
    [
        ({"name": "taken"}, "Duplicate job name", "name"),
        ({"is_active": None}, "Validation error", "is_active"),
        ({"name": None}, "Validation error", "name"),
        ({"end_date": "2020-01-01"}, "Validation error", "end_date"),
        ({"target_url": None}, "Validation error", "target_url"),
        ({"name": "a\x00b"}, "Validation error", "name"),
    ],
)
def test_refused_update_names_the_field(user_api: Any, mine: Job, body: Any, error: str, field: str) -> None:
    JobFactory(name="Taken")

    answer = user_api.put(f"/jobs/{mine.pk}", body)

    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert list(answer.json()["details"]) == [field]


@pytest.mark.parametrize("body", ["[]", '"text"', "nonsense", "1"])
def test_body_that_is_no_object_is_refused(user_api: Any, body: str) -> None:
    answer = user_api.generic("POST", "/jobs", body, content_type="application/json")

    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid payload")


def test_delete_names_what_it_deleted(user_api: Any, mine: Job) -> None:
    ExecutionFactory(job=mine)

    answer = user_api.delete(f"/jobs/{mine.pk}")

    assert answer.json() == {
        "message": "Job deleted successfully",
        "deleted_job": {"id": str(mine.pk), "name": "Mine"},
    }
    assert not JobExecution.objects.exists()


# ---- executing ----------------------------------------------------------------------------------


def test_execute_answers_with_the_queued_run(user_api: Any, a_user: Any, mine: Job) -> None:
    answer = user_api.post(f"/jobs/{mine.pk}/execute", {"target_url": "https://other.example.com/"})

    run = JobExecution.objects.get()
    assert answer.status_code == 200
    assert (answer.json()["message"], answer.json()["job_id"]) == ("Job triggered successfully", str(mine.pk))
    execution = answer.json()["execution"]
    assert (execution["id"], execution["status"], execution["trigger_type"]) == (
        str(run.pk),
        "queued",
        "manual",
    )
    assert execution["target"] == "https://other.example.com/"
    assert (execution["scheduled_for"], execution["completed_at"]) == (None, None)
    assert execution["started_at"].endswith("Z")
    assert execution["triggered_by"] == str(a_user.pk)


def test_execute_without_any_body(user_api: Any, mine: Job) -> None:
    assert user_api.generic("POST", f"/jobs/{mine.pk}/execute").status_code == 200


def test_execute_of_an_ended_job_pauses_it_and_is_refused(user_api: Any, mine: Job) -> None:
    Job.objects.filter(pk=mine.pk).update(end_date=date(2020, 1, 1))

    answer = user_api.post(f"/jobs/{mine.pk}/execute")

    mine.refresh_from_db()
    assert (answer.status_code, answer.json()["error"]) == (400, "Job expired")
    assert mine.is_active is False


# ---- lists --------------------------------------------------------------------------------------


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [job["name"] for job in answer.json()["jobs"]]


def test_list_is_of_all_jobs_newest_first(viewer_api: Any) -> None:
    for number in range(3):
        JobFactory(name=f"Job {number}", created_at=datetime(2026, 1, number + 1, tzinfo=UTC))

    answer = viewer_api.get("/jobs")

    assert names(answer) == ["Job 2", "Job 1", "Job 0"]
    assert set(answer.json()) == {"count", "jobs"}
    assert answer.json()["count"] == 3
    assert set(answer.json()["jobs"][0]) >= JOB_KEYS


@pytest.mark.databases
def test_list_and_read_show_a_job_alike(viewer_api: Any, mine: Job) -> None:
    """A list reads what the driver gives, one job an instance: to the reader they are the same."""
    full = JobFactory(
        name="Ünï 会",
        timezone="America/St_Johns",
        metadata={"big": 2**70, "text": '"quoted" 🚀', "deep": [{"x": [1.5, None, True]}]},
        notification_emails=["a@example.com", "b@example.com"],
        enable_email_notifications=True,
        last_execution_at=datetime(2026, 3, 10, 11, 59, 59, 123456, tzinfo=UTC),
        last_status="failed",
        next_run_at=datetime(2026, 3, 10, 12, 30, 0, 5, tzinfo=UTC),
        signing_secret_changed_at=NOON,
        end_date=None,
    )
    bare = JobFactory(github=True, paused=True, pic_team=None, created_by=None, metadata={})

    shown = {job["id"]: job for job in viewer_api.get("/jobs").json()["jobs"]}

    assert shown.keys() == {str(job.pk) for job in (mine, full, bare)}
    for pk, job in shown.items():
        assert job == viewer_api.get(f"/jobs/{pk}").json()["job"]
    one = shown[str(full.pk)]
    assert one["metadata"] == full.metadata
    assert one["last_execution_at"] == "2026-03-10T11:59:59.123456Z"
    assert one["next_execution_at"] == "2026-03-10T10:00:00.000005-02:30"
    assert (one["is_active"], one["enable_email_notifications"], one["is_signed"]) == (True, True, True)


def test_a_job_that_changed_is_listed_as_it_is_now(viewer_api: Any, mine: Job) -> None:
    """What the last list knew of a row is used for the same row only."""
    viewer_api.get("/jobs")
    Job.objects.filter(pk=mine.pk).update(last_status="failed", metadata={"environment": "staging"})
    mine.category.slug = "renamed"
    mine.category.save()

    (shown,) = viewer_api.get("/jobs").json()["jobs"]

    assert (shown["last_status"], shown["metadata"]) == ("failed", {"environment": "staging"})
    assert shown["category"] == "renamed"


def test_long_metadata_are_not_kept_between_lists(viewer_api: Any, mine: Job) -> None:
    shapes._known_job.cache_clear()
    Job.objects.filter(pk=mine.pk).update(metadata={"text": "x" * shapes.KEPT_METADATA})

    assert viewer_api.get("/jobs").json()["count"] == 1
    assert shapes._known_job.cache_info().currsize == 0


@pytest.mark.databases
def test_a_list_of_nothing_is_empty(viewer_api: Any) -> None:
    assert viewer_api.get("/jobs").json() == {"count": 0, "jobs": []}
    assert viewer_api.get("/executions").json()["executions"] == []


@pytest.mark.databases
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search=BACK", ["Backup"]),
        ("search=stra%C3%9Fe", ["STRASSE"]),
        ("search=hooks.example", ["Backup"]),
        ("search=acme/app", ["STRASSE"]),
        ("search=NIGHTLY.yml", ["STRASSE"]),
        ("search=100%25", []),
        ("search=_ackup", []),
        ("search=", ["Backup", "STRASSE"]),
        ("category=reports", ["STRASSE"]),
        ("category=monthly%20REPORTS", ["STRASSE"]),
        ("category=none", []),
        ("pic_team=devops", ["STRASSE"]),
        ("pic_team=", ["Backup", "STRASSE"]),
        ("is_active=yes", ["Backup"]),
        ("is_active=0", ["STRASSE"]),
        (f"created_by={NOWHERE}", []),
        ("created_by={owner}", ["Backup"]),
        ("created_by={owner}&is_active=false", []),
        ("colour=red", ["Backup", "STRASSE"]),
    ],
)
def test_filters(viewer_api: Any, a_user: Any, query: str, found: list[str]) -> None:
    JobFactory(name="Backup", created_by=a_user)
    reports = CategoryFactory(slug="reports", name="Monthly Reports")
    devops = TeamFactory._meta.model.objects.get(slug="devops")
    JobFactory(name="STRASSE", paused=True, github=True, category=reports, pic_team=devops, created_by=None)

    assert sorted(names(viewer_api.get(f"/jobs?{query.format(owner=a_user.pk)}"))) == found


@pytest.mark.parametrize(
    "query",
    [
        "is_active=perhaps",
        "created_by=me",
        "ordering=colour",
        "ordering=name_key",
        "page=0",
        "page=x",
        "per_page=-1",
        "per_page=",
        "search=%00",
    ],
)
def test_parameter_that_means_nothing_is_refused(viewer_api: Any, query: str) -> None:
    answer = viewer_api.get(f"/jobs?{query}")

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [query.partition("=")[0]]


@pytest.mark.databases
@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("name", ["alpha", "Beta", "gamma", "Ärger"]),
        ("-name", ["Ärger", "gamma", "Beta", "alpha"]),
        ("created_at", ["gamma", "Beta", "alpha", "Ärger"]),
        ("-end_date", ["Beta", "alpha", "gamma", "Ärger"]),
        # Empty ones come last, either way.
        ("next_execution_at", ["Beta", "gamma", "alpha", "Ärger"]),
        ("-next_execution_at", ["gamma", "Beta", "alpha", "Ärger"]),
        ("last_execution_at", ["alpha", "Beta", "gamma", "Ärger"]),
    ],
)
def test_ordering_is_the_same_everywhere(viewer_api: Any, ordering: str, expected: list[str]) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"name": "gamma", "end_date": date(2030, 1, 1), "next_run_at": day.replace(day=9)},
        {"name": "Beta", "end_date": date(2030, 1, 3), "next_run_at": day.replace(day=2)},
        {"name": "alpha", "end_date": date(2030, 1, 2), "paused": True, "last_execution_at": day},
        {"name": "Ärger", "end_date": None, "paused": True},
    ]
    for number, row in enumerate(rows):
        # The same ids everywhere: they decide where all else is equal.
        identifier = uuid.UUID(int=["alpha", "Beta", "gamma", "Ärger"].index(row["name"]))
        JobFactory(id=identifier, created_at=day.replace(day=number + 1), **row)

    assert names(viewer_api.get(f"/jobs?ordering={ordering}")) == expected


@pytest.mark.parametrize(
    ("query", "shown", "page", "per_page", "total_pages"),
    [
        ("page=1&per_page=2", 2, 1, 2, 3),
        ("page=3&per_page=2", 1, 3, 2, 3),
        ("page=4&per_page=2", 0, 4, 2, 3),
        ("page=99999999999999999999", 0, 1_000_000_000, 20, 1),
        ("per_page=99999", 5, 1, 1000, 1),
        ("page=1", 5, 1, 20, 1),
    ],
)
def test_pages(viewer_api: Any, query: str, shown: int, page: int, per_page: int, total_pages: int) -> None:
    JobFactory.create_batch(5, category=CategoryFactory(slug="general"))

    answer = viewer_api.get(f"/jobs?{query}").json()

    assert len(answer["jobs"]) == shown
    assert {key: answer[key] for key in ("count", "page", "per_page", "total_pages")} == {
        "count": 5,
        "page": page,
        "per_page": per_page,
        "total_pages": total_pages,
    }


def test_count_is_of_what_matches(viewer_api: Any) -> None:
    JobFactory.create_batch(3)
    JobFactory(name="Special")

    assert viewer_api.get("/jobs?search=special&page=1&per_page=1").json()["count"] == 1


@pytest.mark.parametrize(
    ("query", "statements"), [("", 2), ("?page=1", 4), ("?search=job&category=general", 2)]
)
def test_list_costs_the_same_for_any_number_of_jobs(
    viewer_api: Any, django_assert_num_queries: Any, query: str, statements: int
) -> None:
    for number in range(6):
        JobFactory(category=CategoryFactory(slug=f"category-{number}"))

    # The caller and the rows; with pages, their number.
    with django_assert_num_queries(statements):
        viewer_api.get(f"/jobs{query}")


@pytest.mark.parametrize(
    ("method", "path", "body", "statements"),
    [
        ("get", "/jobs/{id}", None, 2),
        ("put", "/jobs/{id}", {"name": "New"}, 21),
        ("post", "/jobs/{id}/execute", None, 9),
    ],
)
def test_single_calls_are_cheap(
    user_api: Any,
    mine: Job,
    django_assert_max_num_queries: Any,
    method: str,
    path: str,
    body: Any,
    statements: int,
) -> None:
    with django_assert_max_num_queries(statements):
        assert getattr(user_api, method)(path.format(id=mine.pk), body).status_code == 200
