"""What can be done to people, and the rules of it, for the API, the admin site and the commands.

Who may do what is the caller's to ask of accounts.roles; what must never happen (the last active
admin gone, two users with one name) is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import audit
from accounts.choices import AuditAction, AuditKind
from accounts.models import JOBS_TABLE_COLUMNS, UiPreferences, User
from accounts.roles import Role
from accounts.signals import user_changed
from accounts.validation import clean_fields
from accounts.viewing import zone_names
from cronsched.core.db import is_duplicate, locked, retry_conflicts
from cronsched.core.errors import Conflict, InvalidInput, NotFound
from cronsched.core.signals import tell
from cronsched.core.text import name_key

LAST_ADMIN = "This is the last active admin: make somebody else an admin first."
# What update_user knows how to change, in the order in which answers list it.
UPDATABLE = ("email", "password", "role", "is_active")


@dataclass(frozen=True, kw_only=True)
class UserUpdate:
    user: User
    updated_fields: list[str]


@retry_conflicts
@transaction.atomic
def register_user(
    *,
    username: str,
    email: str,
    password: str,
    role: str = Role.VIEWER,
    by: User | None,
    now: datetime,
    via: str = "api",
) -> User:
    """A new active user. InvalidInput names each bad field; Conflict where the name or address is taken."""
    clean = clean_fields({"username": username, "email": email, "password": password, "role": role})
    _refuse_taken(username=clean["username"], email=clean["email"])
    user = User(username=clean["username"], email=clean["email"], role=clean["role"])
    user.set_password(clean["password"])
    _save(user)
    _tell("created", user, by, now, via=via)
    return user


@retry_conflicts
@transaction.atomic
def update_user(
    user: User, *, changes: Mapping[str, Any], by: User | None, now: datetime, via: str = "api"
) -> UserUpdate:
    """Set what `changes` names of UPDATABLE; other keys are ignored, and none at all is refused."""
    known = {field: changes[field] for field in UPDATABLE if field in changes}
    if not known:
        raise InvalidInput(
            f"Send at least one of: {', '.join(UPDATABLE)}.", error="No valid fields to update"
        )
    clean = clean_fields(known)
    current = _lock(user)
    before = {field: getattr(current, field) for field in clean}
    if not _is_active_admin(clean.get("role", current.role), clean.get("is_active", current.is_active)):
        _refuse_last_admin(current)
    if "email" in clean:
        _refuse_taken(email=clean["email"], except_for=current)
    _apply(current, clean, now)
    changed = {field: (before[field], clean[field]) for field in clean if before[field] != clean[field]}
    _tell("updated", current, by, now, changed, via=via)
    return UserUpdate(user=current, updated_fields=list(known))


def change_password(user: User, *, password: str, by: User | None, now: datetime, via: str = "api") -> User:
    """A new password; every token issued before it ends."""
    return update_user(user, changes={"password": password}, by=by, now=now, via=via).user


@retry_conflicts
@transaction.atomic
def delete_user(user: User, *, by: User | None, now: datetime, via: str = "api") -> None:
    """Remove the user; their jobs stay, without an owner."""
    if by is not None and by.pk == user.pk:
        raise InvalidInput("Ask another admin to do it.", error="Cannot delete your own account")
    current = _lock(user)
    _refuse_last_admin(current)
    _tell("deleted", current, by, now, via=via)
    current.delete()


@retry_conflicts
@transaction.atomic
def ensure_admin(*, username: str, email: str, password: str | None, now: datetime) -> tuple[User, bool]:
    """The user of that name as an active admin, and whether they were created.

    Somebody who is there is promoted, gets that address, and keeps their password where none is
    given; a new user needs one.
    """
    user = User.objects.filter(username_key=name_key(username)).first()
    if user is None:
        created = register_user(
            username=username,
            email=email,
            password=password or "",
            role=Role.ADMIN,
            by=None,
            now=now,
            via="command",
        )
        return created, True
    changes: dict[str, Any] = {"role": Role.ADMIN.value, "is_active": True, "email": email}
    if password is not None:
        changes["password"] = password
    return update_user(user, changes=changes, by=None, now=now, via="command").user, False


def jobs_table_columns(user: User) -> dict[str, bool]:
    """Which columns `user` sees: their own choice over the defaults."""
    stored = UiPreferences.objects.filter(user=user).first()
    chosen = stored.jobs_table_columns if stored else {}
    return {column: bool(chosen.get(column, default)) for column, default in JOBS_TABLE_COLUMNS.items()}


@retry_conflicts
@transaction.atomic
def update_jobs_table_columns(user: User, *, columns: Mapping[str, Any]) -> dict[str, bool]:
    """Change the columns that `columns` names; unknown ones are dropped, nothing but those is refused."""
    field = "jobs_table_columns"
    known = {column: columns[column] for column in JOBS_TABLE_COLUMNS if column in columns}
    if not known:
        raise InvalidInput(
            f"{field} must name at least one of: {', '.join(JOBS_TABLE_COLUMNS)}.", field=field
        )
    for column, value in known.items():
        if not isinstance(value, bool):
            raise InvalidInput(f"{field}: {column} must be true or false.", field=field)
    preferences, _ = UiPreferences.objects.get_or_create(user=user)
    row = locked(UiPreferences.objects.filter(pk=preferences.pk)).get()
    row.jobs_table_columns = {**row.jobs_table_columns, **known}
    row.save(update_fields=["jobs_table_columns", "updated_at"])
    return jobs_table_columns(user)


def choose_viewing(user: User, *, language: str, time_zone: str, now: datetime) -> User:
    """In which language and zone `user` sees the site; "" for the browser's and the scheduler's."""
    details: dict[str, list[str]] = {}
    if language and language not in dict(settings.LANGUAGES):
        details["language"] = ["Choose one of the languages of the list."]
    if time_zone and time_zone not in zone_names():
        details["time_zone"] = ["Choose one of the time zones of the list."]
    if details:
        raise InvalidInput(next(iter(details.values()))[0], details=details)
    User.objects.filter(pk=user.pk).update(language=language, time_zone=time_zone, updated_at=now)
    user.language, user.time_zone = language, time_zone
    return user


def _lock(user: User) -> User:
    """The user's row as it is now, locked together with every active admin's.

    Whoever takes an admin away holds all of them, in one order, so that two admins cannot take
    each other away at once.
    """
    everyone = User.objects.filter(Q(role=Role.ADMIN, is_active=True) | Q(pk=user.pk)).order_by("pk")
    for row in locked(everyone):
        if row.pk == user.pk:
            found: User = row
            return found
    raise NotFound("The user was deleted meanwhile.", error="User not found")


def _is_active_admin(role: str, is_active: bool) -> bool:
    return role == Role.ADMIN and is_active


def _refuse_last_admin(user: User) -> None:
    """`user` is about to stop being an active admin; the admins' rows are locked."""
    if not _is_active_admin(user.role, user.is_active):
        return
    if not User.objects.admins().exclude(pk=user.pk).exists():
        raise InvalidInput(LAST_ADMIN, error="Last admin")


