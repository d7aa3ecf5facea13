"""Every call of /api/v2: who may, and what is answered. One table for all roles and all shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accounts.tests.factories import PASSWORD
from tests.contract.shapes import (
    API_KEY,
    CATEGORY,
    COLUMNS,
    EXECUTION,
    EXECUTION_ACROSS_JOBS,
    JOB,
    NOTIFICATION,
    PREFERENCES,
    SLACK,
    TEAM,
    USER,
    an_object,
    count,
    flag,
    is_list,
    number,
    one_of,
    or_null,
    text,
    token,
    utc,
    uuid,
    with_offset,
)

NEW_JOB = {
    "name": "Nightly report",
    "cron_expression": "0 2 * * *",
    "category": "maintenance",
    "pic_team": "devops",
    "end_date": "2099-12-31",
    "target_url": "https://hooks.example.com/report",
    "metadata": {"env": "production"},
    "notification_emails": ["ops@example.com"],
}
NEW_USER = {"username": "john_doe", "email": "john@example.com", "password": "secure_password"}
LOGIN = {"message": "Login successful", "access_token": token, "refresh_token": token, "user": USER}
CRON = {"cron_expression": "0 2 * * *"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """`who`: the status for anonymous, a viewer, a user (on another's), a user (on their own), an
    admin. `answer`: the shape of the success. `op` is its name in the OpenAPI document."""

    op: str
    call: str
    who: str
    answer: Any
    body: Any = None
    form: str | dict[str, Any] | None = None


# Open to anyone; any role; users and admins; the owner and admins; admins.
ANYONE = "200 200 200 200 200"
SIGNED_IN = "401 200 200 200 200"
OWNER = "401 403 403 200 200"
ADMIN = "401 403 403 403 200"
OWN_ONLY = "401 403 403 200 403"
HOOK = "https://hooks.slack.com/services/T000/B000/XXXXXXXX"

AUTH = [
    Call(
        op="auth_login",
        call="POST /auth/login",
        body={"username": "uma", "password": PASSWORD},
        who=ANYONE,
        answer=LOGIN,
    ),
    Call(
        op="auth_login",
        call="POST /auth/login",
        body={"email": "UMA@example.com", "password": PASSWORD},
        who=ANYONE,
        answer=LOGIN,
    ),
    Call(
        op="auth_login",
        call="POST /auth/login",
        body={"username": "uma@example.com", "password": PASSWORD},
        who=ANYONE,
        answer=LOGIN,
    ),
    Call(
        op="auth_login_form",
        call="POST /auth/login/form",
        form=f"username=uma&password={PASSWORD}",
        who=ANYONE,
        answer={"access_token": token, "refresh_token": token, "token_type": "bearer"},
    ),
    Call(
        op="auth_refresh",
        call="POST /auth/refresh",
        body={"refresh_token": "{refresh}"},
        who=ANYONE,
        answer={"access_token": token, "refresh_token": token},
    ),
    Call(op="auth_logout", call="POST /auth/logout", who=SIGNED_IN, answer={"message": text}),
    Call(
        op="auth_logout",
        call="POST /auth/logout",
        body={"refresh_token": "{refresh}"},
        who=SIGNED_IN,
        answer={"message": text},
    ),
    Call(op="auth_verify", call="GET /auth/verify", who=SIGNED_IN, answer={"valid": True, "user": USER}),
    Call(op="auth_me", call="GET /auth/me", who=SIGNED_IN, answer=USER),
    Call(
        op="auth_register",
        call="POST /auth/register",
        body=NEW_USER,
        who="401 403 403 403 201",
        answer={"message": "User registered successfully", "user": {**USER, "role": "viewer"}},
    ),
    Call(
        op="auth_register",
        call="POST /auth/register",
        body={**NEW_USER, "role": "admin"},
        who="401 403 403 403 201",
        answer={"message": "User registered successfully", "user": {**USER, "role": "admin"}},
    ),
    Call(op="users_list", call="GET /auth/users", who=ADMIN, answer={"count": count, "users": [USER]}),
    Call(op="users_retrieve", call="GET /auth/users/{uma}", who=OWNER, answer={"user": USER}),
    Call(op="users_retrieve", call="GET /auth/users/{me}", who=SIGNED_IN, answer={"user": USER}),
    Call(op="users_retrieve", call="GET /auth/users/{nowhere}", who="401 404 404 404 404", answer=None),
    Call(
        op="users_update",
        call="PUT /auth/users/{uma}",
        body={"email": "uma.new@example.com", "password": "another-one"},
        who=OWNER,
        answer={
            "message": "User updated successfully",
            "updated_fields": [one_of("email", "password")],
            "user": {**USER, "email": "uma.new@example.com"},
        },
    ),
    Call(
        op="users_update",
        call="PUT /auth/users/{me}",
        body={"email": "my.own@example.com"},
        who=SIGNED_IN,
        answer={"message": "User updated successfully", "updated_fields": ["email"], "user": USER},
    ),
    Call(
        op="users_update",
        call="PUT /auth/users/{uma}",
        body={"role": "viewer", "is_active": False},
        who=ADMIN,
        answer={
            "message": "User updated successfully",
            "updated_fields": [one_of("role", "is_active")],
            "user": {**USER, "role": "viewer", "is_active": False},
        },
    ),
    Call(
        op="users_update",
        call="PUT /auth/users/{me}",
        body={"role": "admin"},
        who="401 403 403 403 200",
        answer={"updated_fields": ["role"]},
    ),
    Call(
        op="users_destroy",
        call="DELETE /auth/users/{uma}",
        who=ADMIN,
        answer={"message": "User deleted successfully", "deleted_user": {"id": uuid, "username": "uma"}},
    ),
    Call(op="users_destroy", call="DELETE /auth/users/{me}", who="401 403 403 403 400", answer=None),
    Call(op="users_destroy", call="DELETE /auth/users/{nowhere}", who="401 403 403 403 404", answer=None),
    Call(
        op="users_notification_preferences",
        call="GET /auth/users/{uma}/preferences",
        who=OWNER,
        answer={
            "message": "Notification preferences retrieved successfully",
            "preferences": PREFERENCES,
        },
    ),
    Call(
        op="users_update_notification_preferences",
        call="PUT /auth/users/{uma}/preferences",
        body={"weekly_report": True},
        who=OWNER,
        answer={
            "message": "Notification preferences updated successfully",
            "preferences": {**PREFERENCES, "weekly_report": True},
        },
    ),
    Call(
        op="users_update_notification_preferences",
        call="PUT /auth/users/{me}/preferences",
        body={"daily_digest": True},
        who=SIGNED_IN,
        answer={"preferences": {**PREFERENCES, "daily_digest": True}},
    ),
    Call(
        op="users_ui_preferences",
        call="GET /auth/users/{uma}/ui-preferences",
        who=OWNER,
        answer={"preferences": COLUMNS},
    ),
    Call(
        op="users_update_ui_preferences",
        call="PUT /auth/users/{uma}/ui-preferences",
        body={"jobs_table_columns": {"name": False, "unknown": True}},
        who=OWNER,
        answer={"preferences": {"jobs_table_columns": {**COLUMNS["jobs_table_columns"], "name": False}}},
    ),
    Call(
        op="users_update_ui_preferences",
        call="PUT /auth/users/{me}/ui-preferences",
        body={"jobs_table_columns": {"created_by": True}},
        who=SIGNED_IN,
        answer={"preferences": an_object},
    ),
]
NEW_KEY = {"name": "CI", "role": "viewer", "team": "DevOps", "expires_at": "2099-12-31T00:00:00Z"}
KEYS = [
    Call(
        op="api_keys_list",
        call="GET /auth/api-keys",
        who=SIGNED_IN,
        answer={"count": count, "api_keys": is_list},
    ),
    Call(
        op="api_keys_create",
        call="POST /auth/api-keys",
        body=NEW_KEY,
        who="401 201 201 201 201",
        answer={
            "message": "API key created. Keep it now: it is not shown again.",
            "api_key": {**API_KEY, "team": "devops", "role": "viewer"},
            "key": text,
        },
    ),
    Call(
        op="api_keys_create",
        call="POST /auth/api-keys",
        body={"name": "CI", "owner": "{uma}", "role": "user"},
        who="401 403 403 201 201",
        answer={"api_key": API_KEY},
    ),
    Call(
        op="api_keys_create",
        call="POST /auth/api-keys",
        body={"name": "CI", "role": "admin"},
        who="401 400 400 400 201",
        answer={"api_key": API_KEY},
    ),
    Call(
        op="api_keys_destroy",
        call="DELETE /auth/api-keys/{api_key}",
        who="401 404 404 200 200",
        answer={"message": "API key revoked", "api_key": {**API_KEY, "revoked_at": utc}},
    ),
    Call(
        op="api_keys_destroy",
        call="DELETE /auth/api-keys/{nowhere}",
        who="401 404 404 404 404",
        answer=None,
    ),
]
JOBS = [
    Call(op="jobs_list", call="GET /jobs", who=SIGNED_IN, answer={"count": 3, "jobs": [an_object]}),
    Call(
        op="jobs_list",
        call="GET /jobs?search=daily&page=1&per_page=1",
        who=SIGNED_IN,
        answer={"count": 1, "jobs": [JOB], "page": 1, "per_page": 1, "total_pages": 1},
    ),
    Call(
        op="jobs_list",
        call="GET /jobs?category=maintenance&pic_team=devops&is_active=YES&created_by={uma}&ordering=-name",
        who=SIGNED_IN,
        answer={"count": 1, "jobs": [JOB]},
    ),
    Call(
        op="jobs_create",
        call="POST /jobs",
        body=NEW_JOB,
        who="401 403 201 201 201",
        answer={
            "message": "Job created successfully",
            "job": {**JOB, **NEW_JOB, "is_active": True, "next_execution_at": with_offset},
        },
    ),
    Call(op="jobs_retrieve", call="GET /jobs/{job}", who=SIGNED_IN, answer={"job": JOB}),
    Call(op="jobs_retrieve", call="GET /jobs/{nowhere}", who="401 404 404 404 404", answer=None),
    *(
        Call(
            op=op,
            call=f"{method} /jobs/{{job}}",
            body={"is_active": False},
            who=OWNER,
            answer={
                "message": "Job updated successfully",
                "job": {**JOB, "is_active": False, "next_execution_at": None},
            },
        )
        for op, method in (("jobs_update", "PUT"), ("jobs_partial_update", "PATCH"))
    ),
    Call(
        op="jobs_update",
        call="PUT /jobs/{nowhere}",
        body={"is_active": False},
        who="401 403 404 404 404",
        answer=None,
    ),
    Call(
        op="jobs_destroy",
        call="DELETE /jobs/{job}",
        who=OWNER,
        answer={
            "message": "Job deleted successfully",
            "deleted_job": {"id": uuid, "name": "Daily backup"},
        },
    ),
    Call(op="jobs_destroy", call="DELETE /jobs/{nowhere}", who="401 403 404 404 404", answer=None),
    Call(
        op="jobs_execute",
        call="POST /jobs/{job}/execute",
        who=OWNER,
        answer={
            "message": "Job triggered successfully",
            "job_id": uuid,
            "execution": {
                **EXECUTION,
                "status": one_of("queued", "running"),
                "trigger_type": "manual",
                "scheduled_for": None,
            },
        },
    ),
    Call(
        op="jobs_execute",
        call="POST /jobs/{job}/execute",
        body={
            "metadata": {"day": 1},
            "inputs": {"day": "1"},
            "github_repo": "acme/reports",
            "github_workflow_name": "nightly.yml",
            "github_token": "t",
            "ref": "hotfix",
        },
        who=OWNER,
        answer={
            "execution": {
                **EXECUTION,
                "execution_type": "github_actions",
                "target": "acme/reports/actions/workflows/nightly.yml",
            }
        },
    ),
    Call(op="jobs_execute", call="POST /jobs/{ended_job}/execute", who="401 403 403 400 400", answer=None),
    Call(
        op="cron_tools_validate_cron",
        call="POST /jobs/validate-cron",
        body=CRON,
        who=SIGNED_IN,
        answer={"valid": True, **CRON, "description": text},
    ),
    Call(
        op="cron_tools_validate_cron",
        call="POST /jobs/validate-cron",
        body={"cron_expression": "@daily"},
        who=SIGNED_IN,
        answer={"valid": False, "error": text},
    ),
    Call(
        op="cron_tools_cron_preview",
        call="POST /jobs/cron-preview",
        body=CRON,
        who=SIGNED_IN,
        answer={**CRON, "timezone": "Asia/Tokyo", "next_runs": [with_offset], "count": 5},
    ),
    Call(
        op="cron_tools_cron_preview",
        call="POST /jobs/cron-preview",
        body={**CRON, "count": 99},
        who=SIGNED_IN,
        answer={"next_runs": [with_offset], "count": 50},
    ),
    Call(
        op="cron_tools_test_run",
        call="POST /jobs/test-run",
        body={"target_url": "https://hooks.example.com/run", "metadata": {}},
        who="401 403 200 200 200",
        answer={"ok": True, "type": "webhook", "status_code": 200, "message": text},
    ),
]
FIGURES = {
    "total_executions": 1,
    "success_rate": 100.0,
    "average_duration_seconds": number,
}
EXECUTIONS = [
    Call(
        op="job_executions_list",
        call="GET /jobs/{job}/executions",
        who=SIGNED_IN,
        answer={
            "job_id": uuid,
            "job_name": "Daily backup",
            "total_executions": 1,
            "executions": [EXECUTION],
        },
    ),
    Call(
        op="job_executions_list",
        call="GET /jobs/{job}/executions?limit=999&status=success,failed&trigger_type=scheduled",
        who=SIGNED_IN,
        answer={"total_executions": 1, "executions": [EXECUTION]},
    ),
    Call(
        op="job_executions_list",
        call="GET /jobs/{nowhere}/executions",
        who="401 404 404 404 404",
        answer=None,
    ),
    Call(
        op="job_executions_retrieve",
        call="GET /jobs/{job}/executions/{run}",
        who=SIGNED_IN,
        answer={"job": {"id": uuid, "name": "Daily backup"}, "execution": EXECUTION},
    ),
    Call(
        op="job_executions_retrieve",
        call="GET /jobs/{job}/executions/{run_of_another}",
        who="401 404 404 404 404",
        answer=None,
    ),
    Call(
        op="job_executions_stats",
        call="GET /jobs/{job}/executions/stats",
        who=SIGNED_IN,
        answer={
            "job_id": uuid,
            "job_name": "Daily backup",
            "statistics": {
                **FIGURES,
                "success_count": 1,
                "failed_count": 0,
                "running_count": 0,
                "missed_count": 0,
            },
            "latest_execution": EXECUTION,
        },
    ),
    Call(
        op="job_executions_stats",
        call="GET /jobs/{job}/executions/stats?to=2000-01-01",
        who=SIGNED_IN,
        answer={
            "statistics": {"total_executions": 0, "success_rate": 0},
            "latest_execution": None,
        },
    ),
    Call(
        op="executions_list",
        call="GET /executions",
        who=SIGNED_IN,
        answer={
            "executions": [EXECUTION_ACROSS_JOBS],
            "total": 2,
            "page": 1,
            "limit": 20,
            "total_pages": 1,
        },
    ),
    Call(
        op="executions_list",
        call="GET /executions?page=9&limit=1&job_id={job}&execution_type=webhook",
        who=SIGNED_IN,
        answer={"total": 1, "page": 9, "limit": 1, "total_pages": 1},
    ),
    Call(
        op="executions_retrieve",
        call="GET /executions/{run}",
        who=SIGNED_IN,
        answer={"execution": EXECUTION_ACROSS_JOBS},
    ),
    Call(op="executions_retrieve", call="GET /executions/{nowhere}", who="401 404 404 404 404", answer=None),
    Call(
        op="executions_statistics",
        call="GET /executions/statistics?job_id={job}&from=2020-01-01&to=2098-12-31",
        who=SIGNED_IN,
        answer={
            **FIGURES,
            "successful_executions": 1,
            "failed_executions": 0,
            "running_executions": 0,
            "missed_executions": 0,
            # The bound that a bare date means is the next midnight.
            "range": {"from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"},
        },
    ),
    Call(
        op="executions_statistics",
        call="GET /executions/statistics",
        who=SIGNED_IN,
        answer={"range": {"from": None, "to": None}},
    ),
]
TAXONOMY = [
    Call(op="categories_list", call="GET /job-categories", who=SIGNED_IN, answer={"categories": [CATEGORY]}),
    Call(
        op="categories_create",
        call="POST /job-categories",
        body={"name": "Month end"},
        who="401 403 403 403 201",
        answer={"message": "Category created", "category": {**CATEGORY, "slug": "month-end"}},
    ),
    Call(
        op="categories_create",
        call="POST /job-categories",
        body={"name": "営業"},
        who="401 403 403 403 201",
        answer={"category": {**CATEGORY, "name": "営業", "slug": "category-8c6bb3d2"}},
    ),
    Call(
        op="categories_update",
        call="PUT /job-categories/{category}",
        body={"name": "Upkeep"},
        who=ADMIN,
        answer={
            "message": "Category updated",
            "category": {**CATEGORY, "slug": "upkeep"},
            "jobs_updated": 1,
        },
    ),
    Call(
        op="categories_update",
        call="PUT /job-categories/{nowhere}",
        body={"name": "Upkeep"},
        who="401 403 403 403 404",
        answer=None,
    ),
    Call(
        op="categories_destroy",
        call="DELETE /job-categories/{category}",
        who=ADMIN,
        answer={"message": "Category disabled", "category": {**CATEGORY, "is_active": False}},
    ),
    Call(
        op="categories_destroy",
        call="DELETE /job-categories/{general}",
        who="401 403 403 403 400",
        answer=None,
    ),
    Call(op="teams_list", call="GET /pic-teams", who=SIGNED_IN, answer={"pic_teams": [TEAM]}),
    Call(
        op="teams_create",
        call="POST /pic-teams",
        body={"name": "Night shift", "slack_handle": "@night", "slug": "Nights!"},
        who="401 403 403 403 201",
        answer={"message": "PIC team created", "pic_team": {**TEAM, "slug": "nights"}},
    ),
    Call(
        op="teams_update",
        call="PUT /pic-teams/{team}",
        body={"name": "Platform", "slack_handle": "@platform"},
        who=ADMIN,
        answer={
            "message": "PIC team updated",
            "pic_team": {**TEAM, "slug": "platform", "slack_handle": "@platform"},
            "jobs_updated": 1,
        },
    ),
    Call(
        op="teams_destroy",
        call="DELETE /pic-teams/{team}",
        who=ADMIN,
        answer={"message": "PIC team disabled", "pic_team": {**TEAM, "is_active": False}},
    ),
    Call(op="teams_destroy", call="DELETE /pic-teams/{nowhere}", who="401 403 403 403 404", answer=None),
]
SYSTEM = [
    # Nobody has told GitHub's secret here: jobs/tests/test_github_webhook.py has the rest.
    Call(
        op="github_webhook",
        call="POST /github/webhook",
        body={"action": "completed"},
        who="404 404 404 404 404",
        answer=None,
    ),
    Call(
        op="scheduler_status",
        call="GET /scheduler/status",
        who=ADMIN,
        answer={
            "scheduler_running": flag,
            "is_leader": flag,
            "leader": or_null(text),
            "scheduled_jobs_count": count,
            "timezone": "Asia/Tokyo",
            "last_heartbeat_at": or_null(utc),
        },
    ),
    Call(
        op="scheduler_resync",
        call="POST /scheduler/resync",
        who=ADMIN,
        answer={"message": text, "scheduled": count, "paused": 1, "removed": 0},
    ),
    Call(
        op="system_health",
        call="GET /health",
        who=ANYONE,
        answer={
            "status": "healthy",
            "scheduler_running": flag,
            "scheduled_jobs_count": count,
            "version": text,
        },
    ),
    Call(
        op="openapi_document",
        call="GET /openapi.json",
        who=ANYONE,
        answer={"openapi": text, "paths": an_object, "components": an_object},
    ),
]
RANGE = {"from": None, "to": None}
NOTIFICATIONS = [
    Call(
        op="notifications_list",
        call="GET /notifications",
        who=SIGNED_IN,
        answer={
            "notifications": is_list,
            "total": count,
            "page": 1,
            "per_page": 20,
            "total_pages": count,
            "range": RANGE,
        },
    ),
    Call(
        op="notifications_list",
        call="GET /notifications?per_page=999&unread_only=1&from=2025-12-01&to=2025-12-02T09:00:00%2B09:00",
        who=SIGNED_IN,
        answer={
            "total": 0,
            "per_page": 100,
            "range": {"from": "2025-12-01T00:00:00", "to": "2025-12-02T00:00:00"},
        },
    ),
    Call(
        op="notifications_unread_count",
        call="GET /notifications/unread-count?from=2025-12-01",
        who=SIGNED_IN,
        answer={"unread_count": count, "range": {"from": "2025-12-01T00:00:00", "to": None}},
    ),
    Call(
        op="notifications_read",
        call="PUT /notifications/{notification}/read",
        who=OWN_ONLY,
        answer={
            "message": "Notification marked as read",
            "notification": {**NOTIFICATION, "is_read": True, "read_at": utc},
        },
    ),
    Call(
        op="notifications_read",
        call="PUT /notifications/{nowhere}/read",
        who="401 404 404 404 404",
        answer=None,
    ),
    Call(
        op="notifications_read_all",
        call="PUT /notifications/read-all",
        who=SIGNED_IN,
        answer={"message": "All notifications marked as read", "updated_count": count},
    ),
    Call(
        op="notifications_destroy",
        call="DELETE /notifications/{notification}",
        who=OWN_ONLY,
        answer={"message": "Notification deleted successfully"},
    ),
    Call(
        op="notifications_delete_read",
        call="DELETE /notifications/delete-read",
        who=SIGNED_IN,
        answer={"deleted_count": count},
    ),
]
SETTINGS = [
    Call(
        op="settings_slack_settings",
        call="GET /settings/slack",
        who=ADMIN,
        answer={"slack_settings": {**SLACK, "is_enabled": False, "webhook_url": None, "channel": None}},
    ),
    Call(
        op="settings_update_slack_settings",
        call="PUT /settings/slack",
        body={"is_enabled": True, "webhook_url": f" {HOOK} ", "channel": " #ops "},
        who=ADMIN,
        answer={
            "message": "Slack settings updated",
            "slack_settings": {**SLACK, "is_enabled": True, "webhook_url": HOOK, "channel": "#ops"},
        },
    ),
    Call(
        op="settings_update_slack_settings",
        call="PUT /settings/slack",
        body={"webhook_url": "", "channel": ""},
        who=ADMIN,
        answer={"slack_settings": {**SLACK, "webhook_url": None, "channel": None}},
    ),
    Call(
        op="settings_slack_test",
        call="POST /settings/slack/test",
        who=ADMIN,
        answer={"ok": False, "status_code": None, "message": text},
    ),
]
CSV = (
    b"Job Name,Cron Schedule (JST),Status,Target URL,PIC Team,End Date\n"
    b"New,0 2 * * *,enable,https://hooks.example.com/a,DevOps,2099-12-31\n"
    b"Bad,0 25 * * *,enable,https://hooks.example.com/a,DevOps,2099-12-31\n"
    b",,,,,\n"
    b"Daily backup,0 3 * * *,,https://hooks.example.com/b,devops,2099-12-31\n"
)
UPLOADED_JOB = {**JOB, "notification_emails": is_list}
UPLOADED = {
    "message": text,
    "dry_run": False,
    "created": 1,
    "created_count": 1,
    "updated": count,
    "updated_count": count,
    "failed": count,
    "error_count": count,
    "errors": [{"row": count, "name": text, "error": text}],
    "jobs": [UPLOADED_JOB],
    "stats": {"original_row_count": 4, "removed_empty_row_count": 1},
}
UPLOADS = [
    Call(
        op="uploads_bulk_upload",
        call="POST /jobs/bulk-upload",
        form={"file": CSV},
        # Anybody may send it: what is another's is a row that fails.
        who="401 403 200 200 200",
        answer=UPLOADED,
    ),
    Call(
        op="uploads_bulk_upload",
        call="POST /jobs/bulk-upload",
        form={"file": CSV, "dry_run": "yes", "default_github_owner": "acme"},
        who="401 403 200 200 200",
        answer={**UPLOADED, "dry_run": True, "jobs": [{**UPLOADED_JOB, "id": None}]},
    ),
]
CALLS = [*AUTH, *KEYS, *JOBS, *UPLOADS, *EXECUTIONS, *NOTIFICATIONS, *TAXONOMY, *SETTINGS, *SYSTEM]
