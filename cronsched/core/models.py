"""Fields and ids that mean the same on SQLite, MariaDB, MySQL and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Self

import uuid_utils.compat
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.base import ModelState

# Order and equality by the bytes of UTF-8; SQLite's default does the same.
_BINARY_COLLATIONS = {"mysql": "utf8mb4_bin", "postgresql": "C"}


def uuid7() -> uuid.UUID:
    """A time-ordered id (RFC 9562, version 7): new rows land at the end of the index."""
    return uuid_utils.compat.uuid7()


class _BinaryCollation:
    """Gives a text column a collation by bytes, whatever the database's default is."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        parameters["collation"] = _BINARY_COLLATIONS.get(connection.vendor)
        return parameters


class KeyField(_BinaryCollation, models.CharField):  # type: ignore[type-arg]
    """A CharField compared and sorted by bytes: for keys, slugs and codes."""


class KeyTextField(_BinaryCollation, models.TextField):  # type: ignore[type-arg]
    """A TextField compared by bytes: for search text that is already casefolded."""


class Timestamped(models.Model):
    """Rows that say when they came and when they last changed; services set `updated_at`."""

    created_at = models.DateTimeField(auto_now_add=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True


class LeanModel(models.Model):
    """Of rows that come and go by thousands: made without `__init__`, which costs more than reading them.

    So no signal tells of an instance that is made, and what `__init__` does in a subclass is not done.
    """

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Sequence[str], values: Sequence[Any]) -> Self:  # type: ignore[override]
        """An instance of a row. What is missing here was deferred, and is read when it is asked for."""
        new = cls.__new__(cls)
        new.__dict__.update(zip(field_names, values, strict=True))
        new._state = state = ModelState()
        state.adding, state.db = False, db
        return new

    @classmethod
    def fresh(cls, **values: Any) -> Self:
        """A new row as the constructor makes it, of columns: `job_id`, where that would take a `job`."""
        new = cls.__new__(cls)
        plain, made = _defaults(cls)
        new.__dict__.update(plain, **values)
        for name, make in made:
            if name not in values:
                new.__dict__[name] = make()
        if len(new.__dict__) != len(plain) + len(made):
            columns = {field.attname for field in cls._meta.concrete_fields}
            raise TypeError(f"{cls.__name__} has no columns {sorted(values.keys() - columns)}")
        new._state = ModelState()
        return new


@lru_cache(maxsize=32)
def _defaults(model: type[models.Model]) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """The defaults of a model's columns: values, and functions that make one for each row."""
    fields = model._meta.concrete_fields
    made = [field for field in fields if field.has_default() and callable(field.default)]
    plain = {field.attname: field.get_default() for field in fields if field not in made}
    return plain, [(field.attname, field.get_default) for field in made]
