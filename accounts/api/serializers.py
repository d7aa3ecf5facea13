"""The shapes of people and sign-ins; what the values may be is accounts.validation's."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import JOBS_TABLE_COLUMNS, User
from accounts.roles import Role
from accounts.services import UPDATABLE
from accounts.validation import EMAIL_MAX, PASSWORD_MIN, USERNAME_MAX, USERNAME_MIN
from cronsched.core.api.fields import ContractModelSerializer, ContractSerializer, FlagField, TextField
from cronsched.core.api.schema import at_least_one

_USERNAME = {
    "type": "string",
    "minLength": USERNAME_MIN,
    "maxLength": USERNAME_MAX,
    # Python's \w, in the words of ECMA 262.
    "pattern": r"^[\p{L}\p{N}_]+$",
    "description": "Letters and digits of any script, and underscores.",
    "example": "john_doe",
}
_EMAIL = {"type": "string", "format": "email", "maxLength": EMAIL_MAX, "example": "john@example.com"}
_PASSWORD = {"type": "string", "minLength": PASSWORD_MIN, "example": "secure_password"}
_ROLE = {"type": "string", "enum": list(Role.values), "example": "user"}


class _AsSent(serializers.Field[Any, Any, Any, Any]):
    """Any value but null: the service has the words for what is wrong with it."""

    def to_internal_value(self, data: Any) -> Any:
        return data


@extend_schema_field(_USERNAME)
class UsernameField(_AsSent):
    pass


@extend_schema_field(_EMAIL)
class EmailField(_AsSent):
    pass


@extend_schema_field(_PASSWORD)
class PasswordField(_AsSent):
    pass


@extend_schema_field(_ROLE)
class RoleField(_AsSent):
    pass


class UserSerializer(ContractModelSerializer):
    class Meta:
        model = User
        fields = ("id", "username", "email", "role", "is_active", "created_at", "updated_at")
        read_only_fields = fields


class LoginSerializer(ContractSerializer):
    """One of `username` and `email`; `username` may hold an address, too."""

    request_schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": ["username"]}, {"required": ["email"]}]
    }

    # A form with both fields sends the one that was left empty, too.
    username = TextField(required=False, allow_blank=True, allow_null=True, trim_whitespace=False)
    email = TextField(required=False, allow_blank=True, allow_null=True, trim_whitespace=False)
    password = TextField(trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        identifier = attrs.get("username") or attrs.get("email")
        if not identifier:
            raise serializers.ValidationError({"username": ["Send a username or an email."]})
        return {"identifier": identifier, "password": attrs["password"]}


class LoginFormSerializer(ContractSerializer):
    username = TextField(trim_whitespace=False)
    password = TextField(trim_whitespace=False)


class RefreshTokenSerializer(ContractSerializer):
    refresh_token = TextField(required=False, allow_null=True, trim_whitespace=False)


class RegisterSerializer(ContractSerializer):
    username = UsernameField()
    email = EmailField()
    password = PasswordField()
    role = RoleField(required=False)


class UserUpdateSerializer(ContractSerializer):
    # For the document only: what is sent goes to the service as it is.
    request_schema: ClassVar[dict[str, Any]] = at_least_one(*UPDATABLE)

    email = EmailField(required=False)
    password = PasswordField(required=False)
    role = RoleField(required=False, help_text="Admins only.")
    is_active = FlagField(required=False, help_text="Admins only.")


class DeletedUserSerializer(ContractModelSerializer):
    class Meta:
        model = User
        fields = ("id", "username")


class JobsTableColumnsSerializer(ContractSerializer):
    """Which columns the jobs table shows."""

    request_schema: ClassVar[dict[str, Any]] = at_least_one(*JOBS_TABLE_COLUMNS)

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        return {column: FlagField(required=False, default=on) for column, on in JOBS_TABLE_COLUMNS.items()}


class UiPreferencesSerializer(ContractSerializer):
    jobs_table_columns = JobsTableColumnsSerializer()
