"""API keys: what a program signs in with, in its owner's name.

A key is `csk_` and 48 random characters. It is shown once; kept are its first characters, for people, and its
SHA-256, by which it is found. It may at most what its owner may at the moment of the request, and dies with
their account. Guessing is not slowed down: there is nothing to guess among 2^256.

What a key never may, whatever its role: see `cronsched.core.api.viewsets.Keys`.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, transaction
from django.db.models import Q
from rest_framework.exceptions import AuthenticationFailed

from accounts.audit import Changes, record
from accounts.choices import AuditAction, AuditKind
from accounts.models import ApiKey, User
from accounts.roles import Role, is_admin, lesser
from accounts.validation import clean_role
from cronsched.core.db import locked, retry_conflicts
from cronsched.core.errors import Forbidden, InvalidInput
from cronsched.core.text import clean_name, is_readable_line, is_storable

logger = logging.getLogger(__name__)

KEY_MARK: Final = "csk_"
DEFAULT_ROLE: Final = Role.VIEWER.value
NAME_MAX: Final = 100
# 36 bytes are 48 characters of URL-safe base64.
_SECRET_BYTES: Final = 36
_PREFIX_LENGTH: Final = len(KEY_MARK) + 8
_USED_EVERY: Final = timedelta(minutes=1)


@retry_conflicts
@transaction.atomic
def create_api_key(
    *,
    name: str,
    owner: User,
    role: str,
    by: User,
    now: datetime,
    via: str = "api",
    team: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key of `owner`, and its text, which nobody can show again. `team`: the slug of one that exists.

    People make keys for themselves, admins for anyone; none with more rights than its owner has.
    """
    if by.pk != owner.pk and not is_admin(by):
        raise Forbidden("Only an admin makes keys for others.")
    errors = _faults(name, owner, role, expires_at, now)
    if errors:
        raise InvalidInput(" ".join(errors.values()), details={key: [text] for key, text in errors.items()})
    text = f"{KEY_MARK}{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = ApiKey.objects.create(
        owner=owner,
        name=clean_name(name),
        prefix=text[:_PREFIX_LENGTH],
        secret_hash=_hash(text),
        role=role,
        team=team,
        expires_at=expires_at,
        created_at=now,
    )
    kept = {"role": role, "team": team, "expires_at": expires_at.isoformat() if expires_at else None}
    changes = {name: (None, value) for name, value in kept.items() if value}
    _record(key, AuditAction.CREATED, changes, by=by, now=now, via=via)
    return key, text


@retry_conflicts
@transaction.atomic
def revoke_api_key(key: ApiKey, *, by: User, now: datetime, via: str = "api") -> ApiKey:
    """End a key at once; one that is ended already stays as it is. The row stays, for the history."""
    current: ApiKey = locked(ApiKey.objects.filter(pk=key.pk)).get()
    if current.revoked_at is None:
        current.revoked_at = now
        current.save(update_fields=["revoked_at"])
        _record(current, AuditAction.REVOKED, {}, by=by, now=now, via=via)
    return current


def move_team(*, old: str, new: str) -> None:
    """A team's slug has moved: its keys follow."""
    ApiKey.objects.filter(team=old).update(team=new)


def user_of_key(text: str, *, now: datetime) -> tuple[User, ApiKey]:
    """The key's owner with the key's rights, for one request. AuthenticationFailed for a key that is none.

    One query; once a minute another that notes the use.
    """
    key = ApiKey.objects.select_related("owner").filter(secret_hash=_hash(text)).first()
    if key is None or not key.owner.is_active:
        raise AuthenticationFailed("The API key is not valid.")
    if key.revoked_at is not None:
        raise AuthenticationFailed("The API key was revoked.")
    if key.expires_at is not None and key.expires_at <= now:
        raise AuthenticationFailed("The API key has expired.")
    _note_use(key, now)
    user = key.owner
    user.role = lesser(user.role, key.role)
    user.key_prefix, user.key_team = key.prefix, key.team
    return user, key


def _note_use(key: ApiKey, now: datetime) -> None:
    """Write down when it was used, at most once a minute; a busy database must not cost the request."""
    limit = now - _USED_EVERY
    if key.last_used_at is not None and key.last_used_at > limit:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=limit)
    try:
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
    except DatabaseError:
        logger.warning("api key: its use could not be noted key=%s", key.prefix)


def _faults(name: str, owner: User, role: str, expires_at: datetime | None, now: datetime) -> dict[str, str]:
    errors = {}
    clean = clean_name(name)
    if not 1 <= len(clean) <= NAME_MAX or not is_storable(clean) or not is_readable_line(clean):
        errors["name"] = f"name must have 1 to {NAME_MAX} characters, on one line."
    try:
        if lesser(clean_role(role), owner.role) != role:
            errors["role"] = f"role cannot be more than {owner.username}'s own, which is {owner.role}."
    except ValueError as error:
        errors["role"] = str(error)
    if not owner.is_active:
        errors["owner"] = f"{owner.username} is deactivated and cannot have keys."
    if expires_at is not None and expires_at <= now:
        errors["expires_at"] = "expires_at must be in the future."
    return errors


def _record(
    key: ApiKey,
    action: AuditAction,
    changes: Changes,
    *,
    by: User,
    now: datetime,
    via: str,
) -> None:
    name = f"{key.owner.username}: {key}"
    record(
        kind=AuditKind.API_KEY,
        object_id=key.pk,
        name=name,
        action=action,
        changes=changes,
        by=by,
        now=now,
        via=via,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
