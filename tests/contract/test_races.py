"""Two at once, over the API, with real threads: the answers of the contract, and nothing half-done."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from accounts.tests.factories import UserFactory
from accounts.tests.test_hashers import PASSLIB
from accounts.tokens import issue_tokens
from cronsched.core import clock
from cronsched.testing.fixtures_api import ApiClient
from cronsched.testing.threads import at_once
from jobs.models import Job, JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from taxonomy.models import JobCategory, PicTeam
from taxonomy.tests.factories import CategoryFactory, TeamFactory
from tests.contract.calls import NEW_JOB, NEW_USER

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]
again = pytest.mark.parametrize("round_", range(3))


@pytest.fixture
def admin() -> ApiClient:
    return ApiClient(UserFactory(admin=True, username="ada"))


@pytest.fixture
def job(admin: ApiClient) -> Job:
    CategoryFactory(slug="general", name="General")
    category = CategoryFactory(slug="maintenance", name="Maintenance")
    team = TeamFactory(slug="devops", name="DevOps")
    made: Job = JobFactory(name="Daily backup", category=category, pic_team=team, created_by=admin.user)
    return made


def asked(client: ApiClient, call: str, body: Any = None) -> Callable[[], tuple[int, str]]:
    """A call to be made in a thread: the status, and the error's short type."""
    method, _, path = call.partition(" ")

    def ask() -> tuple[int, str]:
        other = ApiClient(client.user, raise_request_exception=False)
        response = getattr(other, method.lower())(path, body)
        return response.status_code, response.json().get("error", "")

    return ask


# ---- names --------------------------------------------------------------------------------------


@again
@pytest.mark.parametrize(
    ("path", "bodies", "won", "lost"),
    [
        (
            "/jobs",
            [{**NEW_JOB, "name": name} for name in ("Café", "CAFÉ", unicodedata.normalize("NFD", "café"))],
            201,
            (400, "Duplicate job name"),
        ),
        ("/job-categories", [{"name": "Month end"}, {"name": "MONTH END"}], 201, (409, "Duplicate slug")),
        ("/job-categories", [{"name": "月末"}, {"name": " 月末 "}], 201, (409, "Duplicate slug")),
        (
            "/pic-teams",
            [{"name": name, "slug": "night", "slack_handle": "@n"} for name in ("One", "Two")],
            201,
            (409, "Duplicate slug"),
        ),
        (
            "/auth/register",
            [{**NEW_USER, "email": f"john{n}@example.com"} for n in range(3)],
            201,
            (409, "Username already exists"),
        ),
        (
            "/auth/register",
            [{**NEW_USER, "username": f"john_{n}", "email": "JOHN@example.com"} for n in range(3)],
            201,
            (409, "Email already exists"),
        ),
    ],
    ids=["jobs", "categories", "Japanese categories", "slugs", "usernames", "addresses"],
)
def test_of_all_who_want_a_name_one_gets_it(
    admin: ApiClient, job: Job, path: str, bodies: list[Any], won: int, lost: tuple[int, str], round_: int
) -> None:
    answers = at_once(*(asked(admin, f"POST {path}", body) for body in bodies))

    assert Counter(answers) == Counter([(won, ""), *[lost] * (len(bodies) - 1)])


@again
def test_of_two_renames_to_one_name_one_wins(admin: ApiClient, round_: int) -> None:
    rows = [CategoryFactory(slug=f"c{n}", name=f"Category {n}") for n in range(2)]

    answers = at_once(*(asked(admin, f"PUT /job-categories/{row.pk}", {"name": "Night"}) for row in rows))

    assert Counter(answers) == Counter([(200, ""), (409, "Duplicate slug")])
    assert JobCategory.objects.filter(slug="night", name="Night").count() == 1
    assert JobCategory.objects.filter(name__startswith="Category ").count() == 1


@again
def test_a_rename_to_a_name_and_a_create_of_it(admin: ApiClient, job: Job, round_: int) -> None:
    answers = at_once(
        asked(admin, f"PUT /jobs/{job.pk}", {"name": NEW_JOB["name"]}), asked(admin, "POST /jobs", NEW_JOB)
    )

    assert answers in ([(200, ""), (400, "Duplicate job name")], [(400, "Duplicate job name"), (201, "")])


# ---- updates ------------------------------------------------------------------------------------


@again
def test_two_updates_keep_what_only_one_of_them_changes(admin: ApiClient, job: Job, round_: int) -> None:
    answers = at_once(
        asked(admin, f"PUT /jobs/{job.pk}", {"name": "One", "notify_on_success": True}),
        asked(admin, f"PATCH /jobs/{job.pk}", {"name": "Two", "metadata": {"by": "two"}}),
    )

    job.refresh_from_db()
    assert answers == [(200, "")] * 2
    assert job.name in {"One", "Two"}
    assert (job.notify_on_success, job.metadata) == (True, {"by": "two"})
    assert job.name_key == job.name.lower()


