"""The language and time zone that a person sees the site in: chosen, or the browser's and the scheduler's.

The API is left out: its texts are the contract's, in English, and its times are UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from cronsched.core.api.middleware import is_api_path
from cronsched.core.clock import scheduler_zone

# Areas of the zone database whose names are of places; the others are its own doubles and offsets.
_AREAS = frozenset(
    {
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    }
)


@cache
def zone_names() -> tuple[str, ...]:
    """What may be chosen: UTC, and every place that the zone database knows."""
    places = (name for name in available_timezones() if name.partition("/")[0] in _AREAS)
    return ("UTC", *sorted(name for name in places if "/" in name))


def language_of(request: HttpRequest) -> str:
    """What the user chose, or the best that their browser asks for."""
    chosen = getattr(request.user, "language", "")
    if chosen in dict(settings.LANGUAGES):
        return str(chosen)
    return translation.get_language_from_request(request)


def zone_of(user: Any) -> ZoneInfo:
    """What the user chose; the scheduler's zone where that is nothing, or not known on this machine."""
    chosen = getattr(user, "time_zone", "")
    try:
        return ZoneInfo(chosen) if chosen else scheduler_zone()
    except (ValueError, OSError, KeyError):
        return scheduler_zone()


class ViewingMiddleware:
    """Answers in the viewer's language, with times in the viewer's zone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_api_path(request.path_info):
            return self.get_response(request)
        language = language_of(request)
        with translation.override(language), timezone.override(zone_of(request.user)):
            response = self.get_response(request)
        if not request.user.is_authenticated:
            patch_vary_headers(response, ("Accept-Language",))
        response.headers.setdefault("Content-Language", language)
        return response
