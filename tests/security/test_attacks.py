"""Attacks on the doors: sessions, forms, redirects, headers, bodies that cost more than they weigh."""

from __future__ import annotations

import csv
import gzip
import json
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import MULTIPART_CONTENT
from django.urls import reverse

from accounts.models import User
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.throttle import ACCOUNT_LIMIT
from accounts.tokens import issue_tokens
from cronsched.core import clock
from cronsched.testing.fixtures_api import ApiClient
from jobs.models import Job
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.services.slack_settings import get_slack_settings
from notifications.tests.factories import NotificationFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
NEW_JOB = {
    "name": "New",
    "cron_expression": "0 9 * * *",
    "end_date": "2090-01-01",
    "target_url": "https://hooks.example.com/",
}


def new_job(**values: object) -> dict[str, object]:
    return {**NEW_JOB, "pic_team": JobFactory().pic_team.slug, **values}


# ---- sessions and forms ------------------------------------------------------------------------------


def test_signing_in_gives_a_fresh_session_so_that_a_planted_one_is_worth_nothing():
    user, client = UserFactory(), Client()
    client.session["planted"] = "by somebody else"
    client.session.save()
    planted = client.session.session_key

    client.post(LOGIN, {"username": user.username, "password": PASSWORD})

    assert client.session.session_key != planted


def test_signing_out_ends_the_session_on_the_server(admin_site):
    cookie = admin_site.cookies["sessionid"].value
    admin_site.post(reverse("admin:logout"))

    thief = Client()
    thief.cookies["sessionid"] = cookie
    assert thief.get(reverse("admin:index")).status_code == 302


def test_a_new_password_ends_every_session(a_user, user_site, user_api):
    user_api.put(f"/auth/users/{a_user.pk}", {"password": "another-password"})

    assert user_site.open("index").status_code == 302


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another-password"}])
def test_who_is_switched_off_or_given_another_password_is_out_at_once(
    a_user, user_site, user_api, admin_api, change
):
    refresh = issue_tokens(a_user, now=clock.now()).refresh

    assert admin_api.put(f"/auth/users/{a_user.pk}", change).status_code == 200

    assert user_site.open("index").status_code == 302
    assert user_api.get("/auth/me").status_code == 401
    assert ApiClient().post("/auth/refresh", {"refresh_token": refresh}).status_code == 401


def test_failures_at_one_door_close_the_other(a_user):
    """One count, in the database: it holds for every process, the admin site's and the API's alike."""
    wrong = {"username": a_user.username, "password": "wrong"}
    for n in range(ACCOUNT_LIMIT):
        ApiClient().post("/auth/login", wrong) if n % 2 else Client().post(LOGIN, wrong)
    right = {**wrong, "password": PASSWORD}

    assert ApiClient().post("/auth/login", right).status_code == 429
    shut = Client().post(LOGIN, right)
    assert "Too many failed sign-ins" in shut.content.decode()
    assert "sessionid" not in shut.cookies


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/login/", "/docs", "/redoc", "/api/v2/health", "/api/v2/nowhere"]
)
def test_no_answer_is_framed_or_guessed_at(admin_site, path):
    answer = admin_site.get(path)

    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    if not path.startswith("/api/"):
        assert (
            "default-src" in answer["Content-Security-Policy"]
            or "script-src" in answer["Content-Security-Policy"]
        )


def test_a_session_is_a_cookie_that_no_script_reads(client):
    user = UserFactory()
    client.post(LOGIN, {"username": user.username, "password": PASSWORD})

    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize(
    "page",
    ["jobs_job_add", "jobs_job_changelist", "accounts_user_add", "notifications_slacksettings_changelist"],
)
def test_no_form_is_taken_without_its_csrf_token(an_admin, page):
    client = Client(enforce_csrf_checks=True)
    client.force_login(an_admin, backend="accounts.backends.IdentifierBackend")

    assert client.post(reverse(f"admin:{page}"), {"action": "delete_selected"}).status_code == 403


def test_the_sign_in_form_asks_for_its_token_too():
    assert Client(enforce_csrf_checks=True).post(LOGIN, {"username": "a", "password": "b"}).status_code == 403


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_the_admin_sites_cookie_opens_no_api(admin_site, method):
    """Where no cookie counts, no forged request does."""
    assert getattr(admin_site, method)("/api/v2/jobs").status_code in (401, 405)
    assert admin_site.get("/api/v2/auth/me").status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "/\\evil.example",
    ],
)
def test_no_redirect_leads_to_another_host(target):
    user = UserFactory()

    answer = Client().post(
        f"{LOGIN}?next={target}", {"username": user.username, "password": PASSWORD, "next": target}
    )

    assert answer.url == reverse("admin:index")


@pytest.mark.parametrize("back_to", ["https://evil.example/", "//evil.example/", "../../x", "x\r\nX-Evil: 1"])
def test_a_buttons_way_back_stays_on_the_site(admin_site, back_to):
    job = JobFactory()

    answer = admin_site.act("disable", "jobs_job_changelist", job.pk, back_to=back_to)

    assert answer.status_code in (302, 400, 404)
    assert answer.get("Location", "/admin/").startswith("/admin/")
    assert "X-Evil" not in answer.headers