@again
def test_a_category_is_renamed_while_jobs_take_it(admin: ApiClient, job: Job, round_: int) -> None:
    category = JobCategory.objects.get(slug="maintenance")
    writes = [asked(admin, "POST /jobs", {**NEW_JOB, "name": f"New {n}"}) for n in range(3)]

    renamed, *created = at_once(
        asked(admin, f"PUT /job-categories/{category.pk}", {"name": "Upkeep"}), *writes
    )

    assert renamed == (200, "")
    assert set(created) <= {(201, ""), (400, "Validation error")}
    shown = admin.get("/jobs").json()["jobs"]
    assert {one["category"] for one in shown} == {"upkeep"}
    assert len(shown) == 1 + created.count((201, ""))


@again
def test_a_team_is_disabled_while_jobs_take_it(admin: ApiClient, job: Job, round_: int) -> None:
    team = PicTeam.objects.get(slug="devops")
    writes = [asked(admin, "POST /jobs", {**NEW_JOB, "name": f"New {n}"}) for n in range(2)]

    disabled, *created = at_once(asked(admin, f"DELETE /pic-teams/{team.pk}"), *writes)

    assert disabled == (200, "")
    assert set(created) <= {(201, ""), (400, "Validation error")}


@again
def test_first_reads_and_writes_of_preferences(admin: ApiClient, round_: int) -> None:
    path = f"/auth/users/{admin.user.pk}" if admin.user else ""

    answers = at_once(
        *[asked(admin, f"GET {path}/preferences")] * 2,
        *[asked(admin, f"PUT {path}/preferences", {"daily_digest": True})] * 2,
        asked(admin, f"PUT {path}/ui-preferences", {"jobs_table_columns": {"name": False}}),
        asked(admin, f"PUT {path}/ui-preferences", {"jobs_table_columns": {"target": False}}),
    )

    assert answers == [(200, "")] * 6
    columns = admin.get(f"{path}/ui-preferences").json()["preferences"]["jobs_table_columns"]
    assert (columns["name"], columns["target"]) == (False, False)
    assert admin.get(f"{path}/preferences").json()["preferences"]["daily_digest"] is True


# ---- the end of a job ---------------------------------------------------------------------------


@again
def test_a_job_is_deleted_while_it_is_run_and_changed(admin: ApiClient, job: Job, round_: int) -> None:
    ExecutionFactory(job=job)

    deleted, *others = at_once(
        asked(admin, f"DELETE /jobs/{job.pk}"),
        asked(admin, f"POST /jobs/{job.pk}/execute"),
        asked(admin, f"PUT /jobs/{job.pk}", {"name": "New"}),
        asked(admin, f"GET /jobs/{job.pk}/executions"),
    )

    assert deleted == (200, "")
    assert set(others) <= {(200, ""), (404, "Job not found")}
    assert not Job.objects.exists()
    assert not JobExecution.objects.exists()


@again
def test_of_two_deletes_one_finds_nothing(admin: ApiClient, job: Job, round_: int) -> None:
    answers = at_once(*[asked(admin, f"DELETE /jobs/{job.pk}")] * 2)

    assert Counter(answers) == Counter([(200, ""), (404, "Job not found")])


# ---- people -------------------------------------------------------------------------------------


@again
@pytest.mark.parametrize("how", ["demote", "deactivate", "delete"])
def test_two_admins_cannot_end_each_other(admin: ApiClient, how: str, round_: int) -> None:
    other = ApiClient(UserFactory(admin=True, username="eva"))
    assert admin.user
    assert other.user
    calls: dict[str, tuple[str, Any]] = {
        "demote": ("PUT", {"role": "user"}),
        "deactivate": ("PUT", {"is_active": False}),
        "delete": ("DELETE", None),
    }
    method, body = calls[how]

    answers = at_once(
        asked(admin, f"{method} /auth/users/{other.user.pk}", body),
        asked(other, f"{method} /auth/users/{admin.user.pk}", body),
    )

    # Whoever was faster may have taken the other's role, or account, before their call was looked at.
    assert sorted(status for status, _ in answers) in ([200, 400], [200, 401], [200, 403])
    assert User.objects.admins().count() == 1


@again
def test_a_token_is_ended_and_used_at_once(admin: ApiClient, round_: int) -> None:
    assert admin.user
    token = {"refresh_token": issue_tokens(admin.user, now=clock.now()).refresh}

    answers = at_once(
        *[asked(admin, "POST /auth/logout", token)] * 3, asked(admin, "POST /auth/refresh", token)
    )

    assert answers[:3] == [(200, "")] * 3
    assert answers[3] in [(200, ""), (401, "Unauthorized")]
    assert admin.post("/auth/refresh", token).status_code == 401


def test_an_old_hash_is_upgraded_by_many_sign_ins_at_once(admin: ApiClient) -> None:
    User.objects.update(password=PASSLIB["secret123"])
    nobody = ApiClient()
    right = {"username": "ada", "password": "secret123"}

    answers = at_once(*[asked(nobody, "POST /auth/login", right)] * 4)

    assert answers == [(200, "")] * 4
    assert not User.objects.get().password.startswith("$")
