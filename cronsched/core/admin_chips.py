"""A question that is often asked of a list, as a link above it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """`query` is the list's address behind the question mark; a chosen one is what is shown now."""

    label: str
    query: str
    is_chosen: bool
