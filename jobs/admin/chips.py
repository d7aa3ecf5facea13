"""Questions that people ask of the history, as links: "what failed last night", then a team."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from cronsched.core.admin_chips import Chip
from jobs.admin.filters import GROUP_LABELS, PERIODS, PROBLEM, TEAM
from jobs.choices import Status
from jobs.models import Job
from taxonomy.models import PicTeam

WHEN, STATUS = "when", "status__exact"
# With more there is a field that narrows them, and they keep to a part of the window.
TEAMS_PLAIN = 12
# A range of one's own, and the place in the list: gone when another period is chosen.
_RANGE = tuple(f"started_at_{side}_{part}" for side in ("from", "to") for part in (0, 1))
_PLACE = ("p", "e", "all")


def chips(query: QueryDict, *, user: Any) -> list[dict[str, Any]]:
    """Groups of links that keep the other filters; a chosen one, followed again, is taken away."""
    teams = [_chip(query, TEAM, str(key), name) for key, name in _teams(query, user)]
    return [
        {"title": _("Often asked"), "chips": [_failed_last_night(query)]},
        {
            "title": _("When"),
            "chips": [_chip(query, WHEN, key, label) for key, (label, _of) in PERIODS.items()],
        },
        {"title": _("Result"), "chips": [_chip(query, STATUS, key, label) for key, label in _results()]},
        {"title": _("Team"), "chips": teams, "is_long": len(teams) > TEAMS_PLAIN},
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
    return [*GROUP_LABELS, *((status.value, status.label) for status in single)]


def _teams(query: QueryDict, user: Any) -> list[tuple[Any, str]]:
    """The active teams and the chosen one; where they are many, it and those of one's own jobs come first."""
    teams = [
        (key, name)
        for key, name, is_active in PicTeam.objects.values_list("pk", "name", "is_active")
        if is_active or str(key) == query.get(TEAM)
    ]
    if len(teams) <= TEAMS_PLAIN:
        return teams
    own_jobs = Job.objects.filter(created_by=user.pk).order_by()
    own = set(own_jobs.values_list("pic_team_id", flat=True).distinct())
    return sorted(teams, key=lambda team: (str(team[0]) != query.get(TEAM), team[0] not in own))
