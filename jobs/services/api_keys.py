"""API keys as far as jobs are concerned: the team that one is limited to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from accounts import api_keys
from accounts.models import ApiKey, User
from taxonomy.models import PicTeam
from taxonomy.services import resolve_team


def create_key(
    *,
    name: str,
    owner: User,
    role: str,
    team: str,
    expires_at: datetime | None,
    by: User,
    now: datetime,
    via: str = "api",
) -> tuple[ApiKey, str]:
    """A new key and its text. `team` is the slug or name of an active team, or ""."""
    slug = resolve_team(team).slug if team else ""
    return api_keys.create_api_key(
        name=name, owner=owner, role=role, team=slug, expires_at=expires_at, by=by, now=now, via=via
    )


def follow_team(sender: type, changes: dict[str, tuple[Any, Any]], **kwargs: Any) -> None:
    """A renamed team has another slug; the keys limited to it go with it. Connected to taxon_changed."""
    if sender is PicTeam and "slug" in changes:
        old, new = changes["slug"]
        if old:
            api_keys.move_team(old=old, new=new)
