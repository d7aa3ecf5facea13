"""/settings/slack: whether and where Slack is told. Admins only, for the URL is a secret."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import may_manage
from cronsched.core.api.fields import ContractModelSerializer, ContractSerializer, FlagField, TextField
from cronsched.core.api.routers import route
from cronsched.core.api.schema import at_least_one, envelope, refusal, said
from cronsched.core.api.viewsets import ContractViewSet, Right
from notifications.models import SlackSettings
from notifications.services.slack_settings import (
    CHANNEL_MAX,
    NEEDS_URL,
    SLACK_FIELDS,
    URL_MAX,
    get_slack_settings,
    readable_webhook_url,
    update_slack_settings,
)
from notifications.services.slack_test import send_slack_test


class SlackTestSerializer(ContractSerializer):
    ok = serializers.BooleanField()
    status_code = serializers.IntegerField(allow_null=True, help_text="Slack's answer; null without one.")
    message = serializers.CharField(help_text="What came of it.")


ADMIN = Right(role=may_manage)


class SlackSettingsSerializer(ContractModelSerializer):
    webhook_url = serializers.SerializerMethodField(
        help_text="null, too, where it cannot be read with the present ENCRYPTION_KEYS."
    )
    channel = serializers.SerializerMethodField()

    class Meta:
        model = SlackSettings
        fields = ("id", "is_enabled", "webhook_url", "channel", "created_at", "updated_at")
        read_only_fields = fields

    def get_webhook_url(self, row: SlackSettings) -> str | None:
        return readable_webhook_url(row) or None

    def get_channel(self, row: SlackSettings) -> str | None:
        return row.channel or None


class SlackSettingsInputSerializer(ContractSerializer):
    request_schema: ClassVar[dict[str, Any]] = at_least_one(*SLACK_FIELDS)

    is_enabled = FlagField(required=False)
    webhook_url = TextField(
        required=False, allow_null=True, allow_blank=True, max_length=URL_MAX, help_text="An https URL."
    )
    channel = TextField(required=False, allow_null=True, allow_blank=True, max_length=CHANNEL_MAX)


class SlackSettingsViewSet(ContractViewSet):
    schema_tag = "settings"
    queryset = SlackSettings.objects.all()
    serializer_class = SlackSettingsSerializer
    rights = {"slack_settings": ADMIN, "update_slack_settings": ADMIN, "slack_test": ADMIN}

    @extend_schema(responses=envelope("SlackSettingsAnswer", slack_settings=SlackSettingsSerializer()))
    def slack_settings(self, request: Request) -> Response:
        return self.answer(slack_settings=self.show(get_slack_settings()))

    @extend_schema(
        request=SlackSettingsInputSerializer,
        responses={
            200: envelope(
                "UpdatedSlackSettings",
                message=said("Slack settings updated"),
                slack_settings=SlackSettingsSerializer(),
            ),
            **refusal(400, "Invalid settings", NEEDS_URL, field="webhook_url"),
        },
    )
    def update_slack_settings(self, request: Request) -> Response:
        """Partial: what is not sent stays; "" and null clear."""
        row = update_slack_settings(data=self.body, by=self.user, now=self.now)
        return self.answer(message="Slack settings updated", slack_settings=self.show(row))

    @extend_schema(request=None, responses=SlackTestSerializer)
    def slack_test(self, request: Request) -> Response:
        """Sends one real message with the stored settings, enabled or not, and says what came of it."""
        return Response(self.show(send_slack_test(by=self.user), SlackTestSerializer))


urlpatterns = [
    route(
        "settings/slack",
        SlackSettingsViewSet.as_view(
            {"get": "slack_settings", "put": "update_slack_settings"}, basename="settings"
        ),
        name="slack-settings",
    ),
    route(
        "settings/slack/test",
        SlackSettingsViewSet.as_view({"post": "slack_test"}, basename="settings"),
        name="slack-test",
    ),
]
