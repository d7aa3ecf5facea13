"""The bytes of an uploaded table as rows of text, read as often as needed and never held as a whole.

What people's spreadsheets write is taken: UTF-8 with or without its mark, UTF-16 with one (Excel's
"Unicode text"), commas, semicolons or tabs, `sep=;` lines, any line end, quoted line breaks. What
cannot be told safely is refused with the way out: Shift-JIS and Windows-1252 look alike to a program.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from cronsched.core.errors import InvalidInput
from cronsched.core.text import is_storable

DELIMITERS: Final = ",;\t"
ROWS_MAX: Final = 100_000
# Characters. The library's own limit, 128 KiB, is less than a job's metadata may have.
CELL_MAX: Final = 4 * 1024 * 1024
csv.field_size_limit(CELL_MAX)

SAVE_AS: Final = 'Save it as "CSV UTF-8 (Comma delimited)" and upload that.'
_EMPTY: Final = "The file is empty: it has no header and no rows."
_SAMPLE: Final = 65_536
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)\s*", re.IGNORECASE)
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, ""),
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_KINDS: Final = (
    (b"PK\x03\x04", "an Excel workbook (.xlsx) or another archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)"),
    (b"%PDF", "a PDF document"),
)
_JAPANESE: Final = re.compile("[\u3041-\u30fe\u4e00-\u9fff]")


class TableFault(InvalidInput):
    """The file as a whole cannot be used; nothing of it was stored."""

    error = "Invalid file"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="file")


@dataclass(frozen=True, slots=True)
class Row:
    """`number` is what a spreadsheet shows. With a `fault` the cells could not be told apart."""

    number: int
    cells: Sequence[str]
    fault: str = ""


class Table:
    """A file of delimited text. `score(cells)` says how well a row would do as the header.

    Raises TableFault where there is no header, or where the file is no text.
    """

    def __init__(self, file: BinaryIO, *, score: Callable[[Sequence[str]], int]) -> None:
        self._file = file
        self._encoding = self._find_encoding()
        self._skipped_lines, self._delimiter = self._find_delimiter(score)
        header = next((row for row in self._records() if _has_text(row)), None)
        if header is None:
            raise TableFault(_EMPTY)
        if header.fault:
            raise TableFault(f"Row {header.number}: {header.fault}")
        self._header_row = header.number
        self.header = [cell.strip() for cell in header.cells]

    def rows(self) -> Iterator[Row]:
        """The rows below the header, the empty ones too."""
        for row in self._records():
            if row.number > self._header_row:
                yield row

    def _find_encoding(self) -> str:
        self._file.seek(0)
        begin = self._file.read(_SAMPLE)
        if not begin:
            raise TableFault(_EMPTY)
        for magic, kind in _OTHER_KINDS:
            if begin.startswith(magic):
                raise TableFault(f"The file is {kind}, not CSV. {SAVE_AS}")
        encoding = next((name for mark, name in _MARKS if begin.startswith(mark)), "utf-8")
        if not encoding:
            raise TableFault(f"The file is in UTF-32, which is not supported. {SAVE_AS}")
        return encoding

    def _find_delimiter(self, score: Callable[[Sequence[str]], int]) -> tuple[int, str]:
        """How many lines come before the table, and what stands between its cells."""
        with self._lines() as lines:
            try:
                named = _SEPARATOR_LINE.fullmatch(next(lines, ""))
            except UnicodeError:
                raise self._not_text(1) from None
        if named:
            return 1, named[1]
        self._skipped_lines = 0
        best = max(DELIMITERS, key=lambda delimiter: self._score(delimiter, score))
        return 0, best

    def _score(self, delimiter: str, score: Callable[[Sequence[str]], int]) -> tuple[int, int]:
        self._delimiter = delimiter
        try:
            first = next((row for row in self._records() if _has_text(row)), None)
        except TableFault:
            return (-1, 0)
        return (score(first.cells), len(first.cells)) if first else (0, 0)

    def _records(self) -> Iterator[Row]:
        """Every row from the first on, each with its number; a bad one stops no other."""
        with self._lines() as lines:
            for _ in range(self._skipped_lines):
                next(lines)
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            number = 0
            while True:
                number += 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Row(number, (), _quoting_fault(number, error))
                except UnicodeError:
                    raise self._not_text(number) from None
                else:
                    if not is_storable("".join(cells)):
                        raise self._not_text(number, "".join(cells))
                    yield Row(number, cells)

    @contextmanager
    def _lines(self) -> Iterator[Iterator[str]]:
        self._file.seek(0)
        # What is not UTF-8 passes as lone surrogates, so that its row can be named.
        errors = "surrogateescape" if self._encoding.startswith("utf-8") else "strict"
        text = io.TextIOWrapper(self._file, self._encoding, errors=errors, newline="")
        try:
            yield iter(text)
        finally:
            # The file is the caller's to close; who stopped in the middle may have closed it already.
            if not self._file.closed:
                text.detach()

    def _not_text(self, number: int, text: str = "\ufffd") -> TableFault:
        if "\x00" in text:
            return TableFault(f"Row {number} holds a NUL character: this is not plain text. {SAVE_AS}")
        if self._encoding == "utf-16":
            return TableFault(f"From row {number} on, the file is not UTF-16 as its mark says. {SAVE_AS}")
        hint = " It looks like Shift-JIS." if self._looks_japanese() else ""
        return TableFault(f"Row {number} is not UTF-8.{hint} {SAVE_AS}")

    def _looks_japanese(self) -> bool:
        """Good enough for a hint; decoding by it would make nonsense of other people's files."""
        self._file.seek(0)
        decoder = codecs.getincrementaldecoder("cp932")()
        try:
            return bool(_JAPANESE.search(decoder.decode(self._file.read(_SAMPLE))))
        except UnicodeDecodeError:
            return False


def _has_text(row: Row) -> bool:
    return bool(row.fault) or any(cell.strip() for cell in row.cells)


def _quoting_fault(number: int, error: csv.Error) -> str:
    """What is wrong with one row's quotes; where it has swallowed other rows, no row is sure any more."""
    text = str(error)
    if "unexpected end" in text:
        raise TableFault(
            f'Row {number} opens a quote (") that is never closed, so all that follows would be one cell: '
            "close it, and double each quote inside."
        )
    if "field limit" in text:
        raise TableFault(
            f"Row {number} has a cell of more than {CELL_MAX} characters. Is a quote not closed there?"
        )
    return 'A quote (") inside a quoted cell must be doubled, and a closing one be followed by a separator.'
