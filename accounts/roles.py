"""The only place that knows what a role may do; the API and the admin site both ask here.

| action                                     | admin | user                | viewer |
| read jobs, executions, categories, teams   | yes   | yes                 | yes    |
| create jobs, upload, test-run              | yes   | yes                 | no     |
| update, delete, execute a job              | any   | own (`created_by`)  | no     |
| users, taxonomy, Slack settings, scheduler | yes   | no                  | no     |
| own notices, own preferences               | own   | own                 | own    |
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    ADMIN = "admin", _("admin")
    USER = "user", _("user")
    VIEWER = "viewer", _("viewer")


def is_admin(user: Any) -> bool:
    """Whether `user` (any user object, anonymous included) manages the installation."""
    return _role(user) == Role.ADMIN


def may_create_jobs(user: Any) -> bool:
    return _role(user) in {Role.ADMIN, Role.USER}


def may_change_job(user: Any, *, created_by_id: UUID | None) -> bool:
    """Whether `user` may update, delete or execute a job that `created_by_id` owns."""
    if is_admin(user):
        return True
    return may_create_jobs(user) and created_by_id is not None and created_by_id == user.pk


def may_manage(user: Any) -> bool:
    """Users, categories, teams, Slack settings and the scheduler."""
    return is_admin(user)


def may_view_user(user: Any, *, user_id: UUID) -> bool:
    return is_admin(user) or user.pk == user_id


def is_own(user: Any, *, user_id: UUID) -> bool:
    """Notices and the like: no role opens another person's."""
    return _role(user) is not None and user.pk == user_id


def lesser(one: str, other: str) -> str:
    """The role of the two that may less."""
    order = [Role.VIEWER.value, Role.USER.value, Role.ADMIN.value]
    return min(one, other, key=order.index)


def team_limit(user: Any) -> str:
    """The slug of the team to which whoever asks is limited (by an API key); "" for no limit."""
    return getattr(user, "key_team", None) or ""


def is_within_team(user: Any, team: str | None) -> bool:
    """Whether a job of that team (its slug, None without one) is within the limit of `user`, or of nobody."""
    limit = team_limit(user)
    return not limit or team == limit


def _role(user: Any) -> str | None:
    """None for whoever is not signed in or was deactivated: no role, no right."""
    return getattr(user, "role", None) if getattr(user, "is_active", False) else None
