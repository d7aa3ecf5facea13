"""The shapes of jobs and executions for the OpenAPI document; `shapes` makes the answers themselves.

What a job's values may be is jobs.services.validation's to say: nothing is validated here.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_field
from rest_framework import serializers

from cronsched.core.api.fields import ContractSerializer, FlagField, TextField, UtcDateTimeField
from cronsched.core.api.params import FALSE_WORDS, TRUE_WORDS
from jobs.choices import CatchUp, ExecutionType, PausedReason, Status, TriggerType
from jobs.schedule import MAX_LENGTH as CRON_MAX
from jobs.schedule import MAX_ZONE_LENGTH
from jobs.services.fields import (
    ALERT_AFTER_MAX,
    FOLLOW_MAX_MINUTES,
    GITHUB_MAX,
    INPUT_NAME_MAX,
    NAME_MAX,
    RETRIES_MAX,
    SECRET_MAX,
    TIMEOUT_MAX_S,
    TOKEN_MAX,
    URL_MAX,
)

STATUS: Final = [str(value) for value in Status.values]
TRIGGER_TYPE: Final = [str(value) for value in TriggerType.values]
EXECUTION_TYPE: Final = [str(value) for value in ExecutionType.values]


@extend_schema_field({"type": "object", "additionalProperties": True, "example": {"env": "production"}})
class ObjectField(serializers.JSONField):
    """A JSON object, or null for an empty one."""


@extend_schema_field(
    {
        "oneOf": [
            # Blank ones are passed over: a form without an address sends one.
            {
                "type": "array",
                "items": {
                    "anyOf": [{"type": "string", "format": "email"}, {"type": "string", "maxLength": 0}]
                },
            },
            {"type": "string", "description": "Comma-separated."},
        ],
        "example": ["ops@example.com"],
    }
)
class EmailsField(serializers.JSONField):
    pass


def _text(max_length: int, help_text: str = "", **kwargs: Any) -> TextField:
    return TextField(required=False, max_length=max_length, help_text=help_text, **kwargs)


def _optional(max_length: int, help_text: str = "") -> TextField:
    return _text(max_length, help_text, allow_null=True, allow_blank=True)


class TargetInputSerializer(ContractSerializer):
    """`target_url`, or `github_repo` with `github_workflow_name`; GitHub is called where both are given."""

    target_url = _optional(URL_MAX, "https (http where WEBHOOK_ALLOW_HTTP), a host, no credentials.")
    github_owner = _optional(GITHUB_MAX, "GITHUB_DEFAULT_OWNER where absent.")
    github_repo = _optional(GITHUB_MAX, "`repo` or `owner/repo`.")
    github_workflow_name = _optional(GITHUB_MAX, "A file that ends in .yml or .yaml.")
    metadata = ObjectField(
        required=False, allow_null=True, help_text="The webhook's body, the workflow's inputs."
    )


class JobInputSerializer(TargetInputSerializer):
    name = TextField(max_length=NAME_MAX, help_text="Unique without regard to case.")
    cron_expression = TextField(max_length=CRON_MAX, help_text="Five fields, by Debian's rules.")
    pic_team = TextField(help_text="Slug or name of an active team.")
    end_date = serializers.DateField(help_text="The last day, in the scheduler's timezone.")
    category = TextField(required=False, allow_blank=True, help_text="Slug or name; `general` where absent.")
    is_active = FlagField(required=False, default=True)
    timezone = _optional(MAX_ZONE_LENGTH, "An IANA name; the scheduler's timezone where null.")
    timeout_seconds = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=TIMEOUT_MAX_S, help_text="For one attempt."
    )
    max_retries = serializers.IntegerField(
        required=False, default=0, min_value=0, max_value=RETRIES_MAX, help_text="After the first attempt."
    )
    follow_run = FlagField(
        required=False, default=True, help_text="Let the execution end as the workflow's run does."
    )
    follow_timeout_minutes = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=FOLLOW_MAX_MINUTES,
        help_text="The longest wait for the run's end; null: six hours.",
    )
    github_correlation_input = _optional(
        INPUT_NAME_MAX,
        "The workflow's input that is given the execution's id and shows it in `run-name`: a run is found by "
        "it where GitHub did not tell which one it started.",
    )
    catch_up = serializers.ChoiceField(
        CatchUp.choices,
        required=False,
        default=CatchUp.SKIP,
        help_text="What happens to slots that came due while nobody could fire them.",
    )
    signing_secret = _optional(
        SECRET_MAX, "Write-only. Signs the calls (Standard Webhooks); after a change both sign for a day."
    )
    enable_email_notifications = FlagField(required=False, default=False)
    notification_emails = EmailsField(required=False, allow_null=True)
    notify_on_success = FlagField(required=False, default=False)
    alert_after = serializers.IntegerField(
        required=False,
        default=1,
        min_value=1,
        max_value=ALERT_AFTER_MAX,
        help_text="Which failure in a row is told by mail and Slack.",
    )
    created_by = serializers.UUIDField(
        required=False, allow_null=True, help_text="The owner's id. Admins only; ignored from others."
    )


class JobChangesSerializer(JobInputSerializer):
    """Any of a job's fields: what is left out stays."""

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        changes = super().get_fields()
        for field in changes.values():
            field.required, field.default = False, serializers.empty
        return changes


