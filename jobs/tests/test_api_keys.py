"""API keys: who makes them, what they reach, and when they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.api_keys import create_api_key, revoke_api_key, user_of_key
from accounts.models import ApiKey, AuditEntry, User
from accounts.services import update_user
from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_admin import errors_of
from jobs.models import Job
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.services import update_team
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
NEW_JOB = {
    "name": "New",
    "cron_expression": "0 2 * * *",
    "pic_team": "data",
    "end_date": "2030-12-31",
    "target_url": "https://hooks.example.com/run",
}


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOON, tick=False) as travel:
        yield travel


@pytest.fixture
def owner() -> User:
    CategoryFactory(slug="general", name="General")
    return UserFactory(username="uma")


@pytest.fixture
def teams() -> Any:
    return TeamFactory(slug="data", name="Data"), TeamFactory(slug="web", name="Web")


def make(owner: User, **values: Any) -> str:
    given = {"name": "CI", "role": owner.role, "by": owner, "now": NOON, **values}
    return create_api_key(owner=owner, **given)[1]


def call(key: str, method: str, path: str, data: Any = None, *, scheme: str = "Bearer", **extra: Any) -> Any:
    headers = {"authorization": f"{scheme} {key}"}
    if data is not None and "content_type" not in extra:
        extra["content_type"] = "application/json"
    return Client().generic(method, f"/api/v2{path}", data=_json(data), headers=headers, **extra)


def _json(data: Any) -> Any:
    import json

    return "" if data is None else json.dumps(data)


# ---- the key itself ---------------------------------------------------------------------------


def test_a_key_is_kept_as_a_hash_and_a_prefix(owner):
    key, text = create_api_key(name="CI", owner=owner, role="user", by=owner, now=NOON)

    assert text.startswith("csk_")
    assert len(text) == 52
    assert text.startswith(key.prefix)
    assert text not in str(ApiKey.objects.values())
    assert len(key.prefix) == 12


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Api-Key", "API-KEY"])
def test_it_signs_in_its_owner(owner, scheme):
    answer = call(make(owner), "GET", "/auth/me", scheme=scheme)

    assert (answer.status_code, answer.json()["username"]) == (200, "uma")


@pytest.mark.parametrize("text", ["csk_", "csk_wrong", "csk_é", "", "csk_" + "a" * 5000, "csk_\udc80"])
def test_a_key_that_is_none_is_401(owner, text):
    answer = call(text.encode("utf-8", "replace").decode("latin-1"), "GET", "/jobs", scheme="Api-Key")

    assert answer.status_code == 401
    assert answer.json()["error"] == "Unauthorized"


def test_it_costs_one_query_and_once_a_minute_another(owner, django_assert_num_queries):
    text = make(owner)

    with django_assert_num_queries(2):
        user_of_key(text, now=NOON)
    with django_assert_num_queries(1):
        user_of_key(text, now=NOON + timedelta(seconds=59))
    with django_assert_num_queries(2):
        user_of_key(text, now=NOON + timedelta(seconds=61))
    assert ApiKey.objects.get().last_used_at == NOON + timedelta(seconds=61)


# ---- its end ----------------------------------------------------------------------------------


def test_a_revoked_key_ends_at_once(owner):
    text = make(owner)
    revoke_api_key(ApiKey.objects.get(), by=owner, now=NOON)

    answer = call(text, "GET", "/jobs")

    assert (answer.status_code, answer.json()["message"]) == (401, "The API key was revoked.")


def test_an_expired_key_ends_at_its_time(owner, clock):
    text = make(owner, expires_at=NOON + timedelta(hours=1))
    assert call(text, "GET", "/jobs").status_code == 200

    clock.shift(timedelta(hours=1))

    assert call(text, "GET", "/jobs").json()["message"] == "The API key has expired."


def test_a_key_dies_with_its_owners_account(owner):
    text, admin = make(owner), UserFactory(admin=True)

    update_user(owner, changes={"is_active": False}, by=admin, now=NOON)
    assert call(text, "GET", "/jobs").status_code == 401

    owner.delete()
    assert not ApiKey.objects.exists()


# ---- what it may ------------------------------------------------------------------------------


def test_a_role_is_never_more_than_the_owners_present_one(owner):
    admin = UserFactory(admin=True)
    text = make(admin)
    assert call(text, "POST", "/scheduler/resync").status_code == 200

    UserFactory(admin=True)
    update_user(admin, changes={"role": "viewer"}, by=None, now=NOON)

    assert call(text, "POST", "/scheduler/resync").status_code == 403
    assert call(text, "GET", "/auth/me").json()["role"] == "viewer"


def test_a_viewers_key_of_a_user_reads_only(owner, teams):
    text = make(owner, role="viewer")

    assert call(text, "GET", "/jobs").status_code == 200
    assert call(text, "POST", "/jobs", NEW_JOB).status_code == 403


def test_a_users_key_changes_its_owners_jobs(owner, teams):
    text = make(owner)

    job_id = call(text, "POST", "/jobs", NEW_JOB).json()["job"]["id"]
    assert Job.objects.get(pk=job_id).created_by == owner
    assert call(text, "PUT", f"/jobs/{job_id}", {"max_retries": 1}).status_code == 200
    assert call(text, "PUT", f"/jobs/{JobFactory().pk}", {"max_retries": 1}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/users"),
        ("POST", "/auth/register"),
        ("PUT", "/auth/users/{me}"),
        ("GET", "/auth/users/{me}/preferences"),
        ("PUT", "/auth/users/{me}/ui-preferences"),
        ("POST", "/auth/logout"),
        ("GET", "/auth/api-keys"),
        ("POST", "/auth/api-keys"),
        ("DELETE", "/auth/api-keys/{key}"),
        ("GET", "/notifications"),
        ("GET", "/settings/slack"),
        ("PUT", "/settings/slack"),
    ],
)
def test_no_key_manages_people_keys_or_secrets(owner, method, path):
    admin = UserFactory(admin=True)
    text = make(admin)

    answer = call(text, method, path.format(me=admin.pk, key=ApiKey.objects.get().pk), {})

    assert answer.status_code == 403
    assert answer.json()["message"] == "An API key may not do this: sign in as a person."


def test_a_key_does_not_open_the_admin_site(owner):
    answer = Client().get("/admin/", headers={"authorization": f"Bearer {make(owner)}"})

    assert answer.status_code == 302


def test_the_owner_of_a_key_cannot_be_stored_with_its_rights(owner):
    user, _ = user_of_key(make(owner, role="viewer"), now=NOON)

    with pytest.raises(TypeError):
        user.save()
    owner.refresh_from_db()
    assert owner.role == "user"


def test_the_history_says_which_key_it_was(owner, teams):
    text = make(owner)
    call(text, "POST", "/jobs", NEW_JOB)

    entry = AuditEntry.objects.filter(kind="job").get()
    assert entry.actor_name == f"uma ({text[:12]}…)"
    assert entry.actor == owner


# ---- one team only ----------------------------------------------------------------------------


@pytest.fixture
def limited(owner, teams) -> str:
    """A key of an admin, for the team `data` only."""
    return make(UserFactory(admin=True), team="data")


def test_it_sees_only_that_teams_jobs_and_runs(limited, teams):
    ours, theirs = JobFactory(pic_team=teams[0]), JobFactory(pic_team=teams[1])
    run, other = ExecutionFactory(job=ours), ExecutionFactory(job=theirs)

    assert [job["id"] for job in call(limited, "GET", "/jobs").json()["jobs"]] == [str(ours.pk)]
    statuses = {
        path: call(limited, "GET", path).status_code
        for path in (
            f"/jobs/{ours.pk}",
            f"/jobs/{theirs.pk}",
            f"/jobs/{ours.pk}/executions",
            f"/jobs/{theirs.pk}/executions",
            f"/jobs/{theirs.pk}/executions/stats",
            f"/executions/{run.pk}",
            f"/executions/{other.pk}",
            f"/executions?job_id={ours.pk}",
            f"/executions?job_id={theirs.pk}",
            "/executions",
            "/executions/statistics",
            f"/executions/statistics?job_id={ours.pk}",
            "/pic-teams",
            "/scheduler/status",
        )
    }
    assert list(statuses.values()) == [200, 404, 200, 404, 404, 200, 404, 200, 404, 403, 403, 200, 200, 403]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_it_changes_only_that_teams_jobs(limited, teams, method):
    ours, theirs = JobFactory(pic_team=teams[0]), JobFactory(pic_team=teams[1])
    bare = JobFactory(pic_team=None)

    assert call(limited, method, f"/jobs/{ours.pk}", {"max_retries": 1}).status_code == 200
    assert call(limited, method, f"/jobs/{theirs.pk}", {"max_retries": 1}).status_code == 404
    assert call(limited, method, f"/jobs/{bare.pk}", {"max_retries": 1}).status_code == 404


def test_it_runs_only_that_teams_jobs(limited, teams):
    ours, theirs = JobFactory(pic_team=teams[0]), JobFactory(pic_team=teams[1])

    assert call(limited, "POST", f"/jobs/{ours.pk}/execute").status_code == 200
    assert call(limited, "POST", f"/jobs/{theirs.pk}/execute").status_code == 404


def test_it_gives_no_job_to_another_team(limited, teams):
    ours = JobFactory(pic_team=teams[0])

    created = call(limited, "POST", "/jobs", {**NEW_JOB, "pic_team": "web"})
    moved = call(limited, "PUT", f"/jobs/{ours.pk}", {"pic_team": "web"})

    assert created.status_code == moved.status_code == 400
    assert created.json()["details"] == {"pic_team": ["This API key is limited to the team data."]}
    assert call(limited, "POST", "/jobs", NEW_JOB).status_code == 201


def test_it_uploads_only_that_teams_jobs(limited, teams):
    JobFactory(name="Theirs", pic_team=teams[1])
    row = "{},0 2 * * *,{},2030-12-31,https://hooks.example.com/run"
    lines = [
        "name,cron,PIC Team,End Date,Target URL",
        row.format("Ours", "data"),
        row.format("Foreign", "web"),
    ]
    file = SimpleUploadedFile("jobs.csv", "\n".join([*lines, row.format("Theirs", "data")]).encode())

    answer = (
        Client()
        .post("/api/v2/jobs/bulk-upload", {"file": file}, headers={"authorization": f"Bearer {limited}"})
        .json()
    )

    assert (answer["created_count"], answer["error_count"]) == (1, 2)
    assert Job.objects.get(name="Theirs").pic_team == teams[1]


def test_it_reads_the_taxonomy_and_writes_none(limited):
    answer = call(limited, "POST", "/job-categories", {"name": "New"})

    assert answer.status_code == 403
    assert "limited to the team data" in answer.json()["message"]


def test_the_limit_follows_a_team_that_is_renamed(limited, teams):
    update_team(teams[0], data={"name": "Platform"}, by=None, now=NOON)

    assert ApiKey.objects.get().team == "platform"
    assert call(limited, "GET", "/jobs").status_code == 200


# ---- making and ending them by the API --------------------------------------------------------


def test_a_person_makes_a_key_lists_it_and_ends_it(owner, teams, user_api, a_user):
    made = user_api.post("/auth/api-keys", {"name": " CI ", "role": "user", "team": "Data"}).json()

    assert (made["api_key"]["name"], made["api_key"]["team"]) == ("CI", "data")
    assert call(made["key"], "GET", "/jobs").status_code == 200
    listed = user_api.get("/auth/api-keys").json()
    assert (listed["count"], "key" in listed["api_keys"][0]) == (1, False)
    assert user_api.delete(f"/auth/api-keys/{made['api_key']['id']}").status_code == 200
    assert call(made["key"], "GET", "/jobs").status_code == 401
    assert list(AuditEntry.objects.filter(kind="api_key").values_list("action", flat=True)) == [
        "revoked",
        "created",
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({}, "name"),
        ({"name": "x", "role": "root"}, "role"),
        ({"name": "x", "role": "admin"}, "role"),
        ({"name": "x", "team": "nobody"}, "pic_team"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
        ({"name": "x", "owner": "me"}, "owner"),
    ],
)
def test_what_is_refused_names_the_field(owner, user_api, body, field):
    answer = user_api.post("/auth/api-keys", body)

    assert (answer.status_code, list(answer.json()["details"])) == (400, [field])
    assert not ApiKey.objects.exists()


def test_an_admin_makes_keys_for_others_and_nobody_else_does(owner, admin_api, user_api):
    body = {"name": "x", "owner": str(owner.pk)}

    assert user_api.post("/auth/api-keys", body).status_code == 403
    made = admin_api.post("/auth/api-keys", body)
    assert (made.status_code, made.json()["api_key"]["owner"]) == (201, str(owner.pk))
    assert admin_api.post("/auth/api-keys", {**body, "role": "admin"}).status_code == 400


# ---- in the admin site ------------------------------------------------------------------------


def test_the_admin_site_shows_a_new_key_once(owner, client):
    client.force_login(owner)
    page = "/admin/accounts/apikey/"

    answer = client.post(f"{page}add/", {"name": "CI", "role": "user", "last_day": "2026-03-31"}, follow=True)

    text = next(str(message) for message in answer.context["messages"] if "csk_" in str(message))
    assert call(text.rpartition(" ")[2], "GET", "/jobs").status_code == 200
    assert ApiKey.objects.get().expires_at == datetime(2026, 3, 31, 15, tzinfo=UTC)
    assert text.rpartition(" ")[2] not in client.get(page).content.decode()


def test_the_admin_site_revokes_own_keys_only(owner, client):
    mine, other = make(owner), make(UserFactory())
    client.force_login(owner)
    ids = [str(key.pk) for key in ApiKey.objects.all()]

    client.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": ids})

    assert call(mine, "GET", "/jobs").status_code == 401
    assert call(other, "GET", "/jobs").status_code == 200


def test_an_admin_makes_a_key_for_somebody_else_in_the_admin_site(admin_site, owner):
    given = {"name": "theirs", "role": "viewer", "owner": str(owner.pk)}

    assert admin_site.send("accounts_apikey_add", **given).status_code == 302
    assert ApiKey.objects.get(name="theirs").owner == owner

    for nobody in ("junk", str(uuid4())):
        answer = admin_site.send("accounts_apikey_add", **{**given, "owner": nobody})
        assert errors_of(answer) == {"owner": ["Owner must be the id of a user, or null."]}
