"""An example for every request and answer of the OpenAPI document: spectacular's last hook.

An example is drawn from the schema that it illustrates, with the values below, so that it always
obeys it and never has to be brought up to date by hand. What an action gives by itself stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cronsched import __version__
from cronsched.core.api.schema import EXAMPLE_ID

_MOMENT: Final = "2025-01-15T10:30:00Z"
# By the type's format where the name says nothing.
_FORMATS: Final[Mapping[str, Any]] = {
    "uuid": EXAMPLE_ID,
    "date-time": _MOMENT,
    "date": "2030-12-31",
    "email": "ops@example.com",
    "uri": "https://hooks.example.com/backup",
}
_TYPES: Final[Mapping[str, Any]] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True}
# By the field's name, or by `Component.field` where one name has two meanings. A value that the
# field's schema would not take (another type, an unknown word) is passed over.
_VALUES: Final[Mapping[str, Any]] = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJ0eXBlIjoiYWNjZXNzIn0.c2lnbmF0dXJl",
    "refresh_token": "eyJhbGciOiJIUzI1NiJ9.eyJ0eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl",
    "ApiKey.name": "CI",
    "ApiKey.prefix": "csk_Zk3vR9aQ",
    "ApiKey.team": "devops",
    "ApiKey.expires_at": "2030-12-31T00:00:00Z",
    "ApiKey.revoked_at": None,
    "ApiKeyInput.name": "CI",
    "ApiKeyInput.team": "devops",
    "ApiKeyInput.expires_at": "2030-12-31T00:00:00Z",
    "CreatedApiKey.key": "csk_Zk3vR9aQ6TzX0mJw8uLq2NfYcB5hGdE7sIoPkVtA1rM4xWjH",
    "username": "john_doe",
    "email": "john@example.com",
    "password": "secure_password",
    "role": "user",
    "updated_fields": ["email", "role"],
    "name": "Daily backup",
    "file": "Job Name,Cron Schedule (JST),Target URL,PIC Team,End Date\n"
    "Daily backup,0 2 * * *,https://hooks.example.com/backup,devops,2030-12-31\n",
    "default_github_owner": "acme",
    "row": 3,
    "unknown_columns": ["Comment"],
    "RowError.name": "Nightly report",
    "RowError.error": 'In the hour field, "25" is out of range; use a number from 0 to 23.',
    "Notification.type": "error",
    "Notification.title": "Job failed: Daily backup",
    "Notification.message": "The target answered 503 Service Unavailable.",
    "is_read": False,
    "read_at": None,
    "SlackTest.message": "Slack took the message.",
    "webhook_url": "https://hooks.slack.com/services/T000/B000/XXXXXXXX",
    "channel": "#ops",
    "NaiveRange.from": "2025-12-01T00:00:00",
    "NaiveRange.to": None,
    "Category.name": "Maintenance",
    "Category.slug": "maintenance",
    "CategoryInput.slug": None,
    "PicTeam.name": "DevOps",
    "Team.name": "DevOps",
    "Team.slug": "devops",
    "TeamInput.slug": None,
    "slack_handle": "@devops",
    "send_queue": "",
    "cron_expression": "0 2 * * *",
    "description": "At 02:00",
    "note": None,
    "timezone": "Asia/Tokyo",
    "next_runs": ["2025-12-23T02:00:00+09:00", "2025-12-24T02:00:00+09:00"],
    "CronPreview.count": 2,
    "target_url": "https://hooks.example.com/backup",
    "github_owner": None,
    "github_repo": None,
    "github_workflow_name": None,
    "github_token": None,
    "metadata": {"env": "production"},
    "category": "maintenance",
    "pic_team": "devops",
    "end_date": "2030-12-31",
    "notification_emails": ["ops@example.com"],
    "paused_reason": None,
    "timeout_seconds": None,
    "follow_run": True,
    "follow_timeout_minutes": None,
    "github_correlation_input": None,
    "github_run_url": None,
    "workflow_run": {"id": 16000000001, "run_attempt": 1, "status": "completed", "conclusion": "success"},
    "repository": {"full_name": "acme/app"},
    "matched": 1,
    "WorkflowRunEvent.action": "completed",
    "last_status": "success",
    "next_execution_at": "2025-12-23T02:00:00+09:00",
    "job_name": "Daily backup",
    "status": "success",
    "trigger_type": "scheduled",
    "execution_type": "webhook",
    "target": "https://hooks.example.com/backup",
    "duration_seconds": 0.412,
    "response_status": 200,
    "status_code": 200,
    "type": "webhook",
    "reason": None,
    "error_message": None,
    "output": '{"accepted": true}',
    "attempt": 1,
    "missed_count": 0,
    "missed_executions": 0,
    "missed_last_at": None,
    "triggered_by": None,
    "total_executions": 42,
    "success_count": 40,
    "successful_executions": 40,
    "failed_count": 1,
    "failed_executions": 1,
    "running_count": 1,
    "running_executions": 1,
    "success_rate": 97.6,
    "average_duration_seconds": 0.518,
    "email_on_job_disabled": False,
    "browser_notifications": False,
    "daily_digest": False,
    "weekly_report": False,
    "to": None,
    "per_page": 20,
    "limit": 20,
    "leader": "host-a:4711",
    "Unhealthy.status": "unhealthy",
    "Unhealthy.error": "Service unavailable",
    "Unhealthy.message": "The database cannot be reached.",
    "Unhealthy.scheduler_running": False,
    "Unhealthy.scheduled_jobs_count": None,
    "Health.status": "healthy",
    "version": __version__,
}
_NOTHING: Final = object()
# Not in the same answer as the rest.
_LEFT_OUT: Final = frozenset({"CronValidity.error", "CronValidity.field"})


def with_examples(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Give each request and each answer of the document an example where it has none."""
    schemas = result.get("components", {}).get("schemas", {})
    for media in _media(result):
        if "schema" in media and not {"example", "examples"} & media.keys():
            media["example"] = example_of(media["schema"], schemas)
    return result


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], where: str = "", name: str = "") -> Any:
    """A value that obeys `schema`: the field `name` of the component `where`."""
    if "$ref" in schema:
        where = schema["$ref"].rpartition("/")[2]
        return example_of(schemas[where], schemas, where, name)
    for known in (f"{_told(where)}.{name}", name):
        if (value := _VALUES.get(known, _NOTHING)) is not _NOTHING and _may_be(schema, value):
            return value
    if "example" in schema:
        return schema["example"]
    for part in ("allOf", "oneOf", "anyOf"):
        if "properties" not in schema and schema.get(part):
            return example_of(schema[part][0], schemas, where, name)
    if schema.get("enum"):
        return schema["enum"][0]
    return _by_type(schema, schemas, where)


def _by_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], where: str) -> Any:
    kind = schema.get("type")
    if kind == "array":
        return [example_of(schema["items"], schemas, where)]
    if kind == "object" or "properties" in schema:
        return {
            field: example_of(inner, schemas, where, field)
            for field, inner in schema.get("properties", {}).items()
            if f"{where}.{field}" not in _LEFT_OUT
        }
    if "default" in schema:
        return schema["default"]
    return _FORMATS.get(schema.get("format", ""), _TYPES.get(kind or "", {}))


def _may_be(schema: Mapping[str, Any], value: Any) -> bool:
    if value is None:
        return bool(schema.get("nullable"))
    if "enum" in schema:
        return value in schema["enum"]
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
    }
    return isinstance(value, kinds.get(schema.get("type", ""), (object,)))


def _told(component: str) -> str:
    """`CategoryRequest` is the sent form of `Category`."""
    return component.removesuffix("Request")


def _media(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in result.get("paths", {}).values():
        for operation in path.values():
            for body in (operation.get("requestBody", {}), *operation.get("responses", {}).values()):
                yield from body.get("content", {}).values()
