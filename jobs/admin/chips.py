"""Questions that people ask of the history, as links: "what failed last night", then a team."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from cronsched.core.admin_chips import Chip
from jobs.admin.filters import PERIODS, PROBLEM
from jobs.choices import Status
from taxonomy.models import PicTeam

WHEN, STATUS, TEAM = "when", "status__exact", "job__pic_team__id__exact"
# With more, a row of links is harder to read than the list in the filters.
TEAMS_SHOWN = 12
# A range of one's own, and the place in the list: gone when another period is chosen.
_RANGE = tuple(f"started_at_{side}_{part}" for side in ("from", "to") for part in (0, 1))
_PLACE = ("p", "e", "all")


def chips(query: QueryDict) -> list[dict[str, Any]]:
    """Groups of links that keep the other filters; a chosen one, followed again, is taken away."""
    return [
        {"title": _("Often asked"), "chips": [_failed_last_night(query)]},
        {
            "title": _("When"),
            "chips": [_chip(query, WHEN, key, label) for key, (label, _of) in PERIODS.items()],
        },
        {"title": _("Result"), "chips": [_chip(query, STATUS, key, label) for key, label in _results()]},
        {"title": _("Team"), "chips": [_chip(query, TEAM, str(key), name) for key, name in _teams(query)]},
    ]


def _failed_last_night(query: QueryDict) -> Chip:
    is_chosen = query.get(WHEN) == "night" and query.get(STATUS) == PROBLEM
    wanted = {WHEN: "" if is_chosen else "night", STATUS: "" if is_chosen else PROBLEM}
    return Chip(label=_("Failed last night"), query=_with(query, wanted), is_chosen=is_chosen)


def _chip(query: QueryDict, name: str, value: str, label: Any) -> Chip:
    is_chosen = query.get(name) == value
    return Chip(label=str(label), query=_with(query, {name: "" if is_chosen else value}), is_chosen=is_chosen)


def _with(query: QueryDict, values: dict[str, str]) -> str:
    changed = query.copy()
    for name in (*_PLACE, *(_RANGE if WHEN in values else ())):
        changed.pop(name, None)
    for name, value in values.items():
        changed.pop(name, None)
        if value:
            changed[name] = value
    return changed.urlencode()


def _results() -> list[tuple[str, Any]]:
    single = (Status.FAILED, Status.MISSED, Status.RUNNING, Status.QUEUED, Status.SUCCESS)
    return [(PROBLEM, _("failed or missed")), *((status.value, status.label) for status in single)]


def _teams(query: QueryDict) -> list[tuple[Any, str]]:
    """The active teams; with many of them only the one that was chosen in the filters."""
    teams = list(PicTeam.objects.active().values_list("pk", "name")[: TEAMS_SHOWN + 1])
    if len(teams) <= TEAMS_SHOWN:
        return teams
    return [
        (key, name) for key, name in PicTeam.objects.values_list("pk", "name") if str(key) == query.get(TEAM)
    ]
