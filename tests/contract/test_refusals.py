"""The literal refusals of the contract, and the order in which they come."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.throttle import ACCOUNT_LIMIT
from tests.contract.calls import CSV, NEW_JOB, NEW_USER
from tests.contract.conftest import NOWHERE, World
from tests.contract.shapes import differences, text

BAD_LOGIN = (401, "Invalid credentials", "Invalid email/username or password")
BAD_ROLE = (400, "Invalid role", "Role must be one of: admin, user, viewer")
BAD_DATE = (400, "Invalid date", "Invalid date")
BAD_RANGE = (400, "Invalid date range", '"from" must be earlier than "to".')
FIXED_SLUG = (400, "Invalid payload", "Slug cannot be edited directly; it is derived from name.")
NEEDS_URL = (400, "Invalid settings", "webhook_url is required when Slack is enabled.")
INVALID = (400, "Validation error", text)


# Who, the call, its body, and what is answered: status, error, message.
TABLE: list[tuple[str, str, Any, tuple[int, Any, Any]]] = [
    # §4
    ("anonymous", "POST /auth/login", {"username": "nobody", "password": "guess"}, BAD_LOGIN),
    ("anonymous", "POST /auth/login", {"username": "uma", "password": "guess"}, BAD_LOGIN),
    ("anonymous", "POST /auth/login", {"email": "uma@example.com", "password": ""}, INVALID),
    ("anonymous", "POST /auth/login", {"username": "uma"}, INVALID),
    ("anonymous", "POST /auth/login", {"password": "guess"}, INVALID),
    ("anonymous", "POST /auth/refresh", {"refresh_token": "x"}, (401, "Unauthorized", text)),
    ("anonymous", "POST /auth/refresh", {}, (401, "Unauthorized", text)),
    ("admin", "POST /auth/register", {**NEW_USER, "username": "UMA"}, (409, "Username already exists", text)),
    (
        "admin",
        "POST /auth/register",
        {**NEW_USER, "email": "Uma@Example.COM"},
        (409, "Email already exists", text),
    ),
    ("admin", "POST /auth/register", {**NEW_USER, "role": "root"}, BAD_ROLE),
    ("admin", "POST /auth/register", {**NEW_USER, "role": None}, INVALID),
    ("admin", "POST /auth/register", {**NEW_USER, "password": "12345"}, INVALID),
    ("admin", "POST /auth/register", {**NEW_USER, "username": "ab"}, INVALID),
    ("admin", "POST /auth/register", {**NEW_USER, "username": "a b c"}, INVALID),
    ("admin", "POST /auth/register", {**NEW_USER, "username": "x" * 81}, INVALID),
    ("admin", "POST /auth/register", {**NEW_USER, "email": f"{'x' * 110}@example.com"}, INVALID),
    ("admin", "POST /auth/register", {}, INVALID),
    ("admin", "POST /auth/register", {**NEW_USER, "role": "root", "email": "x"}, INVALID),
    (
        "other",
        "GET /auth/users/{uma}",
        None,
        (403, "Forbidden. You can only view your own profile.", text),
    ),
    (
        "admin",
        "GET /auth/users/{nowhere}",
        None,
        (404, "User not found", f"No user found with ID: {NOWHERE}"),
    ),
    ("admin", "PUT /auth/users/{uma}", {"email": "OTTO@example.com"}, (409, "Email already exists", text)),
    ("owner", "PUT /auth/users/{me}", {"password": "12345"}, INVALID),
    ("admin", "PUT /auth/users/{uma}", {"role": "root"}, BAD_ROLE),
    ("admin", "PUT /auth/users/{uma}", {"role": None}, BAD_ROLE),
    ("admin", "PUT /auth/users/{uma}", {"is_active": None}, INVALID),
    ("admin", "PUT /auth/users/{uma}", {"is_active": "false"}, INVALID),
    ("owner", "PUT /auth/users/{me}", {}, (400, "No valid fields to update", text)),
    ("owner", "PUT /auth/users/{me}", {"username": "new"}, (400, "No valid fields to update", text)),
    ("owner", "PUT /auth/users/{me}", {"role": "user"}, (403, "Forbidden", text)),
    ("owner", "PUT /auth/users/{me}", {"is_active": True}, (403, "Forbidden", text)),
    ("admin", "DELETE /auth/users/{me}", None, (400, "Cannot delete your own account", text)),
    ("admin", "PUT /auth/users/{me}", {"role": "user"}, (400, "Last admin", text)),
    ("admin", "PUT /auth/users/{me}", {"is_active": False}, (400, "Last admin", text)),
    ("owner", "PUT /auth/users/{me}/preferences", {"unknown": True}, (400, text, text)),
    ("owner", "PUT /auth/users/{me}/preferences", {}, (400, text, text)),
    ("owner", "PUT /auth/users/{me}/preferences", {"daily_digest": "yes"}, INVALID),
    ("owner", "PUT /auth/users/{me}/preferences", {"daily_digest": None}, INVALID),
    ("owner", "PUT /auth/users/{me}/ui-preferences", {}, INVALID),
    ("owner", "PUT /auth/users/{me}/ui-preferences", {"jobs_table_columns": []}, INVALID),
    ("owner", "PUT /auth/users/{me}/ui-preferences", {"jobs_table_columns": {"unknown": True}}, INVALID),
    ("owner", "PUT /auth/users/{me}/ui-preferences", {"jobs_table_columns": {"name": 1}}, INVALID),
    # §5
    (
        "owner",
        "POST /jobs",
        {**NEW_JOB, "name": " DAILY backup "},
        (400, "Duplicate job name", 'A job named "DAILY backup" already exists.'),
    ),
    ("owner", "PUT /jobs/{ended_job}", {"name": "daily BACKUP"}, (400, "Duplicate job name", text)),
    ("owner", "POST /jobs", {}, INVALID),
    ("owner", "GET /jobs/{nowhere}", None, (404, "Job not found", f"No job found with ID: {NOWHERE}")),
    ("owner", "GET /jobs/7", None, (404, "Job not found", "No job found with ID: 7")),
    *(
        ("owner", "POST /jobs", {**NEW_JOB, **values}, INVALID)
        for values in (
            {"name": " "},
            {"name": "x" * 256},
            {"name": None},
            {"name": 7},
            {"cron_expression": "@daily"},
            {"cron_expression": "0 0 2 * * *"},
            {"cron_expression": "0 0 L * *"},
            {"cron_expression": "0 0 * * 1#2"},
            {"cron_expression": "0 0 ? * *"},
            {"cron_expression": "0 0 30 2 *"},
            {"cron_expression": "0 22-2 * * *"},
            {"cron_expression": "0 0 * * FRI-MON"},
            {"cron_expression": "* " * 60},
            {"category": "unknown"},
            {"category": None},
            {"pic_team": "unknown"},
            {"pic_team": None},
            {"end_date": "2020-01-01"},
            {"end_date": "31.12.2099"},
            {"end_date": None},
            {"target_url": None},
            {"target_url": "http://hooks.example.com/"},
            {"target_url": "https://user:secret@hooks.example.com/"},
            {"target_url": "https:///path"},
            {"target_url": "ftp://example.com/"},
            {"target_url": "https://example.com/" + "x" * 500},
            {"target_url": None, "github_repo": "acme/reports"},
            {"target_url": None, "github_repo": "reports", "github_workflow_name": "n.yml"},
            {"github_repo": "acme/reports", "github_workflow_name": "nightly.txt"},
            {"github_owner": {}, "github_repo": "acme/reports", "github_workflow_name": "n.yml"},
            {"github_repo": "acme/..", "github_workflow_name": "nightly.yml"},
            {"github_repo": "acme/re ports", "github_workflow_name": "nightly.yml"},
            {"metadata": []},
            {"metadata": "text"},
            {"notification_emails": ["nobody"]},
            {"notification_emails": "ops@example.com, nobody"},
            {"notification_emails": 7},
            {"is_active": None},
            {"is_active": "true"},
            {"enable_email_notifications": None},
        )
    ),
    ("owner", "POST /jobs/{ended_job}/execute", {}, (400, text, text)),
    ("owner", "POST /jobs/{job}/execute", {"target_url": "http://example.com"}, INVALID),
    ("owner", "POST /jobs/{job}/execute", {"metadata": []}, INVALID),
    ("owner", "POST /jobs/validate-cron", {}, INVALID),
    ("owner", "POST /jobs/validate-cron", {"cron_expression": 7}, INVALID),
    ("owner", "POST /jobs/cron-preview", {"cron_expression": "x"}, (400, text, text)),
    ("owner", "POST /jobs/cron-preview", {"cron_expression": "* * * * *", "count": 0}, INVALID),
    ("owner", "POST /jobs/cron-preview", {"cron_expression": "* * * * *", "timezone": "Moon"}, INVALID),
    ("owner", "POST /jobs/test-run", {}, INVALID),
    ("owner", "POST /jobs/test-run", {"target_url": "https://127.0.0.1/"}, INVALID),
    # §7
    ("viewer", "GET /jobs/{nowhere}/executions", None, (404, "Job not found", text)),
    ("viewer", "GET /jobs/{job}/executions/{run_of_another}", None, (404, "Execution not found", text)),
    *(
        ("viewer", f"GET {path}{query}", None, refusal)
        for path in (
            "/executions",
            "/executions/statistics",
            "/jobs/{job}/executions",
            "/jobs/{job}/executions/stats",
        )
        for query, refusal in (
            ("?from=yesterday", BAD_DATE),
            ("?to=2025-02-30", BAD_DATE),
            ("?from=2025-01-02&to=2025-01-01", BAD_RANGE),
            ("?from=2025-01-02T00:00:00Z&to=2025-01-02T09:00:00%2B09:00", BAD_RANGE),
        )
    ),
    *(
        ("viewer", f"GET {call}", None, INVALID)
        for call in (
            "/executions?limit=0",
            "/executions?limit=many",
            "/executions?page=-1",
            "/executions?page=1.5",
            "/executions?status=done",
            "/executions?status=success,",
            "/executions?trigger_type=magic",
            "/executions?execution_type=ftp",
            "/executions?job_id=7",
            "/jobs/{job}/executions?limit=0",
            "/jobs/{job}/executions?status=done",
            "/jobs?page=0",
            "/jobs?per_page=x",
            "/jobs?is_active=maybe",
            "/jobs?created_by=uma",
            "/jobs?ordering=colour",
            "/jobs?search=a%00b",
            "/job-categories?include_inactive=2",
            "/pic-teams?include_inactive=",
        )
    ),
    # §8
    ("owner", "PUT /notifications/{nowhere}/read", None, (404, "Notification not found", text)),
    ("owner", "DELETE /notifications/7", None, (404, "Notification not found", text)),
    (
        "other",
        "PUT /notifications/{notification}/read",
        None,
        (403, "Forbidden: Cannot access other users notifications", text),
    ),
    (
        "admin",
        "DELETE /notifications/{notification}",
        None,
        (403, "Forbidden: Cannot delete other users notifications", text),
    ),
    *(
        ("owner", f"{call}{query}", None, refusal)
        for call in (
            "GET /notifications",
            "GET /notifications/unread-count",
            "DELETE /notifications/delete-read",
        )
        for query, refusal in (("?from=soon", BAD_DATE), ("?from=2025-01-02&to=2025-01-01", BAD_RANGE))
    ),
    ("owner", "GET /notifications?page=0", None, INVALID),
    ("owner", "GET /notifications?per_page=x", None, INVALID),
    ("owner", "GET /notifications?unread_only=maybe", None, INVALID),
    # §10
    ("admin", "PUT /settings/slack", {"is_enabled": True}, NEEDS_URL),
    ("admin", "PUT /settings/slack", {"is_enabled": True, "webhook_url": " "}, NEEDS_URL),
    ("admin", "PUT /settings/slack", {}, (400, text, text)),
    ("admin", "PUT /settings/slack", {"unknown": 1}, (400, text, text)),
    ("admin", "PUT /settings/slack", {"is_enabled": "yes"}, (400, text, text)),
    ("admin", "PUT /settings/slack", {"webhook_url": "http://hooks.slack.com/x"}, (400, text, text)),
    ("admin", "PUT /settings/slack", {"webhook_url": "https://127.0.0.1/x"}, (400, text, text)),
    # §9
    (
        "admin",
        "POST /job-categories",
        {"name": "Other", "slug": "maintenance"},
        (409, "Duplicate slug", 'Category slug "maintenance" already exists.'),
    ),
    (
        "admin",
        "POST /job-categories",
        {"name": "MAINTENANCE"},
        (409, "Duplicate slug", 'Category slug "maintenance" already exists.'),
    ),
    ("admin", "PUT /job-categories/{category}", {"name": "General"}, (409, "Duplicate slug", text)),
    (
        "admin",
        "PUT /job-categories/x",
        {"name": "x"},
        (404, "Not found", "No category found with ID: x"),
    ),
    (
        "admin",
        "PUT /job-categories/{general}",
        {"name": "Other"},
        (400, "Invalid category", 'The "General" category cannot be renamed.'),
    ),
    ("admin", "PUT /job-categories/{general}", {"is_active": False}, (400, "Invalid category", text)),
    ("admin", "DELETE /job-categories/{general}", None, (400, "Invalid category", text)),
    ("admin", "PUT /job-categories/{category}", {"slug": "other"}, FIXED_SLUG),
    ("admin", "PUT /job-categories/{category}", {}, (400, text, text)),
    ("admin", "PUT /job-categories/{category}", {"is_active": "no"}, INVALID),
    ("admin", "POST /job-categories", {"name": " "}, INVALID),
    ("admin", "POST /job-categories", {"name": "x" * 256}, INVALID),
    ("admin", "POST /job-categories", {"name": "Other", "slug": "日本"}, INVALID),
    ("admin", "DELETE /job-categories/x", None, (404, "Not found", "No category found with ID: x")),
    (
        "admin",
        "POST /pic-teams",
        {"name": "DevOps", "slack_handle": "@x"},
        (409, "Duplicate slug", 'PIC team slug "devops" already exists.'),
    ),
    (
        "admin",
        "POST /pic-teams",
        {"name": "Other"},
        (400, "Invalid slack_handle", "slack_handle cannot be empty."),
    ),
    (
        "admin",
        "PUT /pic-teams/{team}",
        {"slack_handle": " "},
        (400, "Invalid slack_handle", "slack_handle cannot be empty."),
    ),
    ("admin", "PUT /pic-teams/{team}", {"slug": "other"}, FIXED_SLUG),
    ("admin", "PUT /pic-teams/x", {"name": "x"}, (404, "Not found", "No PIC team found with ID: x")),
    ("admin", "DELETE /pic-teams/x", None, (404, "Not found", "No PIC team found with ID: x")),
    # §15, the order: 401; 403 for the role; 404; 403 for ownership; 400.
    ("anonymous", "PUT /jobs/{nowhere}", {"name": ""}, (401, "Unauthorized", text)),
    ("viewer", "PUT /jobs/{nowhere}", {"name": ""}, (403, "Forbidden", text)),
    ("other", "PUT /jobs/{nowhere}", {"name": ""}, (404, "Job not found", text)),
    ("other", "PUT /jobs/{job}", {"name": ""}, (403, "Forbidden", "You can only update your own jobs.")),
    ("owner", "PUT /jobs/{job}", {"name": ""}, INVALID),
    ("other", "POST /jobs/{job}/execute", {"ref": 1}, (403, "Forbidden", text)),
    ("viewer", "POST /jobs/test-run", {}, (403, "Forbidden", text)),
    ("viewer", "GET /jobs/nothing/executions?status=done", None, (404, "Job not found", text)),
    ("owner", "POST /pic-teams", {}, (403, "Forbidden", text)),
    ("admin", "PUT /pic-teams/{nowhere}", {}, (404, "Not found", text)),
]


@pytest.mark.parametrize(
    ("caller", "call", "body", "refusal"),
    [pytest.param(*row, id=f"{row[0]} {row[1]} {row[2] or ''}"[:90].strip()) for row in TABLE],
)
def test_refusals_have_the_words_of_the_contract(
    world: World, caller: str, call: str, body: Any, refusal: tuple[int, Any, Any]
) -> None:
    status, error, message = refusal

    response = world.send(caller, call, body)

    assert response.status_code == status, response.json()
    assert list(differences({"error": error, "message": message}, response.json())) == []
    assert all(isinstance(texts, list) for texts in response.json().get("details", {}).values())


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"file": "text, and no file"},
        {"file": b""},
        {"file": b" \r\n"},
        {"file": b"\x00\x01\xff\xfe"},
        {"file": b"PK\x03\x04 a spreadsheet"},
        {"file": b"Name of it,When\na,b\n"},
        {"file": b"Job Name\nBackup\n"},
        {"file": CSV, "dry_run": "maybe"},
        {"file": CSV, "default_github_owner": "not/one"},
    ],
    ids=lambda form: ",".join(f"{name}={value[:12]!r}" for name, value in form.items()),
)
def test_an_upload_that_is_no_table_of_jobs_is_refused(world: World, form: dict[str, Any]) -> None:
    response = world.send("owner", "POST /jobs/bulk-upload", form=form)

    assert response.status_code == 400, response.json()
    assert list(differences({"error": text, "message": text}, response.json())) == []


def test_an_upload_too_large_is_refused(world: World, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 100

    response = world.send("owner", "POST /jobs/bulk-upload", form={"file": CSV * 1000})

    assert (response.status_code, response.json()["error"]) == (413, "Payload too large")


def test_the_eleventh_guess_waits(world: World) -> None:
    client = world.clients["anonymous"]
    guess = {"username": "uma", "password": "guess"}

    statuses = [client.post("/auth/login", guess).status_code for _ in range(ACCOUNT_LIMIT)]
    refused = client.post("/auth/login", guess)

    assert statuses == [401] * ACCOUNT_LIMIT
    assert (refused.status_code, refused.json()["error"]) == (429, "Too many requests")
    assert int(refused["Retry-After"]) > 0


def test_an_ended_job_is_enabled_only_with_a_later_end(world: World) -> None:
    world.clients["owner"].put("/jobs/{ended_job}".format(**world.ids), {"is_active": False})

    refused = world.send("owner", "PUT /jobs/{ended_job}", {"is_active": True})
    moved = world.send("owner", "PUT /jobs/{ended_job}", {"is_active": True, "end_date": "2099-12-31"})

    assert (refused.status_code, list(refused.json()["details"])) == (400, ["is_active"])
    assert moved.status_code == 200


def test_executing_an_ended_job_pauses_it(world: World) -> None:
    client = world.clients["owner"]

    assert client.post("/jobs/{ended_job}/execute".format(**world.ids)).status_code == 400
    assert client.get("/jobs/{ended_job}".format(**world.ids)).json()["job"]["is_active"] is False
