"""No HTML ever leaves `/api/`.

The outermost middleware: whatever fails, in a view, in another middleware or before any of them
(an unknown host, a path that leads nowhere, Django's debug pages), leaves as `{error, message}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase

from cronsched.core.api.exceptions import error_body
from cronsched.core.logs import redact


class JsonErrorsMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if (
            is_api_path(request.path_info)
            and response.status_code >= 400
            and isinstance(response, HttpResponse)
        ):
            self._make_json(request, response)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Keep the view's exception for the answer; Django logs it and makes the 500."""
        request.api_exception = exception  # type: ignore[attr-defined]

    def _make_json(self, request: HttpRequest, response: HttpResponse) -> None:
        """In place: headers that inner layers have set (CORS, Allow, Retry-After) stay."""
        if response.headers.get("Content-Type", "").startswith("application/json"):
            return
        message = _exception_text(request) if response.status_code >= 500 else ""
        response.content = json.dumps(error_body(response.status_code, message), ensure_ascii=False).encode()
        response.headers["Content-Type"] = "application/json"
        if "Content-Length" in response.headers:
            response.headers["Content-Length"] = str(len(response.content))


def is_api_path(path: str) -> bool:
    return path == "/api" or path.startswith("/api/")


def _exception_text(request: HttpRequest) -> str:
    """What went wrong, only where the operator wants it told: it may hold secrets other than ours."""
    exception = getattr(request, "api_exception", None)
    if exception is None or not settings.EXPOSE_ERROR_DETAILS:
        return ""
    return redact(f"{type(exception).__name__}: {exception}", settings.KNOWN_SECRETS)
