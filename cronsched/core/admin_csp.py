"""Content-Security-Policy of the admin site: scripts of our own files only, no inline script.

unfold's Alpine evaluates the expressions in its attributes, hence 'unsafe-eval'; its templates
carry `style` elements and attributes, hence 'unsafe-inline' for styles and for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class AdminPolicyMiddleware:
    """Adds the policy to every answer below the admin site's address, its error pages included."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path.startswith(self.prefix):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    @cached_property
    def prefix(self) -> str:
        return reverse("admin:index")
