"""How the admin site shows times, durations and long text, everywhere alike.

Everything goes through `format_html`: what a person or an endpoint wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

EMPTY = "–"
# The colours of unfold's labels, by the words of `Status` and the like.
COLOURS = {
    "success": "success",
    "failed": "danger",
    "error": "danger",
    "missed": "warning",
    "warning": "warning",
    "running": "info",
    "queued": "primary",
    "info": "info",
}


def moment(value: datetime | None, *, now: datetime, seconds: bool = False) -> str:
    """A time in the scheduler's zone with how far off it is: "2025-01-15 10:30 in 5 minutes"."""
    if value is None:
        return EMPTY
    local = timezone.localtime(value)
    text = local.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return format_html(
        '<time datetime="{}" title="{}" class="whitespace-nowrap">{}</time>'
        ' <span class="text-subtle whitespace-nowrap">{}</span>',
        local.isoformat(),
        f"{text} {local.tzname()}",
        text,
        relative(value, now=now),
    )


def relative_first(value: datetime | None, *, now: datetime, is_short: bool = False) -> str:
    """How far off a time is, for reading down a list; below it, or behind it, the time and its zone."""
    if value is None:
        return EMPTY
    local = timezone.localtime(value)
    exact = f"{local:%Y-%m-%d %H:%M} {local.tzname()}"
    text = '<time datetime="{}" title="{}" class="whitespace-nowrap">{}</time>'
    below = "" if is_short else format_html(' <span class="cs-sub whitespace-nowrap">{}</span>', exact)
    return format_html(text + "{}", local.isoformat(), exact, relative(value, now=now), below)


def badge(word: str, text: Any, *, colours: Mapping[str, str] = COLOURS) -> str:
    """A coloured label; `word` is what `colours` knows. Unfold's own decorator works in lists only."""
    if not word:
        return EMPTY
    return _label(str(text), colours.get(word, "default"))


@lru_cache(maxsize=1024)
def _label(text: str, kind: str) -> str:
    """Made once: a list has hundreds, of a handful of words."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": kind})


def relative(value: datetime, *, now: datetime) -> str:
    """How far `value` is from `now`, in its largest unit."""
    if abs((value - now).total_seconds()) < 60:
        return _("less than a minute ago") if value <= now else _("in less than a minute")
    if value > now:
        return _("in %s") % timeuntil(value, now, depth=1)
    return _("%s ago") % timesince(value, now, depth=1)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return EMPTY
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def preformatted(text: str) -> str | SafeString:
    """Text as it came, with its line breaks, scrolling instead of widening the page."""
    return format_html('<pre class="cs-pre">{}</pre>', text) if text else EMPTY


def titled(text: Any, title: Any, *, classes: str = "") -> SafeString:
    return format_html('<span title="{}" class="{}">{}</span>', title, classes, text)
