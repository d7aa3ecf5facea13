"""The history of changes: written by the services inside the transaction that it tells of.

    record(kind=AuditKind.TEAM, object_id=team.pk, name=team.name, action="updated",
           changes={"name": ("DevOps", "Platform")}, by=by, now=now, via="admin")

`record_all` writes a batch with one prepared statement. A change without its entry, or an entry
without its change, cannot be: both are of one transaction, and no error is swallowed here.
`changes_of` reads what was done to one object, newest first; `deleted_ids` knows what is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from accounts.choices import AuditAction, AuditKind
from accounts.models import AuditEntry, User
from cronsched.core.db import insert_each
from cronsched.core.masking import CHANGED, SET, masked_pair

Changes = Mapping[str, tuple[Any, Any]]

NAME_MAX: Final = 255
# What a change of these says of them: that there is one.
SECRET_FIELDS: Final = frozenset({"password", "signing_secret", "webhook_url", "secret"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One line to write. `changes` are field -> (old, new), of what JSON can hold; secrets may be in it."""

    kind: AuditKind
    object_id: UUID
    name: str
    action: str
    changes: Changes = field(default_factory=dict)
    note: str = ""


def record(
    *,
    kind: AuditKind,
    object_id: UUID,
    name: str,
    action: str,
    by: User | None,
    now: datetime,
    via: str,
    changes: Changes | None = None,
    note: str = "",
) -> None:
    """Write one line, inside the caller's transaction. One statement."""
    change = Change(
        kind=kind, object_id=object_id, name=name, action=action, changes=changes or {}, note=note
    )
    record_all([change], by=by, now=now, via=via)


def record_all(changes: Iterable[Change], *, by: User | None, now: datetime, via: str) -> None:
    """Write a line for each, in their order, by one prepared statement; none costs none.

    `by` None is nobody's: the name is then the way (`scheduler`, `command`).
    """
    actor_name = _actor_name(by) if by is not None else via
    insert_each(
        [
            AuditEntry(
                at=now,
                actor=by,
                actor_name=actor_name,
                via=via,
                kind=change.kind,
                object_id=str(change.object_id),
                object_name=change.name[:NAME_MAX],
                action=change.action,
                changes={field: as_kept(field, *pair) for field, pair in change.changes.items()},
                note=change.note,
            )
            for change in changes
        ]
    )


def _actor_name(by: User) -> str:
    """A key acts in its owner's name, and says which one it was."""
    return by.username if by.key_prefix is None else f"{by.username[:60]} ({by.key_prefix}…)"


def changes_of(kind: AuditKind, object_id: UUID | str) -> QuerySet[AuditEntry]:
    """What was done to one object, newest first; the index `audit_by_object` has it in this order."""
    entries: QuerySet[AuditEntry] = AuditEntry.objects.about(kind, object_id)
    return entries


def deleted_ids(kind: AuditKind) -> set[UUID]:
    """The ids of all objects of a kind that were ever deleted here."""
    ids = AuditEntry.objects.filter(kind=kind, action=AuditAction.DELETED).values_list("object_id", flat=True)
    return {UUID(object_id) for object_id in ids}


def state_after(entries: Sequence[AuditEntry], entry: AuditEntry) -> dict[str, Any]:
    """What has to be set to be back at what `entry` left; `entries` are all of the object, newest first.

    Of each field that changed later, the value before the first of those changes. Values may carry
    marks of `cronsched.core.masking`. Only the fields that changed since are in it.
    """
    later: dict[str, Any] = {}
    for each in entries:
        if (each.at, each.pk) <= (entry.at, entry.pk):
            break
        later |= {name: pair[0] for name, pair in each.changes.items()}
    return later


def as_kept(name: str, old: Any, new: Any) -> list[Any]:
    """A field's change as it may be kept and shown: without secrets."""
    if name not in SECRET_FIELDS:
        return masked_pair(old, new)
    if old and new:
        return [SET, CHANGED]
    return [SET if old else None, SET if new else None]


def filled(values: Mapping[str, Any]) -> Changes:
    """What a new object begins with: its values that say something, each from nothing."""
    return {name: (None, value) for name, value in values.items() if value not in (None, "", {}, [], False)}


def emptied(values: Mapping[str, Any]) -> Changes:
    """What a deleted object had."""
    return {name: (new, None) for name, (_nothing, new) in filled(values).items()}
