"""The API's documents: /api/v2/openapi.json, Swagger UI at /docs, ReDoc at /redoc.

Nothing here asks another host for anything. Swagger UI is told not to consult its validator;
ReDoc's bundle, which fetches a logo from its makers, is served with the logo's address taken out;
and the pages' Content-Security-Policy forbids whatever a later version may think of.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe
from django.views.generic import TemplateView
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request

from cronsched.core.api.viewsets import ANYONE, ContractViewSet

REDOC_BUNDLE = "drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"
_NO_IMAGE = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_OUTSIDE_IMAGE = re.compile(rb"https://cdn\.redoc\.ly/[\w./-]+")
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class OpenApiViewSet(ContractViewSet):
    schema_tag = "documents"
    rights = {"document": ANYONE}

    @extend_schema(
        responses=OpenApiTypes.OBJECT,
        examples=[OpenApiExample("Its beginning", {"openapi": "3.0.3", "paths": {}}, response_only=True)],
    )
    def document(self, request: Request) -> HttpResponse:
        """This document: OpenAPI 3 of every call."""
        return HttpResponse(_document(), content_type="application/json")


class DocumentView(TemplateView):
    """A page that may load and ask only what this server has."""

    http_method_names = ["get", "head", "options"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response


@require_safe
def redoc_bundle(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(_redoc_without_outside_images(), content_type="text/javascript; charset=utf-8")
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@cache
def _document() -> bytes:
    """Drawn once per process: the paths do not change while it runs."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return bytes(OpenApiJsonRenderer().render(document, renderer_context={}))


@cache
def _redoc_without_outside_images() -> bytes:
    path = Path(str(finders.find(REDOC_BUNDLE)))
    return _OUTSIDE_IMAGE.sub(_NO_IMAGE, path.read_bytes())
