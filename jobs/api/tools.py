"""/jobs/validate-cron, /jobs/cron-preview and /jobs/test-run: trying things out, storing nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import may_create_jobs
from cronsched.core.api.parsers import AnyTextParser
from cronsched.core.api.schema import envelope, refusal, said
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet, Keys, Right
from cronsched.core.errors import InvalidInput
from cronsched.core.text import is_storable, strip_unstorable
from jobs import schedule
from jobs.api.serializers import (
    CRON_EXAMPLE,
    EXECUTION_TYPE,
    PREVIEW_EXAMPLE,
    TARGET_EXAMPLE,
    CronInputSerializer,
    CronPreviewInputSerializer,
    TestRunSerializer,
)
from jobs.services.trial import BUSY, try_target

PREVIEW_COUNT = 5
PREVIEW_MAX = 50
_TEXT = serializers.CharField()
_NO_TEXT = "It holds a character that is no text (NUL, half of a surrogate pair): remove it."


class CronToolsViewSet(ContractViewSet):
    schema_tag = "jobs"
    serializer_class = CronInputSerializer
    keys = Keys.ALL
    rights = {
        "validate_cron": SIGNED_IN,
        "cron_preview": SIGNED_IN,
        "test_run": Right(role=may_create_jobs),
    }

    @extend_schema(
        request=CronInputSerializer,
        responses=envelope(
            "CronValidity",
            valid=serializers.BooleanField(),
            cron_expression=_TEXT,
            description=serializers.CharField(required=False, help_text="The schedule in words."),
            note=serializers.CharField(
                required=False, allow_null=True, help_text="What few expect where both day fields are given."
            ),
            error=serializers.CharField(required=False, help_text="What is wrong, and what to write."),
            field=serializers.CharField(required=False, allow_null=True, help_text="The part at fault."),
        ),
        examples=[CRON_EXAMPLE],
    )
    @action(detail=False, methods=["post"], url_path="validate-cron", parser_classes=[AnyTextParser])
    def validate_cron(self, request: Request) -> Response:
        """200 for any text: `valid` says which it is."""
        text = _cron_text(self.body)
        if not is_storable(text):
            return self.answer(
                valid=False, cron_expression=strip_unstorable(text), error=_NO_TEXT, field=None
            )
        try:
            cron = schedule.parse(text)
        except schedule.CronError as error:
            return self.answer(valid=False, cron_expression=text, error=str(error), field=error.field or None)
        return self.answer(
            valid=True,
            cron_expression=cron.text,
            description=schedule.describe(cron),
            note=schedule.day_rule_note(cron) or None,
        )

    @extend_schema(
        request=CronPreviewInputSerializer,
        responses={
            200: envelope(
                "CronPreview",
                cron_expression=_TEXT,
                timezone=_TEXT,
                next_runs=serializers.ListField(child=serializers.DateTimeField()),
                count=serializers.IntegerField(),
            ),
            **refusal(
                400,
                "Invalid cron expression",
                'In the hour field, "25" is out of range; use a number from 0 to 23.',
                field="cron_expression",
            ),
        },
        examples=[PREVIEW_EXAMPLE],
    )
    @action(detail=False, methods=["post"], url_path="cron-preview")
    def cron_preview(self, request: Request) -> Response:
        """The next slots in the schedule's own time: what is shown here is what fires."""
        cron = _parse(_cron_text(self.body))
        zone = _zone(self.body)
        runs = schedule.next_runs(cron, zone=zone, after=self.now, count=_count(self.body))
        return self.answer(
            cron_expression=cron.text,
            timezone=zone.key,
            next_runs=[run.isoformat() for run in runs],
            count=len(runs),
        )

    @extend_schema(
        request=TestRunSerializer,
        responses={
            200: envelope(
                "TestRunResult",
                ok=serializers.BooleanField(),
                type=serializers.ChoiceField(EXECUTION_TYPE),
                status_code=serializers.IntegerField(allow_null=True),
                message=said("The target answered 200."),
            ),
            **refusal(429, "Too many requests", BUSY),
        },
        examples=[TARGET_EXAMPLE],
    )
    @action(detail=False, methods=["post"], url_path="test-run")
    def test_run(self, request: Request) -> Response:
        """One real call to the target, now; nothing is stored."""
        result = try_target(self.body, now=self.now)
        return self.answer(
            ok=result.ok, type=result.kind.value, status_code=result.status_code, message=result.message
        )


def _cron_text(body: Mapping[str, Any]) -> str:
    text = body.get("cron_expression")
    if not isinstance(text, str):
        raise InvalidInput("cron_expression is required, as text.", field="cron_expression")
    return text


def _parse(text: str) -> schedule.CronExpression:
    try:
        return schedule.parse(text)
    except schedule.CronError as error:
        raise InvalidInput(str(error), error="Invalid cron expression", field="cron_expression") from None


def _zone(body: Mapping[str, Any]) -> Any:
    name = body.get("timezone")
    if name is not None and not isinstance(name, str):
        raise InvalidInput("timezone must be text.", field="timezone")
    try:
        return schedule.load_zone(name or settings.SCHEDULER_TIMEZONE)
    except schedule.ZoneError as error:
        raise InvalidInput(str(error), field="timezone") from None


def _count(body: Mapping[str, Any]) -> int:
    """How many to show: clamped to the maximum. JSON has one kind of number: 5.0 is 5."""
    count = body.get("count", PREVIEW_COUNT)
    is_number = isinstance(count, int | float) and not isinstance(count, bool)
    if not is_number or count != int(count) or count < 1:
        raise InvalidInput("count must be a whole number from 1.", field="count")
    return min(int(count), PREVIEW_MAX)
