"""How the OpenAPI document is drawn from the viewsets; /api/v2/openapi.json serves it.

Every operation gets its errors, with one component for all of them, so that a generated client
is typed in failure too.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from cronsched.core.api.exceptions import ERROR_NAMES

_VERBS = {
    "list": "list",
    "create": "create",
    "retrieve": "read",
    "update": "update",
    "partial_update": "update",
    "destroy": "delete",
}
ERROR_STATUSES = ("400", "401", "403", "404", "405", "406", "413", "415", "429", "500")


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error of the API."""

    error = serializers.CharField(help_text="A short type, for programs.")
    message = serializers.CharField(help_text="A sentence for a person.")
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="The fields at fault, each with its messages.",
    )


class ContractSchema(AutoSchema):
    """Operation ids are `<basename>_<action>`; a viewset may name its `schema_tag`."""

    def get_operation_id(self) -> str:
        basename = getattr(self.view, "basename", None)
        action = getattr(self.view, "action", None)
        if not basename or not action:
            return str(super().get_operation_id())
        return f"{basename}_{action}".replace("-", "_")

    def get_summary(self) -> str:
        """What a list of calls shows: "List users", "Update user", "Login form"."""
        action, resource = getattr(self.view, "action", "") or "", getattr(self.view, "basename", "") or ""
        if action in _VERBS:
            action = f"{_VERBS[action]} {resource if action == 'list' else _singular(resource)}"
        return action.replace("_", " ").replace("-", " ").capitalize()

    def get_tags(self) -> list[str]:
        tag = getattr(self.view, "schema_tag", "")
        return [tag] if tag else list(super().get_tags())

    def get_auth(self) -> list[dict[str, Any]]:
        """No security where anyone may call; the view's table of rights says so."""
        right = getattr(self.view, "right", None)
        if right is not None and right.role is None:
            return []
        return list(super().get_auth())

    def _is_list_view(self, serializer: Any = None) -> bool:
        """Lists come in envelopes, which are objects: nothing is ever a bare array."""
        return False

    def get_description(self) -> str:  # type: ignore[override]
        """The action's own docstring; a viewset's is for those who work on it."""
        action = getattr(self.view, getattr(self.view, "action", None) or "", None)
        return inspect.cleandoc(action.__doc__ or "") if action else ""

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        schema = {"type": "string", "format": "uuid"}
        return [{"name": name, "in": "path", "required": True, "schema": schema} for name in variables]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        """One serializer alone answers 200, whatever the method; others are declared by status."""
        serializer = self.get_response_serializers()
        bodies: dict[str, Any] = (
            super()._get_response_bodies(direction)
            if isinstance(serializer, dict)
            else {"200": self._answer(serializer, "200", direction)}
        )
        for status in ERROR_STATUSES:
            if status not in bodies:
                body = self._answer(ErrorSerializer, status, direction)
                bodies[status] = {**body, "description": ERROR_NAMES[int(status)]}
        return bodies

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        """A serializer's `request_schema` is added where it describes what is sent."""
        schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        return {**schema, **getattr(serializer, "request_schema", {})} if direction == "request" else schema

    def _answer(self, serializer: Any, status: str, direction: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._get_response_for_code(  # type: ignore[no-untyped-call]
            serializer, status, ["application/json"], direction
        )
        return answer


def _singular(plural: str) -> str:
    return re.sub("ies$|s$", lambda end: "y" if end[0] == "ies" else "", plural)


def envelope(name: str, **fields: Any) -> serializers.Serializer[Any]:
    """The named object that an answer is: `envelope("JobAnswer", message=..., job=JobSerializer())`."""
    return inline_serializer(name, fields)


def query(name: str, type_: Any = OpenApiTypes.STR, description: str = "", **kwargs: Any) -> OpenApiParameter:
    return OpenApiParameter(name, type_, OpenApiParameter.QUERY, description=description, **kwargs)


RANGE_PARAMETERS = [
    query("from", description="From this time on: YYYY-MM-DD, or an ISO datetime (naive is UTC)."),
    query("to", description="Before this time; a bare date includes that whole day."),
]


def page_parameters(
    *, size_name: str = "per_page", default: int = 20, maximum: int = 100
) -> list[OpenApiParameter]:
    """`page` and the page size; larger ones are clamped."""
    return [
        query("page", {"type": "integer", "minimum": 1, "default": 1}),
        query(size_name, {"type": "integer", "minimum": 1, "default": default}, f"At most {maximum}."),
    ]


def without_trailing_slash(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """spectacular's preprocessing hook: both spellings of a path are served, one is documented."""
    return [(path.rstrip("/"), regex, method, callback) for path, regex, method, callback in endpoints]