# ---- what may be touched -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "data"),
    [
        ("jobs_job_change", {"name": "Taken over"}),
        ("jobs_job_delete", {"post": "yes"}),
    ],
)
def test_another_ones_job_is_not_changed_on_any_page(user_site, viewer_site, page, data):
    job = JobFactory(name="Theirs")

    for site in (user_site, viewer_site):
        assert site.send(page, job.pk, **data).status_code == 403
    job.refresh_from_db()
    assert job.name == "Theirs"


@pytest.mark.parametrize("action", ["enable", "disable", "run_now", "delete_selected"])
def test_no_action_reaches_another_ones_job(user_site, viewer_site, action):
    job = JobFactory()

    for site in (user_site, viewer_site):
        site.act(action, "jobs_job_changelist", job.pk, post="yes")

    job.refresh_from_db()
    assert (job.is_active, job.executions.count()) == (True, 0)


@pytest.mark.parametrize("view", ["add", "change", "delete"])
def test_history_is_nobodys_to_write(admin_site, view):
    run = ExecutionFactory()
    args = () if view == "add" else (run.pk,)

    assert admin_site.send(f"jobs_jobexecution_{view}", *args, post="yes", status="failed").status_code == 403
    run.refresh_from_db()
    assert run.status == "success"


def test_fields_that_are_not_offered_cannot_be_assigned(user_api, a_user):
    other = UserFactory()
    forbidden = {
        "id": str(uuid.uuid4()),
        "created_by": str(other.pk),
        "created_at": "2000-01-01T00:00:00Z",
        "next_run_at": "2000-01-01T00:00:00Z",
        "schedule_version": 99,
        "planned_schedule": "x",
        "last_status": "success",
        "consecutive_failures": 99,
        "paused_reason": "broken",
        "name_key": "x",
        "previous_signing_secret": "x",
    }

    made = user_api.post("/jobs", new_job(**forbidden))
    job = Job.objects.get(pk=made.json()["job"]["id"])
    user_api.put(f"/jobs/{job.pk}", {**forbidden, "name": "Renamed"})

    job.refresh_from_db()
    assert (str(job.pk) != forbidden["id"], job.created_by_id, job.name_key) == (True, a_user.pk, "renamed")
    assert (job.last_status, job.consecutive_failures, job.paused_reason) == ("", 0, "")
    assert job.next_run_at > NOON
    assert job.previous_signing_secret == ""


@pytest.mark.parametrize(
    "body", [{"role": "admin"}, {"is_active": True}, {"role": "admin", "email": "a@b.co"}]
)
def test_nobody_makes_an_admin_of_themselves(user_api, a_user, body):
    assert user_api.put(f"/auth/users/{a_user.pk}", body).status_code == 403
    assert User.objects.get(pk=a_user.pk).role == "user"


@pytest.mark.parametrize("field", ["is_superuser", "is_staff", "password_hash", "token_version", "groups"])
def test_no_inner_column_of_a_user_is_taken(user_api, a_user, field):
    before = User.objects.filter(pk=a_user.pk).values().get()

    assert user_api.put(f"/auth/users/{a_user.pk}", {field: True}).status_code == 400
    assert User.objects.filter(pk=a_user.pk).values().get() == before


FOREIGN = {
    "id": "00000000-0000-4000-8000-000000000000",
    "slug_key": "x",
    "name_key": "x",
    "only": 2,
    "user": "00000000-0000-4000-8000-000000000000",
    "user_id": "00000000-0000-4000-8000-000000000000",
    "created_at": "2000-01-01T00:00:00Z",
    "updated_at": "2000-01-01T00:00:00Z",
    "is_read": True,
    "title": "Forged",
}


@pytest.mark.parametrize(
    ("path", "data", "kept"),
    [
        ("/job-categories/{category}", {"name": "Renamed"}, {"name", "slug"}),
        ("/pic-teams/{team}", {"slack_handle": "@new"}, {"slack_handle"}),
        ("/settings/slack", {"channel": "#new"}, {"channel"}),
        ("/auth/users/{me}/preferences", {"daily_digest": True}, {"daily_digest"}),
        ("/auth/users/{me}/ui-preferences", {"jobs_table_columns": {"name": False}}, {"ui_preferences"}),
        ("/notifications/{notification}/read", {}, {"is_read", "read_at"}),
    ],
)
def test_no_resource_takes_what_is_not_its_clients_to_say(admin_api, an_admin, path, data, kept):
    rows = {
        "category": CategoryFactory(slug="reports"),
        "team": TeamFactory(),
        "me": an_admin,
        "notification": NotificationFactory(user=an_admin),
        "slack": get_slack_settings(),
    }
    ids = {name: row.pk for name, row in rows.items()}
    before = {name: vars(type(row).objects.get(pk=row.pk)) for name, row in rows.items()}

    answer = admin_api.put(path.format(**ids), {**FOREIGN, **data})
    assert answer.status_code == 200, answer.content

    for name, row in rows.items():
        after = vars(type(row).objects.get(pk=row.pk))
        changed = {key for key in after if after[key] != before[name][key]} - {"_state"}
        assert changed <= kept | {"name_key", "updated_at", "slug_key"}, name


