"""Users, with their ids and passwords, and how they like their tables and mail.

An account that is here under the same name and address, but another id (`seed` made one), stays as it
is, and what was theirs there is theirs here. Where only one of the two is taken, nobody can say who is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from uuid import UUID

from django.db.models import Min

from accounts.audit import deleted_ids
from accounts.choices import AuditAction, AuditKind
from accounts.hashers import ALGORITHM, from_passlib
from accounts.models import JOBS_TABLE_COLUMNS, AuditEntry, UiPreferences, User
from accounts.roles import Role, is_admin
from accounts.validation import EMAIL_MAX, USERNAME_MAX
from cronsched.core.text import clean_name, is_readable_line, name_key
from cronsched.legacy.context import Import, store, times
from cronsched.legacy.report import Kind
from cronsched.legacy.source import Row
from cronsched.legacy.values import flag, json_object, text, uuid_of
from notifications.models import NotificationPreferences
from notifications.services.preferences import PREFERENCES

TABLE: Final = "users"
_UPDATED: Final = (
    "username",
    "username_key",
    "email",
    "email_key",
    "password",
    "role",
    "is_active",
    "token_version",
    "tokens_valid_after",
    "updated_at",
)
# Django's mark of a password that nobody has.
_UNUSABLE: Final = "!"


def bring_users(run: Import) -> None:
    here = {user.pk: user for user in User.objects.all()}
    step = _People(run, here)
    for batch in run.batches(step.admins_last(run.rows_oldest_first(TABLE))):
        step.take(batch)


class _People:
    def __init__(self, run: Import, here: dict[UUID, User]) -> None:
        self.run, self.here = run, here
        self.names = {user.username_key: user for user in here.values()}
        self.emails = {user.email_key: user for user in here.values()}
        self.deleted = deleted_ids(AuditKind.USER)
        self.deleted_names = _deleted_names()
        self.new: list[User] = []
        self.changed: list[User] = []

    def admins_last(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Those who were admins and are none any more come last: by then all who are admins now are known."""
        later = []
        for row in rows:
            stored = self.here.get(uuid_of(row["id"]) or UUID(int=0))
            if stored is not None and is_admin(stored) and not _is_admin_there(row):
                later.append(row)
            else:
                yield row
        yield from later

    def take(self, batch: list[Row]) -> None:
        self.new, self.changed = [], []
        for row in batch:
            self._one(row)
        if not self.run.options.dry_run:
            store(User, self.new, [(user, _UPDATED) for user in self.changed])
        self.run.report.count(TABLE, "new", len(self.new))
        self.run.report.count(TABLE, "updated", len(self.changed))

    def _one(self, row: Row) -> None:
        user = self._read(row)
        stored = self.here.get(user.pk)
        if stored is not None:
            self._again(row, user, stored)
        elif self._was_deleted(user):
            self.run.stays_deleted(TABLE, row, user.pk)
        elif (fault := _fault(user)) or (fault := self._taken(user)):
            self.run.left_out(TABLE, row, *fault)
        elif same := self.names.get(user.username_key):
            self.run.users[user.pk] = same.pk
            self.run.report.count(TABLE, "already")
            detail = f"keeps its id {same.pk} and the password it has here"
            self.run.adjusted(TABLE, row, "an account of that name and address was here", detail)
        else:
            self._password_note(row, user)
            self._keep(user)
            self.new.append(user)

    def _keep(self, user: User) -> None:
        self.run.users[user.pk] = user.pk
        self.here[user.pk] = self.names[user.username_key] = self.emails[user.email_key] = user

    def _again(self, row: Row, user: User, stored: User) -> None:
        self.run.users[user.pk] = user.pk
        is_newer = self.run.is_newer(row, stored.updated_at)
        if not is_newer:
            self.run.report.count(TABLE, "already")
        elif not self.run.options.update:
            self.run.report.count(TABLE, "already")
            self.run.find(TABLE, row, Kind.CHANGED_THERE, "the account")
        elif (fault := _fault(user)) or (fault := self._taken(user)):
            self.run.left_out(TABLE, row, *fault)
        else:
            self._password_note(row, user)
            self._keep_last_admin(row, user, stored)
            self._end_tokens(user, stored)
            self._keep(user)
            self.changed.append(user)

    def _keep_last_admin(self, row: Row, user: User, stored: User) -> None:
        """The last active admin stays one: otherwise nobody could make another."""
        if is_admin(user) or not is_admin(stored):
            return
        if any(is_admin(other) for other in self.here.values() if other.pk != user.pk):
            return
        user.role, user.is_active = stored.role, stored.is_active
        self.run.adjusted(TABLE, row, "stays an active admin: there is no other one")

    def _end_tokens(self, user: User, stored: User) -> None:
        """As by every other way: a new password or a deactivation ends each token issued before."""
        user.token_version, user.tokens_valid_after = stored.token_version, stored.tokens_valid_after
        if user.password != stored.password or (stored.is_active and not user.is_active):
            user.token_version += 1
            user.tokens_valid_after = self.run.options.now

    def _was_deleted(self, user: User) -> bool:
        """Whether the account was deleted here, and nobody has made it anew under its name and address."""
        names = (user.username_key, user.email_key)
        if user.pk not in self.deleted and names not in self.deleted_names:
            return False
        by_name = self.names.get(user.username_key)
        return by_name is None or by_name is not self.emails.get(user.email_key)

    def _taken(self, user: User) -> tuple[str, str] | None:
        """Why the name or the address cannot be theirs; None where both are free, or of one account."""
        by_name, by_email = self.names.get(user.username_key), self.emails.get(user.email_key)
        others = [found for found in (by_name, by_email) if found is not None and found.pk != user.pk]
        if not others or (by_name is by_email and by_name is not None and by_name.pk != user.pk):
            return None
        if by_name is not None and by_name.pk != user.pk:
            return "the username is taken, without regard to case", f"by the account {by_name.pk}"
        return "the e-mail address is taken, without regard to case", f"{user.email}, by {others[0].username}"

    def _read(self, row: Row) -> User:
        created, updated = times(row, self.run.options.now)
        username, email = clean_name(text(row.get("username"))), clean_name(text(row.get("email")))
        role = _role(row)
        if role not in Role.values:
            self.run.adjusted(TABLE, row, "an unknown role became viewer", repr(role))
            role = Role.VIEWER.value
        return User(
            id=uuid_of(row["id"]),
            username=username,
            username_key=name_key(username),
            email=email,
            email_key=name_key(email),
            password=_stored_hash(text(row.get("password_hash"))),
            role=role,
            is_active=flag(row.get("is_active"), True),
            created_at=created,
            updated_at=updated,
        )

    def _password_note(self, row: Row, user: User) -> None:
        if user.password == _UNUSABLE:
            self.run.adjusted(
                TABLE, row, "the password hash is not known here", "an admin must set a password"
            )


