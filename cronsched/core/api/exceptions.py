"""The one place where a refusal becomes an answer: `{error, message, details?}`, whatever raised it.

What is not a refusal (a bug, a lost database) is not caught here: it passes on to Django, which
logs it, and `JsonErrorsMiddleware` gives the 500 its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from cronsched.core.errors import DomainError, InvalidInput, Throttled

# Every status that the API may answer with, and the short type for those without their own.
ERROR_NAMES: Mapping[int, str] = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "Conflict",
    413: "Payload too large",
    415: "Unsupported media type",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}
ERROR_MESSAGES: Mapping[int, str] = {
    400: "The request could not be understood.",
    403: "You may not do this.",
    404: "There is nothing at this address.",
    413: "The request is larger than this server accepts.",
    500: "Something went wrong on the server. It was logged; please try again, or tell an admin.",
}
NON_FIELD = "non_field_errors"


class InvalidPayload(InvalidInput):
    """A body that is not JSON, not an object, or holds what JSON cannot carry."""

    error = "Invalid payload"


def error_body(
    status: int,
    message: str = "",
    *,
    error: str = "",
    details: Mapping[str, list[str]] | None = None,
) -> dict[str, Any]:
    """The JSON of an error; what is left out is taken from the tables above."""
    name = error or ERROR_NAMES.get(status, ERROR_NAMES[400 if status < 500 else 500])
    body: dict[str, Any] = {"error": name, "message": message or ERROR_MESSAGES.get(status, f"{name}.")}
    if details:
        body["details"] = dict(details)
    return body


def handle_exception(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. None lets the exception pass on, to be logged and answered with 500."""
    if isinstance(exc, DomainError):
        return _domain_error(exc)
    if isinstance(exc, exceptions.APIException):
        return _api_exception(exc)
    if isinstance(exc, ModelValidationError):
        return _invalid(_model_details(exc))
    for kind, status in _DJANGO_REFUSALS:
        if isinstance(exc, kind):
            return Response(error_body(status), status=status)
    return None


_DJANGO_REFUSALS: tuple[tuple[type[Exception], int], ...] = (
    (Http404, 404),
    (PermissionDenied, 403),
    (RequestDataTooBig, 413),
    (SuspiciousOperation, 400),
    (BadRequest, 400),
)


def _domain_error(exc: DomainError) -> Response:
    headers: dict[str, str] = {}
    if exc.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="api"'
    if isinstance(exc, Throttled):
        headers["Retry-After"] = str(exc.retry_after_s)
    body = error_body(exc.status, exc.message, error=exc.error, details=exc.details)
    return Response(body, status=exc.status, headers=headers)


def _api_exception(exc: exceptions.APIException) -> Response:
    if isinstance(exc, exceptions.ValidationError):
        return _invalid(dict(_flatten(exc.detail)))
    headers: dict[str, str] = {}
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    error = InvalidPayload.error if isinstance(exc, exceptions.ParseError) else ""
    message = exc.detail if isinstance(exc.detail, str) else ""
    return Response(error_body(exc.status_code, str(message), error=error), exc.status_code, headers=headers)


def _invalid(details: dict[str, list[str]]) -> Response:
    """A 400 that names each field; the message is the first of them, as a sentence."""
    field, messages = next(iter(details.items()), ("", [ERROR_MESSAGES[400]]))
    message = messages[0] if field in {"", NON_FIELD} else f"{field}: {messages[0]}"
    return Response(error_body(400, message, error=InvalidInput.error, details=details), status=400)


def _flatten(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """DRF's nested errors as (`emails.2`, messages) pairs."""
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(detail, list) and any(isinstance(item, Mapping | list) for item in detail):
        for index, inner in enumerate(detail):
            if inner:
                yield from _flatten(inner, f"{path}.{index}" if path else str(index))
    else:
        items = detail if isinstance(detail, list) else [detail]
        yield path or NON_FIELD, [str(item) for item in items]


def _model_details(exc: ModelValidationError) -> dict[str, list[str]]:
    if hasattr(exc, "error_dict"):
        return {field: list(messages) for field, messages in exc.message_dict.items()}
    return {NON_FIELD: list(exc.messages)}
