"""A CSV file as entries: what can be said of it as a whole, and then one job after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from jobs.services.bulk_upload.columns import Entry, Layout, count_known
from jobs.services.bulk_upload.table import ROWS_MAX, Row, Table, TableFault


class Sheet:
    """The file is read through once at first, so that a fault in its last row is told before anything
    is stored. Raises TableFault.

    `row_count` counts the rows below the header, `empty_count` those of them with nothing in them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._table = Table(file, score=count_known)
        self._layout = Layout(self._table.header)
        self.row_count = self.empty_count = 0
        for row in self._table.rows():
            self.row_count += 1
            self.empty_count += self._layout.is_blank(row)
            if self.row_count - self.empty_count > ROWS_MAX:
                raise TableFault(f"The file has more than {ROWS_MAX} rows: split it.")

    @property
    def unknown_columns(self) -> list[str]:
        return self._layout.unknown

    @property
    def entry_count(self) -> int:
        return self.row_count - self.empty_count

    def entries(self) -> Iterator[Entry]:
        for row in self._table.rows():
            if not self._layout.is_blank(row):
                yield self._layout.entry(row)

    @property
    def header(self) -> list[str]:
        return self._table.header

    def rows(self) -> Iterator[Row]:
        """The rows below the header as they were written, the empty ones too."""
        return self._table.rows()
