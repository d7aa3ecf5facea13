"""CSV that people open in spreadsheets: cells that nobody runs, lines made one at a time."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# What a spreadsheet would run. Quotes before it count: taking one away must give back what was there.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def harmless(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def as_written(cell: str) -> str:
    """The text that `harmless` made the cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The header, then each row, made harmless; each with its line end (CRLF, as RFC 4180 has it)."""
    write = csv.writer(_Echo()).writerow
    yield write(header)
    for row in rows:
        yield write([harmless(cell) for cell in row])


class _Echo:
    """A file that gives back what is written to it, so that no row is kept."""

    def write(self, text: str) -> Any:
        return text