# ---- headers, bombs, stalls --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=1", "a\nX-Evil: 1", 'a"; filename="x.exe'])
def test_no_name_gets_into_a_header(user_api, name):
    answer = user_api.post("/jobs", new_job(name=name))

    assert answer.status_code in (201, 400)
    assert not {"X-Evil", "Set-Cookie"} & set(answer.headers)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name":' + b"1" * 100_000 + b"}",
        b'{"name": 1e999999}',
        b'{"name": NaN}',
        b'{"max_retries": 1' + b"0" * 5000 + b"}",
        gzip.compress(b'{"name": "' + b"a" * 10_000_000 + b'"}'),
        b"\xff\xfe\x00",
        b"",
    ],
    ids=["brackets", "nesting", "number", "infinity", "nan", "integer", "gzip", "bytes", "nothing"],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/test-run", "/jobs/cron-preview"])
def test_a_json_bomb_is_a_400(user_api, path, body):
    answer = user_api.generic(
        "POST", path, body, content_type="application/json", HTTP_CONTENT_ENCODING="gzip"
    )

    assert answer.status_code == 400
    assert set(answer.json()) >= {"error", "message"}


def test_metadata_may_not_nest_without_end(user_api):
    nested: object = 1
    for _ in range(500):
        nested = {"a": nested}

    answer = user_api.post("/jobs", new_job(metadata=nested))

    assert answer.status_code == 400
    assert "metadata" in answer.json()["details"]


def test_a_body_beyond_the_cap_is_a_413(user_api, settings):
    big = json.dumps({"name": "a" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)})

    assert user_api.generic("POST", "/jobs", big, content_type="application/json").status_code == 413


@pytest.mark.parametrize("page", ["jobs_job_export", "accounts_auditentry_export"])
def test_no_cell_of_a_file_is_run_by_a_spreadsheet(admin_site, admin_api, page):
    name = "=cmd|' /C calc'!A0"
    admin_api.post("/jobs", new_job(name=name))
    ExecutionFactory(job=Job.objects.get(name=name), error_message="@SUM(1+1)")

    text = b"".join(admin_site.open(page).streaming_content).decode("utf-8-sig")

    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert any(name in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]


def test_an_upload_beyond_the_cap_is_a_413_and_a_packed_one_is_no_table(user_api, settings):
    settings.UPLOAD_MAX_BYTES = 50_000
    head = b"name,cron,Target URL,PIC Team,End Date\n"
    for content, status in ((head + b"a," * 40_000, 413), (gzip.compress(head * 100_000), 400)):
        file = SimpleUploadedFile("jobs.csv", content)
        answer = user_api.post("/jobs/bulk-upload", {"file": file}, content_type=MULTIPART_CONTENT)
        assert answer.status_code == status


# Each would keep a backtracking expression busy for longer than the universe has been there.
STALLS = [
    "a" * 60_000 + "!",
    "0-" * 30_000,
    "*/1," * 20_000,
    "a@" * 20_000,
    "-" * 60_000,
    "x" + " " * 60_000 + "x",
]


@pytest.mark.parametrize("text", STALLS, ids=["letters", "ranges", "steps", "signs", "dashes", "blanks"])
@pytest.mark.parametrize(
    "field",
    ["name", "cron_expression", "timezone", "target_url", "github_repo", "github_workflow_name", "end_date",
     "notification_emails", "pic_team", "category", "signing_secret", "catch_up"],
)  # fmt: skip
def test_no_text_stalls_validation(user_api, field, text):
    assert user_api.post("/jobs", new_job(**{field: text})).status_code == 400


@pytest.mark.parametrize("text", STALLS)
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/auth/register", {"username": "", "email": "a@example.com", "password": PASSWORD}),
        ("/auth/register", {"username": "newcomer", "email": "", "password": PASSWORD}),
        ("/job-categories", {"name": "", "slug": "x"}),
        ("/pic-teams", {"name": "x", "slack_handle": ""}),
        ("/jobs/cron-preview", {"cron_expression": ""}),
        ("/jobs/test-run", {"target_url": ""}),
    ],
)
def test_no_text_stalls_anything_else(admin_api, path, data, text):
    (empty,) = [name for name, value in data.items() if not value]

    assert admin_api.post(path, {**data, empty: text}).status_code == 400


@pytest.mark.parametrize("text", STALLS)
@pytest.mark.parametrize("query", ["search", "ordering", "from", "status", "category", "page"])
def test_no_query_stalls_a_list(user_api, query, text):
    assert user_api.get("/jobs" if query != "from" else "/executions", {query: text[:4000]}).status_code in (
        200,
        400,
    )