class RunInputSerializer(TargetInputSerializer):
    """For this run only, never stored on the job."""

    inputs = ObjectField(required=False, allow_null=True, help_text="Workflow inputs, over the metadata's.")
    github_token = _optional(TOKEN_MAX, "In the place of GITHUB_TOKEN.")
    ref = _optional(GITHUB_MAX, "Branch or tag.")


class TestRunSerializer(RunInputSerializer):
    __test__ = False  # the name is the contract's; pytest need not look inside


@extend_schema_field(
    {
        "anyOf": [{"type": "boolean"}, {"type": "string", "enum": sorted(TRUE_WORDS | FALSE_WORDS)}],
        "default": False,
    }
)
class FormFlagField(serializers.BooleanField):
    """A boolean as a form spells it."""


class BulkUploadSerializer(ContractSerializer):
    file = serializers.FileField(help_text="CSV in UTF-8: commas, semicolons or tabs.")
    default_github_owner = _text(GITHUB_MAX, "For rows whose repository has no owner.", allow_blank=True)
    dry_run = FormFlagField(required=False, default=False, help_text="Say what would happen.")


class RowErrorSerializer(ContractSerializer):
    row = serializers.IntegerField(help_text="As a spreadsheet shows it: the header is 1.")
    name = serializers.CharField(help_text="The job's, as the row has it.")
    error = serializers.CharField(help_text="What is wrong, and what to do.")


class UploadStatsSerializer(ContractSerializer):
    original_row_count = serializers.IntegerField(help_text="Below the header, empty ones too.")
    removed_empty_row_count = serializers.IntegerField()
    unchanged_count = serializers.IntegerField(help_text="Of the updated ones, those with nothing new.")
    unknown_columns = serializers.ListField(child=serializers.CharField(), help_text="Left aside.")


class CronInputSerializer(ContractSerializer):
    cron_expression = TextField(allow_blank=True)


class CronPreviewInputSerializer(CronInputSerializer):
    count = serializers.IntegerField(required=False, default=5, min_value=1, help_text="At most 50.")
    timezone = _optional(MAX_ZONE_LENGTH, "An IANA name; the scheduler's timezone where absent.")


