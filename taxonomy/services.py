"""What can be done to categories and teams, and how a text finds one.

Jobs hold foreign keys, so that they follow a rename by themselves. Nothing is ever deleted: a
disabled category or team stays on the jobs that have it, and cannot be chosen any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import audit
from accounts.choices import AuditKind
from accounts.models import User
from cronsched.core.db import is_duplicate, locked, retry_conflicts
from cronsched.core.errors import Conflict, InvalidInput
from cronsched.core.signals import tell
from cronsched.core.text import clean_name, is_readable_line, is_storable, name_key
from taxonomy.models import GENERAL, JobCategory, PicTeam, Taxon
from taxonomy.signals import taxon_changed
from taxonomy.slugs import slug_for, slugify

T = TypeVar("T", JobCategory, PicTeam)

NAME_MAX: Final = 255
QUEUE_MAX: Final = 100
TEAM_FIELDS: Final = ("name", "slack_handle", "is_active", "send_queue")
_QUEUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWN_CHARS: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """How one of the two is spoken of: the input field of jobs, the label, the made slug's head, and
    what the history keeps of it."""

    field: str
    label: str
    slug_head: str
    audit: AuditKind
    kept: tuple[str, ...]


_KINDS: Final[Mapping[type[Taxon], _Kind]] = {
    JobCategory: _Kind(
        field="category",
        label="Category",
        slug_head="category",
        audit=AuditKind.CATEGORY,
        kept=("name", "slug"),
    ),
    PicTeam: _Kind(
        field="pic_team",
        label="PIC team",
        slug_head="team",
        audit=AuditKind.TEAM,
        kept=("name", "slug", "slack_handle"),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryUpdate:
    """`jobs_updated`: how many jobs answer with a new slug now; 0 where it did not move."""

    category: JobCategory
    jobs_updated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamUpdate:
    pic_team: PicTeam
    jobs_updated: int


# ---- finding one ------------------------------------------------------------------------------


def resolve_category(text: str) -> JobCategory:
    """The active category with this slug or name. InvalidInput on the field `category`."""
    return _resolve(JobCategory, text)


def resolve_team(text: str) -> PicTeam:
    """The active team with this slug or name. InvalidInput on the field `pic_team`."""
    return _resolve(PicTeam, text)


def choose(model: type[T], text: str, rows: list[T]) -> T:
    """The active one of `rows` whose slug, else whose name, is `text`; InvalidInput where none is.

    `rows` may be all there are: an upload reads them once and asks for each of its lines.
    """
    kind, key = _KINDS[model], name_key(text)
    found = [row for row in rows if row.slug == key] + [row for row in rows if row.name_key == key]
    active = [row for row in found if row.is_active]
    if active:
        return active[0]
    fault = "is disabled; choose an active one." if found else "does not exist."
    raise InvalidInput(f"{kind.label} {_shown(text)} {fault}", field=kind.field)


def _resolve(model: type[T], text: str) -> T:
    rows: list[T] = list(model.objects.matching(text)) if is_storable(text) else []
    return choose(model, text, rows)


# ---- writing ----------------------------------------------------------------------------------


def create_category(
    *, name: Any, slug: Any = None, by: User | None, now: datetime, via: str = "api"
) -> JobCategory:
    """A new active category. Conflict where its slug or name is taken."""
    errors: dict[str, str] = {}
    category = JobCategory(name=_name(name, errors))
    category.slug = _new_slug(JobCategory, category.name, slug, errors)
    _refuse(errors)
    return _create(category, by=by, now=now, via=via)


def create_team(
    *, name: Any, slack_handle: Any, slug: Any = None, by: User | None, now: datetime, via: str = "api"
) -> PicTeam:
    """A new active team. Conflict where its slug or name is taken."""
    errors: dict[str, str] = {}
    team = PicTeam(name=_name(name, errors), slack_handle=_handle(slack_handle, errors))
    team.slug = _new_slug(PicTeam, team.name, slug, errors)
    _refuse(errors)
    return _create(team, by=by, now=now, via=via)


def update_category(
    category: JobCategory, *, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "api"
) -> CategoryUpdate:
    """Set `name` and `is_active` where given; a new name moves the slug."""
    row, jobs_updated = _update(category, data, ("name", "is_active"), by=by, now=now, via=via)
    return CategoryUpdate(category=row, jobs_updated=jobs_updated)


def update_team(
    team: PicTeam, *, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "api"
) -> TeamUpdate:
    """Set what is given of `TEAM_FIELDS`; a new name moves the slug."""
    row, jobs_updated = _update(team, data, TEAM_FIELDS, by=by, now=now, via=via)
    return TeamUpdate(pic_team=row, jobs_updated=jobs_updated)


def disable_category(
    category: JobCategory, *, by: User | None, now: datetime, via: str = "api"
) -> JobCategory:
    return _update(category, {"is_active": False}, ("is_active",), by=by, now=now, via=via)[0]


def disable_team(team: PicTeam, *, by: User | None, now: datetime, via: str = "api") -> PicTeam:
    return _update(team, {"is_active": False}, ("is_active",), by=by, now=now, via=via)[0]


@retry_conflicts
def _create(taxon: T, *, by: User | None, now: datetime, via: str) -> T:
    with transaction.atomic():
        _refuse_taken(taxon)
        _save(taxon, force_insert=True)
        kept = audit.filled({field: getattr(taxon, field) for field in _KINDS[type(taxon)].kept})
        _record(taxon, "created", kept, by=by, now=now, via=via)
        _tell(taxon, "created", by, now)
    return taxon


@retry_conflicts
def _update(
    taxon: T, data: Mapping[str, Any], fields: tuple[str, ...], *, by: User | None, now: datetime, via: str
) -> tuple[T, int]:
    """Change what differs, on the locked row. The row, and the count of jobs whose slug moved."""
    if "slug" in data:
        raise InvalidInput(
            "Slug cannot be edited directly; it is derived from name.", error="Invalid payload", field="slug"
        )
    given = {field: data[field] for field in fields if field in data}
    if not given:
        raise InvalidInput(f"Send at least one of: {', '.join(fields)}.", error="No valid fields to update")
    clean = _clean(given)
    with transaction.atomic():
        current: T = locked(type(taxon).objects.filter(pk=taxon.pk)).get()
        _refuse_general(current, clean)
        changes = _apply(current, clean)
        if not changes:
            return current, 0
        _refuse_taken(current)
        _save(current)
        followers = current.jobs.count() if "slug" in changes else 0
        _record(current, _named(changes), changes, by=by, now=now, via=via, note=_followed(followers))
        _tell(
            current, "disabled" if changes.get("is_active") == (True, False) else "updated", by, now, changes
        )
        return current, followers


def _named(changes: audit.Changes) -> str:
    if "is_active" not in changes:
        return "updated"
    return "enabled" if changes["is_active"][1] else "disabled"


def _followed(count: int) -> str:
    """What a rename says of the jobs: they hold the row, so that nothing of theirs changes."""
    return f"{count} job{'' if count == 1 else 's'} followed." if count else ""


def _record(
    taxon: JobCategory | PicTeam,
    action: str,
    changes: audit.Changes,
    *,
    by: User | None,
    now: datetime,
    via: str,
    note: str = "",
) -> None:
    audit.record(
        kind=_KINDS[type(taxon)].audit,
        object_id=taxon.pk,
        name=taxon.name,
        action=action,
        changes=changes,
        by=by,
        now=now,
        via=via,
        note=note,
    )


def _apply(taxon: JobCategory | PicTeam, clean: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Set what differs; what changed, as field -> (old, new)."""
    values = dict(clean)
    if "name" in values and values["name"] != taxon.name:
        values["slug"] = slug_for(values["name"], kind=_KINDS[type(taxon)].slug_head)
    changes = {
        field: (old, value) for field, value in values.items() if (old := getattr(taxon, field)) != value
    }
    for field, (_, value) in changes.items():
        setattr(taxon, field, value)
    return changes


