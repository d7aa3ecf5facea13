"""Routes without a trailing slash that also serve the spelling with one, never by redirect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path
from rest_framework.routers import SimpleRouter


class ContractRouter(SimpleRouter):
    """A router for `ContractViewSet`s. An id is any text here: the viewset answers 404 for a bad one."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"


def route(path: str, view: Callable[..., HttpResponseBase], name: str, **kwargs: Any) -> URLPattern:
    """One path outside a router, in both spellings; `path` is a regular expression."""
    return re_path(rf"^{path}/?$", view, kwargs, name=name)