class JobSerializer(ContractSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    cron_expression = serializers.CharField()
    timezone = serializers.CharField(allow_null=True, help_text="Null: the scheduler's timezone.")
    catch_up = serializers.ChoiceField(CatchUp.choices)
    target_url = serializers.CharField(allow_null=True)
    github_owner = serializers.CharField(allow_null=True)
    github_repo = serializers.CharField(allow_null=True)
    github_workflow_name = serializers.CharField(allow_null=True)
    metadata = ObjectField()
    timeout_seconds = serializers.IntegerField(allow_null=True)
    max_retries = serializers.IntegerField()
    follow_run = serializers.BooleanField(help_text="Whether a GitHub run's own outcome is the execution's.")
    follow_timeout_minutes = serializers.IntegerField(allow_null=True, help_text="Null: six hours.")
    github_correlation_input = serializers.CharField(allow_null=True)
    is_signed = serializers.BooleanField(help_text="Whether it has a signing secret of its own.")
    category = serializers.CharField(help_text="Slug.")
    pic_team = serializers.CharField(allow_null=True, help_text="Slug.")
    end_date = serializers.DateField(allow_null=True)
    enable_email_notifications = serializers.BooleanField()
    notification_emails = serializers.ListField(child=serializers.CharField())
    notify_on_success = serializers.BooleanField()
    alert_after = serializers.IntegerField()
    created_by = serializers.UUIDField(allow_null=True)
    is_active = serializers.BooleanField()
    paused_reason = serializers.ChoiceField(PausedReason.choices, allow_null=True)
    created_at = UtcDateTimeField()
    updated_at = UtcDateTimeField()
    last_execution_at = UtcDateTimeField(allow_null=True)
    last_status = serializers.ChoiceField(Status.choices, allow_null=True)
    next_execution_at = serializers.DateTimeField(
        allow_null=True, help_text="With the schedule's own offset."
    )


class UploadedJobSerializer(JobSerializer):
    id = serializers.UUIDField(allow_null=True, help_text="Null in a dry run.")


class NamedJobSerializer(ContractSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()


class ExecutionSerializer(ContractSerializer):
    id = serializers.UUIDField()
    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(Status.choices)
    trigger_type = serializers.ChoiceField(TriggerType.choices)
    scheduled_for = UtcDateTimeField(allow_null=True, help_text="The slot; null for manual runs.")
    started_at = UtcDateTimeField(help_text="Until it is sent: when it was accepted.")
    completed_at = UtcDateTimeField(allow_null=True)
    duration_seconds = serializers.FloatField(allow_null=True)
    execution_type = serializers.ChoiceField(ExecutionType.choices)
    target = serializers.CharField(help_text="The URL, or owner/repo/actions/workflows/file.yml.")
    response_status = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField(allow_null=True, help_text="Why it did not succeed, in one word.")
    error_message = serializers.CharField(allow_null=True)
    output = serializers.CharField(allow_null=True, help_text="In lists its first 1,000 characters.")
    attempt = serializers.IntegerField()
    missed_count = serializers.IntegerField(help_text="How many slots a missed run stands for.")
    missed_last_at = UtcDateTimeField(allow_null=True)
    triggered_by = serializers.UUIDField(allow_null=True)
    github_run_url = serializers.CharField(
        allow_null=True, help_text="The workflow run that this execution follows, where it is known."
    )


class ExecutionWithJobSerializer(ExecutionSerializer):
    job_name = serializers.CharField()
    github_repo = serializers.CharField(allow_null=True)


class WorkflowRunEventSerializer(ContractSerializer):
    """What cronsched reads of GitHub's event; all else in it is passed over."""

    action = serializers.CharField(required=False, help_text="`requested`, `in_progress` or `completed`.")
    workflow_run = ObjectField(required=False)
    repository = ObjectField(required=False)


class JobFiguresSerializer(ContractSerializer):
    total_executions = serializers.IntegerField()
    success_count = serializers.IntegerField()
    failed_count = serializers.IntegerField()
    running_count = serializers.IntegerField(help_text="Not finished: queued, too.")
    missed_count = serializers.IntegerField()
    success_rate = serializers.FloatField(help_text="Per cent of success and failed.")
    average_duration_seconds = serializers.FloatField(allow_null=True)


class BoundsSerializer(ContractSerializer):
    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        # `from` is no name that a class body could give.
        return {"from": UtcDateTimeField(allow_null=True), "to": UtcDateTimeField(allow_null=True)}


class StatisticsSerializer(ContractSerializer):
    total_executions = serializers.IntegerField()
    successful_executions = serializers.IntegerField()
    failed_executions = serializers.IntegerField()
    running_executions = serializers.IntegerField(help_text="Not finished: queued, too.")
    missed_executions = serializers.IntegerField()
    success_rate = serializers.FloatField(help_text="Per cent of success and failed.")
    average_duration_seconds = serializers.FloatField(allow_null=True)
    range = BoundsSerializer()


WEBHOOK_EXAMPLE: Final = OpenApiExample(
    "A webhook",
    {
        "name": "Daily backup",
        "cron_expression": "0 2 * * *",
        "category": "maintenance",
        "pic_team": "devops",
        "end_date": "2030-12-31",
        "target_url": "https://hooks.example.com/backup",
        "metadata": {"env": "production"},
        "enable_email_notifications": True,
        "notification_emails": ["ops@example.com"],
    },
    request_only=True,
)
GITHUB_EXAMPLE: Final = OpenApiExample(
    "A GitHub workflow",
    {
        "name": "Nightly report",
        "cron_expression": "30 1 * * MON-FRI",
        "pic_team": "devops",
        "end_date": "2030-12-31",
        "github_repo": "acme/reports",
        "github_workflow_name": "nightly.yml",
        "metadata": {"branchDetails": "main", "format": "pdf"},
    },
    request_only=True,
)
PAUSE_EXAMPLE: Final = OpenApiExample("Pause", {"is_active": False}, request_only=True)
EXTEND_EXAMPLE: Final = OpenApiExample(
    "Extend and enable", {"end_date": "2031-12-31", "is_active": True}, request_only=True
)
CRON_EXAMPLE: Final = OpenApiExample(
    "Weekdays at nine", {"cron_expression": "0 9 * * 1-5"}, request_only=True
)
PREVIEW_EXAMPLE: Final = OpenApiExample(
    "The next five", {"cron_expression": "0 2 * * *", "count": 5}, request_only=True
)
RUN_EXAMPLE: Final = OpenApiExample(
    "Other inputs this once", {"inputs": {"day": "2030-01-31"}, "ref": "hotfix"}, request_only=True
)
TARGET_EXAMPLE: Final = OpenApiExample(
    "A webhook", {"target_url": "https://hooks.example.com/run", "metadata": {"dry": True}}, request_only=True
)
