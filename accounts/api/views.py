"""/auth: signing in and out, and the people of the installation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.exceptions import TokenError

from accounts import services
from accounts.api.serializers import (
    DeletedUserSerializer,
    LoginFormSerializer,
    LoginSerializer,
    RefreshTokenSerializer,
    RegisterSerializer,
    UiPreferencesSerializer,
    UserSerializer,
    UserUpdateSerializer,
)
from accounts.login import sign_in
from accounts.models import User
from accounts.roles import may_manage, may_view_user
from accounts.tokens import TokenPair, bearer_token, issue_tokens, revoke_refresh, user_of_refresh
from cronsched.core.api.address import client_address
from cronsched.core.api.parsers import StrictFormParser, StrictMultiPartParser
from cronsched.core.api.schema import envelope, refusal, said
from cronsched.core.api.viewsets import ANYONE, SIGNED_IN, ContractViewSet, Keys, Right
from cronsched.core.errors import Forbidden, InvalidInput

ADMIN = Right(role=may_manage)
INVALID_REFRESH = "The refresh token is missing or not valid: sign in again."
# Fields of a user that only an admin may change.
ADMIN_FIELDS = ("role", "is_active")


def _self_or_admin(error: str, message: str) -> Right:
    return Right(
        role=SIGNED_IN.role,
        owner=lambda user, found: may_view_user(user, user_id=found.pk),
        error=error,
        message=message,
    )


_TOKENS = {"access_token": serializers.CharField(), "refresh_token": serializers.CharField()}
_UI_PREFERENCES = envelope("UiPreferencesAnswer", preferences=UiPreferencesSerializer())
_REFUSED_SIGN_INS = {
    **refusal(401, "Invalid credentials", "Invalid email/username or password"),
    **refusal(429, "Too many requests", "Too many failed sign-ins. Try again in 15 minutes."),
}
_EMAIL_TAKEN = refusal(
    409, "Email already exists", "Another account already has the address john@example.com.", field="email"
)


class AuthViewSet(ContractViewSet):
    """Tokens: got by password, kept by refreshing, ended by signing out."""

    schema_tag = "auth"
    serializer_class = UserSerializer
    keys = {"verify": Keys.ALL, "me": Keys.ALL}
    rights = {
        "login": ANYONE,
        "login_form": ANYONE,
        "refresh": ANYONE,
        "logout": SIGNED_IN,
        "verify": SIGNED_IN,
        "me": SIGNED_IN,
        "register": ADMIN,
    }

    @extend_schema(
        request=LoginSerializer,
        responses={
            200: envelope("Login", message=said("Login successful"), **_TOKENS, user=UserSerializer()),
            **_REFUSED_SIGN_INS,
        },
    )
    @action(detail=False, methods=["post"])
    def login(self, request: Request) -> Response:
        user, tokens = self._sign_in(**self.read(LoginSerializer))
        return self.answer(message="Login successful", **_texts(tokens), user=self.show(user))

    @extend_schema(
        request=LoginFormSerializer,
        responses={200: envelope("FormLogin", **_TOKENS, token_type=said("bearer")), **_REFUSED_SIGN_INS},
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="login/form",
        parser_classes=[StrictFormParser, StrictMultiPartParser],
    )
    def login_form(self, request: Request) -> Response:
        form = self.read(LoginFormSerializer)
        _, tokens = self._sign_in(identifier=form["username"], password=form["password"])
        return self.answer(**_texts(tokens), token_type="bearer")  # noqa: S106 - a kind, no secret

    @extend_schema(
        request=RefreshTokenSerializer,
        responses={
            200: envelope("TokenPair", **_TOKENS),
            **refusal(401, "Unauthorized", INVALID_REFRESH),
        },
    )
    @action(detail=False, methods=["post"])
    def refresh(self, request: Request) -> Response:
        """The refresh token comes in the body, or as the Bearer token. The old one stays good."""
        text = self.read(RefreshTokenSerializer).get("refresh_token") or bearer_token(request)
        try:
            user = user_of_refresh(text or "")
        except TokenError:
            raise AuthenticationFailed(INVALID_REFRESH) from None
        return self.answer(**_texts(issue_tokens(user, now=self.now)))

    @extend_schema(
        request=RefreshTokenSerializer,
        responses=envelope("LoggedOut", message=said("Logged out successfully")),
    )
    @action(detail=False, methods=["post"])
    def logout(self, request: Request) -> Response:
        """Ends the caller's refresh token that is sent along; access tokens end by themselves."""
        text = self.read(RefreshTokenSerializer).get("refresh_token")
        if text:
            revoke_refresh(text, owner=self.user)
        return self.answer(message="Logged out successfully")

    @extend_schema(responses=envelope("Verified", valid=serializers.BooleanField(), user=UserSerializer()))
    @action(detail=False, methods=["get"])
    def verify(self, request: Request) -> Response:
        return self.answer(valid=True, user=self.show(self.user))

    @extend_schema(responses=UserSerializer)
    @action(detail=False, methods=["get"])
    def me(self, request: Request) -> Response:
        return Response(self.show(self.user))

    @extend_schema(
        request=RegisterSerializer,
        responses={
            201: envelope(
                "RegisteredUser", message=said("User registered successfully"), user=UserSerializer()
            ),
            **_EMAIL_TAKEN,
        },
    )
    @action(detail=False, methods=["post"])
    def register(self, request: Request) -> Response:
        user = services.register_user(**self.read(RegisterSerializer), by=self.user, now=self.now)
        return self.answer(message="User registered successfully", user=self.show(user), status=201)

    def _sign_in(self, *, identifier: str, password: str) -> tuple[User, TokenPair]:
        address = client_address(self.request)
        user = sign_in(identifier=identifier, password=password, address=address, now=self.now)
        return user, issue_tokens(user, now=self.now)