def _deleted_names() -> set[tuple[str, str]]:
    """Name and address of who was deleted here since the first import: some had another id here."""
    imports = AuditEntry.objects.filter(kind=AuditKind.INSTALLATION, action=AuditAction.IMPORTED)
    first = imports.aggregate(at=Min("at"))["at"]
    if first is None:
        return set()
    gone = AuditEntry.objects.filter(kind=AuditKind.USER, action=AuditAction.DELETED, at__gt=first)
    return {
        (name_key(name), name_key(str(changes.get("email", [""])[0])))
        for name, changes in gone.values_list("object_name", "changes")
    }


def _is_admin_there(row: Row) -> bool:
    return flag(row.get("is_active"), True) and _role(row) == Role.ADMIN


def _role(row: Row) -> str:
    return text(row.get("role")).strip().lower() or Role.VIEWER.value


def _stored_hash(encoded: str) -> str:
    stored = from_passlib(encoded.strip())
    return stored if stored.startswith((f"{ALGORITHM}$", "pbkdf2_sha256$")) else _UNUSABLE


def _fault(user: User) -> tuple[str, str] | None:
    """What no account can have; names that could not be chosen today (a dot in them) may stay."""
    for field, value, most in (
        ("username", user.username, USERNAME_MAX),
        ("email", user.email, EMAIL_MAX),
    ):
        if not 1 <= len(value) <= most or not is_readable_line(value):
            return f"its {field} must have 1 to {most} characters, on one line", ""
    return None


def bring_preferences(run: Import) -> None:
    """Each user's wishes for mail and columns; who has some here keeps them."""
    _Wishes(run, "user_notification_preferences", NotificationPreferences, _notification_wishes).bring()
    _Wishes(run, "user_ui_preferences", UiPreferences, _column_wishes).bring()


class _Wishes:
    def __init__(self, run: Import, table: str, model: Any, read: Any) -> None:
        self.run, self.table, self.model, self.read = run, table, model, read
        self.stored = {row.user_id: row for row in model.objects.all()}

    def bring(self) -> None:
        for batch in self.run.batches(self._rows()):
            new = [row for row in batch if row.pk is None]
            changed = [row for row in batch if row.pk is not None]
            if not self.run.options.dry_run:
                self._store(new, changed)
            self.run.report.count(self.table, "new", len(new))
            self.run.report.count(self.table, "updated", len(changed))

    def _rows(self) -> Any:
        for row in self.run.rows(self.table):
            user_id = self.run.users.get(uuid_of(row.get("user_id")) or UUID(int=0))
            if user_id is None:
                self.run.without(self.table, "user", row.get("user_id"))
                continue
            stored = self.stored.get(user_id)
            if stored is not None and not (
                self.run.options.update and self.run.is_newer(row, stored.updated_at)
            ):
                self.run.report.count(self.table, "already")
                continue
            created, updated = times(row, self.run.options.now)
            values = self.read(self.run, self.table, row)
            wish = stored or self.model(user_id=user_id, created_at=created)
            wish.updated_at = updated
            for name, value in values.items():
                setattr(wish, name, value)
            self.stored[user_id] = wish
            yield wish

    def _store(self, new: list[Any], changed: list[Any]) -> None:
        names = [field.name for field in self.model._meta.concrete_fields if not field.primary_key]
        store(self.model, new, [(row, names) for row in changed], without_id=True)


def _notification_wishes(run: Import, table: str, row: Row) -> dict[str, Any]:
    defaults = NotificationPreferences()
    return {name: flag(row.get(name), getattr(defaults, name)) for name in PREFERENCES}


def _column_wishes(run: Import, table: str, row: Row) -> dict[str, Any]:
    try:
        chosen = json_object(row.get("jobs_table_columns"))
    except ValueError:
        run.adjusted(table, row, "its columns cannot be read: the defaults stand")
        chosen = {}
    return {
        "jobs_table_columns": {
            name: flag(chosen[name], True) for name in JOBS_TABLE_COLUMNS if name in chosen
        }
    }