def _save(taxon: JobCategory | PicTeam, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():
            taxon.save(force_insert=force_insert)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        # Somebody else was faster by a moment: now their row is there to be named.
        _refuse_taken(taxon)
        raise


def _tell(
    taxon: JobCategory | PicTeam,
    action: str,
    by: User | None,
    now: datetime,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
) -> None:
    tell(
        taxon_changed,
        what=f"taxon_changed taxon={taxon.pk} action={action}",
        sender=type(taxon),
        action=action,
        taxon=taxon,
        by=by,
        now=now,
        changes=dict(changes or {}),
    )


# ---- rules ------------------------------------------------------------------------------------


def _refuse_general(taxon: Taxon, clean: Mapping[str, Any]) -> None:
    """`general` always exists, under that name: it is what a job without a category has."""
    if not (isinstance(taxon, JobCategory) and taxon.slug == GENERAL):
        return
    if "name" in clean and clean["name"] != taxon.name:
        raise InvalidInput(
            'The "General" category cannot be renamed.', error="Invalid category", field="name"
        )
    if clean.get("is_active") is False:
        raise InvalidInput(
            'The "General" category cannot be disabled.', error="Invalid category", field="is_active"
        )


def _refuse_taken(taxon: Taxon) -> None:
    """One look at both keys: between two, another's row could come and change which fault is told."""
    others = type(taxon).objects.exclude(pk=taxon.pk)
    taken = others.filter(Q(slug=taxon.slug) | Q(name_key=name_key(taxon.name))).values_list(
        "slug", flat=True
    )
    slugs = list(taken)
    label = _KINDS[type(taxon)].label
    if taxon.slug in slugs:
        raise Conflict(f'{label} slug "{taxon.slug}" already exists.', error="Duplicate slug", field="slug")
    if slugs:
        raise Conflict(f'{label} name "{taxon.name}" already exists.', error="Duplicate name", field="name")


def _clean(given: Mapping[str, Any]) -> dict[str, Any]:
    errors: dict[str, str] = {}
    clean: dict[str, Any] = {}
    if "name" in given:
        clean["name"] = _name(given["name"], errors)
    if "slack_handle" in given:
        clean["slack_handle"] = _handle(given["slack_handle"], errors)
    if "send_queue" in given:
        clean["send_queue"] = _queue(given["send_queue"], errors)
    if "is_active" in given:
        clean["is_active"] = given["is_active"]
        if not isinstance(given["is_active"], bool):
            errors["is_active"] = "is_active must be true or false."
    _refuse(errors)
    return clean


def _name(value: Any, errors: dict[str, str]) -> str:
    name = clean_name(value) if isinstance(value, str) else ""
    if not isinstance(value, str):
        errors["name"] = "name is required, as text."
    elif not is_storable(name):
        errors["name"] = "name holds a character that cannot be stored, such as NUL."
    elif not is_readable_line(name):
        errors["name"] = "name must be one line, without control characters."
    elif not 1 <= len(name) <= NAME_MAX:
        errors["name"] = f"name must have 1 to {NAME_MAX} characters."
    return name


def _handle(value: Any, errors: dict[str, str]) -> str:
    handle = value.strip() if isinstance(value, str) else ""
    if value is not None and not isinstance(value, str):
        errors["slack_handle"] = "slack_handle must be text."
    elif not handle:
        errors["slack_handle"] = "slack_handle cannot be empty."
    elif not is_storable(handle):
        errors["slack_handle"] = "slack_handle holds a character that cannot be stored, such as NUL."
    elif len(handle) > NAME_MAX:
        errors["slack_handle"] = f"slack_handle must have at most {NAME_MAX} characters."
    return handle


def _queue(value: Any, errors: dict[str, str]) -> str:
    queue = value.strip() if isinstance(value, str) else ""
    if value is not None and not isinstance(value, str):
        errors["send_queue"] = "send_queue must be text."
    elif queue and not (len(queue) <= QUEUE_MAX and _QUEUE.fullmatch(queue)):
        errors["send_queue"] = f"send_queue: at most {QUEUE_MAX} of A-Z, a-z, 0-9, '.', '_' and '-'."
    return queue


def _new_slug(model: type[Taxon], name: str, given: Any, errors: dict[str, str]) -> str:
    if given is None:
        return slug_for(name, kind=_KINDS[model].slug_head)
    slug = slugify(given) if isinstance(given, str) else ""
    if not slug:
        errors["slug"] = "slug must hold a letter a-z or a digit; leave it out to have one made."
    return slug


def _refuse(errors: Mapping[str, str]) -> None:
    if not errors:
        return
    error = "Invalid slack_handle" if list(errors) == ["slack_handle"] else None
    raise InvalidInput(
        " ".join(errors.values()), error=error, details={field: [text] for field, text in errors.items()}
    )


def _shown(text: str) -> str:
    return f'"{text[:_SHOWN_CHARS]}{"…" if len(text) > _SHOWN_CHARS else ""}"'