class UserViewSet(ContractViewSet):
    schema_tag = "users"
    queryset = User.objects.all()
    serializer_class = UserSerializer
    not_found_error = "User not found"
    not_found_message = "No user found with ID: {id}"
    rights = {
        "list": ADMIN,
        "retrieve": _self_or_admin(
            "Forbidden. You can only view your own profile.", "Only an admin may view other users."
        ),
        "update": _self_or_admin(
            "Forbidden. You can only update your own profile.", "Only an admin may update other users."
        ),
        "destroy": ADMIN,
        "ui_preferences": _self_or_admin("Forbidden", "You can only view your own preferences."),
        "update_ui_preferences": _self_or_admin("Forbidden", "You can only update your own preferences."),
    }

    @extend_schema(
        responses=envelope("UserList", count=serializers.IntegerField(), users=UserSerializer(many=True))
    )
    def list(self, request: Request) -> Response:
        users = self.show(self.get_queryset())
        return self.answer(count=len(users), users=users)

    @extend_schema(responses=envelope("OneUser", user=UserSerializer()))
    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answer(user=self.show(self.get_object()))

    @extend_schema(
        request=UserUpdateSerializer,
        responses={
            200: envelope(
                "UpdatedUser",
                message=said("User updated successfully"),
                updated_fields=serializers.ListField(child=serializers.ChoiceField(services.UPDATABLE)),
                user=UserSerializer(),
            ),
            **_EMAIL_TAKEN,
        },
    )
    def update(self, request: Request, pk: str) -> Response:
        user = self.get_object()
        if not may_manage(self.user) and any(field in self.body for field in ADMIN_FIELDS):
            raise Forbidden("Only an admin may change role or is_active.")
        update = services.update_user(user, changes=self.body, by=self.user, now=self.now)
        return self.answer(
            message="User updated successfully",
            updated_fields=update.updated_fields,
            user=self.show(update.user),
        )

    @extend_schema(
        responses={
            200: envelope(
                "DeletedUserAnswer",
                message=said("User deleted successfully"),
                deleted_user=DeletedUserSerializer(),
            ),
            **refusal(400, "Cannot delete your own account", "Ask another admin to do it."),
        }
    )
    def destroy(self, request: Request, pk: str) -> Response:
        user = self.get_object()
        deleted = self.show(user, DeletedUserSerializer)
        services.delete_user(user, by=self.user, now=self.now)
        return self.answer(message="User deleted successfully", deleted_user=deleted)

    @extend_schema(responses=_UI_PREFERENCES)
    @action(detail=True, methods=["get"], url_path="ui-preferences")
    def ui_preferences(self, request: Request, pk: str) -> Response:
        return self._columns(services.jobs_table_columns(self.get_object()))

    @extend_schema(
        request=UiPreferencesSerializer,
        responses=_UI_PREFERENCES,
    )
    @ui_preferences.mapping.put
    def update_ui_preferences(self, request: Request, pk: str) -> Response:
        user = self.get_object()
        columns = self.body.get("jobs_table_columns")
        if not isinstance(columns, Mapping):
            raise InvalidInput(
                "jobs_table_columns must be an object of column: true or false.", field="jobs_table_columns"
            )
        return self._columns(services.update_jobs_table_columns(user, columns=columns))

    def _columns(self, columns: dict[str, bool]) -> Response:
        return self.answer(preferences={"jobs_table_columns": columns})


def _texts(tokens: TokenPair) -> dict[str, Any]:
    return {"access_token": tokens.access, "refresh_token": tokens.refresh}
