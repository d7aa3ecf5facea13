"""Cutting lists: `page` with `per_page` or `limit`. Too large is clamped; below 1 is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from cronsched.core.api.params import Params, read_int
from cronsched.core.db import by_ids

# Keeps the offset inside a 64-bit integer, which is all that a database counts with.
MAX_PAGE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which rows: `number` counts from 1, `size` rows each."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    def cut(self, queryset: QuerySet[Any]) -> Iterable[Any]:
        """The rows of this page; none beyond the last. An unordered list would repeat rows."""
        if not queryset.ordered:
            raise TypeError(f"A page of an unordered queryset of {queryset.model.__name__} means nothing.")
        return queryset[self.offset : self.offset + self.size]

    def cut_by_id(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The same in two statements, for long tables: what a far page passes over is not read.

        The order must be that of an index.
        """
        return by_ids(queryset, list(self.cut(queryset.values_list("pk", flat=True))))

    def total_pages(self, total: int) -> int:
        return -(-total // self.size)


def read_page(params: Params, *, size_name: str = "per_page", default: int = 20, maximum: int = 100) -> Page:
    """`page` (default 1) and `size_name` of `params`."""
    return Page(
        number=read_int(params, "page", default=1, maximum=MAX_PAGE),
        size=read_int(params, size_name, default=default, maximum=maximum),
    )


def read_limit(params: Params, *, default: int = 50, maximum: int = 200) -> int:
    return read_int(params, "limit", default=default, maximum=maximum)
