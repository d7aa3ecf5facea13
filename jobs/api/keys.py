"""/auth/api-keys: keys for programs. Here, not with the accounts, since a key may be limited to a team."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api_keys import DEFAULT_ROLE, NAME_MAX, revoke_api_key
from accounts.models import ApiKey, User
from accounts.roles import Role
from cronsched.core.api.fields import ContractModelSerializer, ContractSerializer, TextField, UtcDateTimeField
from cronsched.core.api.schema import envelope, refusal, said
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet
from cronsched.core.errors import InvalidInput
from jobs.services.api_keys import create_key


class ApiKeySerializer(ContractModelSerializer):
    owner = serializers.UUIDField(source="owner_id", help_text="The user in whose name it acts.")
    team = serializers.CharField(help_text="Slug of the one team whose jobs it reaches, or empty.")

    class Meta:
        model = ApiKey
        fields = (
            "id",
            "name",
            "prefix",
            "owner",
            "role",
            "team",
            "expires_at",
            "last_used_at",
            "revoked_at",
            "created_at",
        )
        read_only_fields = fields


class ApiKeyInputSerializer(ContractSerializer):
    name = TextField(max_length=NAME_MAX)
    role = serializers.ChoiceField(
        Role.choices, required=False, default=DEFAULT_ROLE, help_text="At most the owner's own."
    )
    team = TextField(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Slug or name of the only team it reaches.",
    )
    expires_at = UtcDateTimeField(
        required=False, allow_null=True, help_text="Without it, it does not expire."
    )
    owner = serializers.UUIDField(
        required=False, allow_null=True, help_text="Admins only: the user in whose name it acts."
    )


class ApiKeyViewSet(ContractViewSet):
    """Closed to keys themselves: a leaked one must not make others."""

    schema_tag = "api keys"
    queryset = ApiKey.objects.all()
    serializer_class = ApiKeySerializer
    not_found_error = "API key not found"
    not_found_message = "No API key found with ID: {id}"
    rights = {"list": SIGNED_IN, "create": SIGNED_IN, "destroy": SIGNED_IN}

    @extend_schema(
        responses=envelope(
            "ApiKeyList", count=serializers.IntegerField(), api_keys=ApiKeySerializer(many=True)
        )
    )
    def list(self, request: Request) -> Response:
        """One's own, newest first, the ended ones too; an admin sees everybody's."""
        keys = self.show(self.get_queryset())
        return self.answer(count=len(keys), api_keys=keys)

    @extend_schema(
        request=ApiKeyInputSerializer,
        responses={
            201: envelope(
                "CreatedApiKey",
                message=said("API key created. Keep it now: it is not shown again."),
                api_key=ApiKeySerializer(),
                key=serializers.CharField(help_text="The key itself, this one time."),
            ),
            **refusal(403, "Forbidden", "Only an admin makes keys for others."),
        },
        examples=[
            OpenApiExample(
                "A pipeline",
                {"name": "CI", "role": "user", "team": "devops", "expires_at": "2030-12-31T00:00:00Z"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """A key for oneself, with at most one's own role. Send it as `Authorization: Bearer csk_…`."""
        given = self.read(ApiKeyInputSerializer)
        key, text = create_key(
            name=given["name"],
            owner=self._owner(given),
            role=given["role"],
            team=given.get("team") or "",
            expires_at=given.get("expires_at"),
            by=self.user,
            now=self.now,
        )
        message = "API key created. Keep it now: it is not shown again."
        return self.answer(message=message, api_key=self.show(key), key=text, status=201)

    def _owner(self, given: dict[str, Any]) -> User:
        owner_id = given.get("owner")
        if owner_id is None or owner_id == self.user.pk:
            owner: User = self.user
            return owner
        found = User.objects.filter(pk=owner_id).first()
        if found is None:
            raise InvalidInput("owner must be the id of a user.", field="owner")
        return found

    @extend_schema(
        responses=envelope("RevokedApiKey", message=said("API key revoked"), api_key=ApiKeySerializer())
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Ends it at once. It stays in the list, with the time."""
        key = revoke_api_key(self.get_object(), by=self.user, now=self.now)
        return self.answer(message="API key revoked", api_key=self.show(key))
