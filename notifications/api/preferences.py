"""/auth/users/{id}/preferences: what a person wants to be told by mail and browser."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.roles import may_view_user
from cronsched.core.api.fields import ContractModelSerializer
from cronsched.core.api.routers import route
from cronsched.core.api.schema import at_least_one, envelope, said
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet, Right
from notifications.models import NotificationPreferences
from notifications.services.preferences import PREFERENCES, get_preferences, update_preferences


class PreferencesSerializer(ContractModelSerializer):
    request_schema: ClassVar[dict[str, Any]] = at_least_one(*PREFERENCES)

    class Meta:
        model = NotificationPreferences
        fields = PREFERENCES


def _answer(done: str) -> serializers.Serializer[Any]:
    message = f"Notification preferences {done} successfully"
    return envelope(
        f"{done.capitalize()}Preferences", message=said(message), preferences=PreferencesSerializer()
    )


_OWN = Right(
    role=SIGNED_IN.role,
    owner=lambda user, found: may_view_user(user, user_id=found.pk),
    message="You can only see and change your own preferences.",
)


class PreferencesViewSet(ContractViewSet):
    schema_tag = "users"
    queryset = User.objects.all()
    serializer_class = PreferencesSerializer
    not_found_error = "User not found"
    not_found_message = "No user found with ID: {id}"
    rights = {"notification_preferences": _OWN, "update_notification_preferences": _OWN}

    @extend_schema(responses=_answer("retrieved"))
    def notification_preferences(self, request: Request, pk: str) -> Response:
        return self._answer(get_preferences(self.get_object()), "retrieved")

    @extend_schema(request=PreferencesSerializer, responses=_answer("updated"))
    def update_notification_preferences(self, request: Request, pk: str) -> Response:
        """Partial: what is not sent stays."""
        user = self.get_object()
        return self._answer(
            update_preferences(user, changes=self.body, now=self.now, by=self.user), "updated"
        )

    def _answer(self, preferences: NotificationPreferences, done: str) -> Response:
        message = f"Notification preferences {done} successfully"
        return self.answer(message=message, preferences=self.show(preferences))


urlpatterns = [
    route(
        "auth/users/(?P<pk>[^/]+)/preferences",
        PreferencesViewSet.as_view(
            {"get": "notification_preferences", "put": "update_notification_preferences"}, basename="users"
        ),
        name="user-preferences",
    )
]
