"""Fields and ids that mean the same on SQLite, MariaDB, MySQL and PostgreSQL."""

from __future__ import annotations

import uuid
from typing import Any

import uuid_utils.compat
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

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
