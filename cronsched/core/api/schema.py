"""How the OpenAPI document is drawn from the viewsets; /api/v2/openapi.json serves it.

Every operation gets the errors that it can answer with, in one component, so that a generated
client is typed in failure too. What can be told from the view's rights, path and body is told
here; a refusal of its own (409, 429) is declared beside the action.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    inline_serializer,
)
from rest_framework import serializers

from cronsched.core.api.exceptions import ERROR_NAMES, InvalidPayload, error_body

if TYPE_CHECKING:
    from cronsched.core.api.viewsets import Right

EXAMPLE_ID: Final = "6f1c1f3e-3a55-4c55-9a0f-2b8f2f6f5a10"

_VERBS = {
    "list": "list",
    "create": "create",
    "retrieve": "read",
    "update": "update",
    "partial_update": "update",
    "destroy": "delete",
}
# What goes with a status, whatever the call: how to sign in, when to come back.
_ERROR_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"schema": {"type": "string", "example": 'Bearer realm="api"'}}},
    "429": {
        "Retry-After": {
            "description": "Seconds to wait.",
            "schema": {"type": "integer", "minimum": 1, "example": 60},
        }
    },
}
_BAD_NUMBER: Final = "page must be 1 or more."
_REFUSAL_WORDS: dict[int, str] = {
    401: "Authentication credentials were not provided.",
    406: "Could not satisfy the request Accept header.",
    415: 'Unsupported media type "text/plain" in request.',
    429: "Too many attempts. Try again in a minute.",
}


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
        for status in self._refusals():
            if status not in bodies:
                bodies[status] = self._answer(ErrorSerializer, status, direction)
        for status, body in bodies.items():
            if status < "400":
                body["description"] = body["description"] or HTTPStatus(int(status)).phrase
            else:
                self._finish_refusal(status, body)
        return dict(sorted(bodies.items()))

    def _refusals(self) -> list[str]:
        """The errors that follow from what the call is, in the order in which they are met."""
        right: Right | None = getattr(self.view, "right", None)
        has_body = self._has_body()
        has_query = any(one["in"] == "query" for one in self._get_parameters())
        may = {
            "406": getattr(self.view, "negotiates", True),
            "401": right is None or right.role is not None,
            "403": right is not None and right.excludes_someone,
            "404": "{" in self.path,
            "413": has_body,
            "415": has_body,
            "400": has_body or has_query,
            "500": True,
        }
        return [status for status, is_met in may.items() if is_met]

    def _has_body(self) -> bool:
        return self.method in {"POST", "PUT", "PATCH"} and bool(self.get_request_serializer())

    def _finish_refusal(self, status: str, body: dict[str, Any]) -> None:
        """Its name, its headers, and an example in the very words of this call."""
        body["description"] = ERROR_NAMES[int(status)]
        if status in _ERROR_HEADERS:
            body["headers"] = _ERROR_HEADERS[status]
        media = body["content"]["application/json"]
        if "examples" not in media and media["schema"] == {"$ref": "#/components/schemas/Error"}:
            media["example"] = self._refusal_example(int(status))

    def _refusal_example(self, status: int) -> dict[str, Any]:
        view: Any = self.view
        right: Right | None = getattr(view, "right", None)
        if status == 404:
            message = view.not_found_message.format(id=EXAMPLE_ID)
            return error_body(404, message, error=view.not_found_error)
        if status == 403 and right is not None:
            is_owned = right.owner is not None
            words = right.message if is_owned else "Your role (viewer) does not allow this."
            return error_body(403, words, error=right.error)
        if status == 400 and self._has_body():
            return error_body(400, "The body must be a JSON object.", error=InvalidPayload.error)
        if status == 400:
            return error_body(400, _BAD_NUMBER, error="Validation error", details={"page": [_BAD_NUMBER]})
        return error_body(status, _REFUSAL_WORDS.get(status, ""))

    def _get_request_body(self, direction: Any = "request") -> Any:
        """A body that must hold something must be sent."""
        body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body and getattr(self.get_request_serializer(), "request_schema", None):
            body["required"] = True
        return body

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
    """The named object that an answer is: `envelope("JobAnswer", message=..., job=JobSerializer())`.

    Each field becomes its own: one instance under two names would be drawn under the last of them.
    """
    return inline_serializer(name, {key: copy.deepcopy(field) for key, field in fields.items()})


class said(serializers.CharField):
    """A text of an envelope, with the words that it usually holds: `message=said("Job created")`."""

    def __init__(self, words: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words


class _SaidSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = said

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "example": self.target.words}


def refusal(status: int, error: str, message: str, *, field: str = "") -> dict[int, OpenApiResponse]:
    """For `responses`: a refusal that only this call has, or its own words for a usual one."""
    body = error_body(status, message, error=error, details={field: [message]} if field else None)
    example = OpenApiExample(error, body, response_only=True, status_codes=[str(status)])
    return {status: OpenApiResponse(ErrorSerializer, examples=[example])}


def query(name: str, type_: Any = OpenApiTypes.STR, description: str = "", **kwargs: Any) -> OpenApiParameter:
    return OpenApiParameter(name, type_, OpenApiParameter.QUERY, description=description, **kwargs)


def words(name: str, choices: Sequence[str]) -> OpenApiParameter:
    """One or more of `choices`, comma-separated."""
    word = "|".join(map(re.escape, choices))
    schema = {"type": "string", "pattern": f"^({word})(,({word}))*$", "example": choices[-1]}
    return query(name, schema, f"One or more of {', '.join(choices)}, comma-separated.")


def at_least_one(*fields: str) -> dict[str, Any]:
    """For `request_schema`: a partial update changes something."""
    return {"anyOf": [{"required": [field]} for field in fields]}


_MOMENT = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
RANGE_PARAMETERS = [
    query("from", _MOMENT, "From this time on: YYYY-MM-DD, or an ISO datetime (naive is UTC)."),
    query("to", _MOMENT, "Before this time; a bare date includes that whole day."),
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
