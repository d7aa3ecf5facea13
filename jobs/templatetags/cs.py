"""How templates of the admin site show what Python code shows by `cronsched.core.admin_display`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext

from cronsched.core.admin_display import EMPTY, badge, duration, relative
from jobs.choices import Status

register = template.Library()
SECONDS_SHOWN = 100
register.filter("duration", duration)


@register.simple_tag
def status_badge(status: str) -> str:
    return badge(status, Status(status).label)


@register.simple_tag
def ago(moment: datetime | None, now: datetime) -> str:
    """How far off: "5 minutes ago", with the exact time for who points at it."""
    if moment is None:
        return EMPTY
    return _time(moment, relative(moment, now=now))


@register.simple_tag
def seconds_ago(moment: datetime, now: datetime) -> str:
    """To the second while that is little: "4 s ago"."""
    seconds = (now - moment).total_seconds()
    if not 0 <= seconds < SECONDS_SHOWN:
        return ago(moment, now)
    return _time(moment, gettext("%d s ago") % seconds)


@register.simple_tag
def clock_time(moment: datetime, now: datetime) -> str:
    """ "21:30" today, "Tue 21:30" on another day; in the viewer's zone."""
    local = timezone.localtime(moment)
    is_today = local.date() == timezone.localtime(now).date()
    return _time(moment, f"{local:%H:%M}" if is_today else date_format(local, "D H:i"))


def _time(moment: datetime, text: Any) -> str:
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}",
        text,
    )


@register.simple_tag
def zone_time(moment: datetime) -> str:
    """In the time's own zone, with the day of the week: "Mon 2026-03-09 09:00 EDT"."""
    text = f"{date_format(moment, 'D')} {moment:%Y-%m-%d %H:%M %Z}"
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), text)
