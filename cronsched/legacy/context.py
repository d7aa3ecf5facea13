"""What the steps of one import share: its options, its report, and who has which id by now.

People, categories, teams and jobs are few and kept in memory, so that a dry run, which stores nothing, finds
what it would have stored. The history is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import models, transaction

from cronsched.core.db import insert_values, let_others_write, retry_conflicts, update_each
from cronsched.legacy.report import Finding, Kind, Report
from cronsched.legacy.source import Legacy, Row
from cronsched.legacy.values import moment, text, uuid_of
from jobs.models import Job
from taxonomy.models import JobCategory, PicTeam

T = TypeVar("T")
BATCH: Final = 500


@dataclass(frozen=True, kw_only=True)
class Options:
    """`zone` is the earlier system's; `as_fired` keeps the days on which it ran, not what was written."""

    now: datetime
    zone: str
    dry_run: bool = False
    paused: bool = False
    update: bool = False
    as_fired: bool = False


@dataclass(kw_only=True)
class Import:
    """One run of the import."""

    legacy: Legacy
    options: Options
    report: Report
    # Told how many rows of a table were read: (what, count, of).
    progress: Callable[[str, int, int], None]
    # By the earlier system's id: the user here. Usually of the same id; see people.
    users: dict[UUID, UUID] = field(default_factory=dict)
    # By the earlier system's slug.
    categories: dict[str, JobCategory] = field(default_factory=dict)
    teams: dict[str, PicTeam] = field(default_factory=dict)
    # Jobs that are here, by id, those of the earlier system only.
    jobs: dict[UUID, Job] = field(default_factory=dict)
    # Users and jobs that were deleted here after an earlier import: what hangs on them stays away, too.
    deleted: set[UUID] = field(default_factory=set)

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a small table with an id that can be one, counted."""
        total = self.legacy.count(table)
        for page in self.legacy.pages(table):
            for row in page:
                self.report.count(table, "read")
                if uuid_of(row.get("id")) is None:
                    self.left_out(table, row, "its id is no UUID", repr(row.get("id")))
                else:
                    yield row
            self.progress(table, len(page), total)

    def rows_oldest_first(self, table: str) -> Iterator[Row]:
        """As `rows`: of two that cannot both be here, the one that came first is taken."""
        now = self.options.now
        yield from sorted(self.rows(table), key=lambda row: times(row, now)[0])

    def without(self, table: str, parent: str, parent_id: Any, count: int = 1) -> None:
        """Tell of `count` rows whose `parent`, a "job" or "user", is not here."""
        is_deleted = uuid_of(parent_id) in self.deleted
        self.report.add(
            Finding(
                table=table,
                kind=Kind.DELETED_HERE if is_deleted else Kind.LEFT_OUT,
                group=f"their {parent} was {'deleted here' if is_deleted else 'not taken'}",
                id=text(parent_id),
                detail=f"{count} rows" if count > 1 else "",
                count=count,
            )
        )

    def stays_deleted(self, table: str, row: Row, object_id: UUID) -> None:
        self.deleted.add(object_id)
        self.find(table, row, Kind.DELETED_HERE, f"the {table.removesuffix('s')}")

    def left_out(self, table: str, row: Row, group: str, detail: str = "") -> None:
        self.find(table, row, Kind.LEFT_OUT, group, detail)

    def adjusted(self, table: str, row: Row, group: str, detail: str = "") -> None:
        self.find(table, row, Kind.ADJUSTED, group, detail)

    def find(self, table: str, row: Row, kind: Kind, group: str, detail: str = "") -> None:
        self.report.add(
            Finding(
                table=table, kind=kind, group=group, id=text(row.get("id")), name=label(row), detail=detail
            )
        )

    def batches(self, rows: Iterator[T], size: int = BATCH) -> Iterator[list[T]]:
        """The rows in batches; where they are stored, others get their turn between two."""
        is_first = True
        for batch in chunks(rows, size):
            if not is_first and not self.options.dry_run:
                let_others_write()
            is_first = False
            yield batch

    def is_newer(self, row: Row, stored: datetime) -> bool:
        """Whether the earlier system changed its row since it was taken."""
        changed = moment(row.get("updated_at"))
        return changed is not None and changed > stored


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def label(row: Row) -> str:
    """What a person calls the row."""
    name = row.get("name") or row.get("username") or row.get("title") or ""
    return f'"{text(name)[:80]}"' if name else ""


def times(row: Row, now: datetime) -> tuple[datetime, datetime]:
    """When the row came and last changed; what is not known is told as the other, or as now."""
    created, updated = moment(row.get("created_at")), moment(row.get("updated_at"))
    return created or updated or now, updated or created or now


@retry_conflicts
def store(
    model: type[models.Model],
    new: Sequence[Any],
    changed: Sequence[tuple[Any, Sequence[str]]] = (),
    *,
    without_id: bool = False,
) -> None:
    """Insert the new rows as they are, and write the named columns of changed ones: one transaction.

    `without_id`: the database numbers the new rows.
    """
    fields: list[Any] = [
        field for field in model._meta.concrete_fields if not (without_id and field.primary_key)
    ]
    rows = [[getattr(row, field.attname) for field in fields] for row in new]
    with transaction.atomic():
        insert_values(model, [field.name for field in fields], rows)
        for row, names in changed:
            columns: list[Any] = [model._meta.get_field(name) for name in names]
            values = [getattr(row, column.attname) for column in columns]
            update_each(model, names, ("id",), [[*values, row.pk]])