def _refuse_taken(
    *, username: str | None = None, email: str | None = None, except_for: User | None = None
) -> None:
    others = User.objects.exclude(pk=except_for.pk) if except_for else User.objects.all()
    if username is not None and others.filter(username_key=name_key(username)).exists():
        raise _username_taken(username)
    if email is not None and others.filter(email_key=name_key(email)).exists():
        raise _email_taken(email)


def _username_taken(username: str) -> Conflict:
    return Conflict(
        f"The username {username} is taken: choose another.",
        error="Username already exists",
        field="username",
    )


def _email_taken(email: str) -> Conflict:
    return Conflict(
        f"Another account already has the address {email}.", error="Email already exists", field="email"
    )


def _apply(user: User, clean: Mapping[str, Any], now: datetime) -> None:
    """Write the changed columns; a new password or a deactivation ends every earlier token."""
    columns = {"updated_at"}
    if (user.is_active and clean.get("is_active") is False) or "password" in clean:
        user.token_version += 1
        user.tokens_valid_after = now
        columns |= {"token_version", "tokens_valid_after"}
    for field, value in clean.items():
        if field == "password":
            user.set_password(value)
        else:
            setattr(user, field, value)
        columns.add(field)
    if "email" in clean:
        columns.add("email_key")
    _save(user, update_fields=sorted(columns))


def _save(user: User, **kwargs: Any) -> None:
    """Save; whoever lost the race for a name or an address gets the same answer as without a race."""
    try:
        with transaction.atomic():
            user.save(**kwargs)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        _refuse_taken(username=user.username, email=user.email, except_for=user)
        raise


def _tell(
    action: str,
    user: User,
    by: User | None,
    now: datetime,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    *,
    via: str,
) -> None:
    """Write it to the history, and tell the other apps. An update that changed nothing is none."""
    if changes or action != "updated":
        _record(action, user, by, now, changes or {}, via)
    shown = {
        field: ("***", "***") if field == "password" else values for field, values in (changes or {}).items()
    }
    tell(
        user_changed,
        what=f"user_changed user={user.pk} action={action}",
        sender=User,
        action=action,
        user=user,
        by=by,
        now=now,
        changes=shown,
    )


def _record(
    action: str, user: User, by: User | None, now: datetime, changes: audit.Changes, via: str
) -> None:
    if action == "created":
        changes = audit.filled(_shown(user))
    elif action == "deleted":
        changes = audit.emptied(_shown(user))
    else:
        action = _named(changes)
    audit.record(
        kind=AuditKind.USER,
        object_id=user.pk,
        name=user.username,
        action=action,
        changes=changes,
        by=by,
        now=now,
        via=via,
    )


def _shown(user: User) -> dict[str, Any]:
    return {field: getattr(user, field) for field in ("username", "email", "role", "is_active")}


def _named(changes: audit.Changes) -> str:
    """What an update is called: by the weightiest thing it changed."""
    if "is_active" in changes:
        return AuditAction.ENABLED if changes["is_active"][1] else AuditAction.DISABLED
    if "role" in changes:
        return AuditAction.ROLE
    return AuditAction.PASSWORD if "password" in changes else AuditAction.UPDATED
