"""What a column means: its headers, how a cell is read, how a value is written.

A blank cell clears what may be empty. Elsewhere it is as if the column were not there: a new job
gets the default, an old one keeps what it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final, NoReturn

from cronsched.core.api.params import parse_bool
from cronsched.core.cells import as_written
from cronsched.core.errors import InvalidInput
from jobs.models import Job
from jobs.services.bulk_upload.table import Row, TableFault
from jobs.services.fields import Refused

ON_WORDS: Final = frozenset({"enable", "enabled", "active", "true", "1"})
OFF_WORDS: Final = frozenset({"disable", "disabled", "inactive", "paused", "false", "0"})
# No field of a job: metadata.branchDetails, where the metadata have none.
BRANCH: Final = "branch"

_BLANKS: Final = re.compile(r"[\s_]+")
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T ]00:00(?::00)?)?", re.ASCII)
_ADDRESS_ENDS: Final = re.compile(r"[,;\r\n]+")
_WHOLE: Final = re.compile(r"[+-]?\d{1,9}(?:\.0+)?", re.ASCII)
_QUOTED: Final = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One job of a file, from whatever kind of file. A value may be a `Refused`: a cell nobody can read.

    `name` is as it was written. With a `fault` nothing else was understood.
    """

    row: int
    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    branch: str = ""
    fault: str = ""


# ---- cells ------------------------------------------------------------------------------------


def _read_text(name: str, text: str) -> str:
    return text


def _read_state(name: str, text: str) -> bool:
    word = text.casefold()
    if word in ON_WORDS or word in OFF_WORDS:
        return word in ON_WORDS
    raise Refused(
        f'Status "{text[:_QUOTED]}" is not known: write enabled or disabled, '
        "or leave it blank (a new job is enabled, an old one stays as it is)."
    )


def _read_flag(name: str, text: str) -> bool:
    try:
        return parse_bool(text, field=name)
    except InvalidInput as error:
        raise Refused(error.message) from None


def _read_date(name: str, text: str) -> str:
    """Year first, however it is parted; what else there is (01/02/2030) may mean two days."""
    found = _YEAR_FIRST.fullmatch(text)
    return f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}" if found else text


def _read_whole(name: str, text: str) -> int | str:
    """Spreadsheets make 30.0 of 30. What is no number stays text, for validation to refuse."""
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else text


def _read_object(name: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        fault = f"is not valid JSON ({error.msg}, {where})"
    except (ValueError, RecursionError):
        fault = "is not valid JSON"
    raise Refused(f'{name} {fault}: write an object such as {{"env": "production"}}, or leave it blank.')


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _read_emails(name: str, text: str) -> Any:
    """Addresses between commas, semicolons or line breaks; a JSON list where one of them has such."""
    if text.startswith("["):
        return _read_object(name, text)
    return _ADDRESS_ENDS.sub(",", text)


def _write_emails(addresses: Any) -> str:
    text = ", ".join(addresses)
    is_plain = not text.startswith("[") and not any(_ADDRESS_ENDS.search(address) for address in addresses)
    return text if is_plain else _write_object(addresses)


def _write_object(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _write_flag(value: bool) -> str:
    return "true" if value else "false"


def _write_text(value: Any) -> str:
    return "" if value is None else str(value)


# ---- columns ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """`title` is what an export writes; `others` are further headers. `get` and `write` make its cells."""

    field: str
    title: str
    others: tuple[str, ...] = ()
    is_required: bool = False
    clears: bool = False
    read: Callable[[str, str], Any] = _read_text
    get: Callable[[Job], Any] | None = None
    write: Callable[[Any], str] = _write_text

    def value_of(self, job: Job) -> Any:
        return self.get(job) if self.get else getattr(job, self.field)


COLUMNS: Final = (
    Column(field="name", title="Job Name", others=("name",), is_required=True),
    Column(
        field="cron_expression",
        title="Cron Schedule",
        others=("Cron Schedule (JST)", "cron_expression", "cron"),
        is_required=True,
    ),
    Column(
        field="is_active",
        title="Status",
        others=("is_active",),
        read=_read_state,
        write=lambda value: "enabled" if value else "disabled",
    ),
    Column(field="target_url", title="Target URL", clears=True),
    Column(field="github_owner", title="GitHub Owner"),
    Column(field="github_repo", title="Repo", others=("github_repo",), clears=True),
    Column(
        field="github_workflow_name", title="Workflow Name", others=("github_workflow_name",), clears=True
    ),
    Column(field="category", title="Category", get=lambda job: job.category.slug),
    Column(
        field="pic_team",
        title="PIC Team",
        is_required=True,
        get=lambda job: job.pic_team.slug if job.pic_team else None,
    ),
    Column(field="end_date", title="End Date", is_required=True, read=_read_date),
    Column(
        field="metadata",
        title="Request Body",
        others=("metadata",),
        clears=True,
        read=_read_object,
        write=_write_object,
    ),
    Column(
        field="enable_email_notifications",
        title="enable_email_notifications",
        read=_read_flag,
        write=_write_flag,
    ),
    Column(
        field="notification_emails",
        title="notification_emails",
        clears=True,
        read=_read_emails,
        write=_write_emails,
    ),
    Column(field="notify_on_success", title="notify_on_success", read=_read_flag, write=_write_flag),
    Column(field="alert_after", title="alert_after", read=_read_whole),
    Column(field="timezone", title="timezone", clears=True),
    Column(field="catch_up", title="catch_up"),
    Column(field="max_retries", title="max_retries", read=_read_whole),
    Column(field="timeout_seconds", title="timeout_seconds", clears=True, read=_read_whole),
    Column(field="follow_run", title="follow_run", read=_read_flag, write=_write_flag),
    Column(field="follow_timeout_minutes", title="follow_timeout_minutes", clears=True, read=_read_whole),
    Column(field="github_correlation_input", title="github_correlation_input", clears=True),
)
_BRANCH_COLUMN: Final = Column(field=BRANCH, title="Branch")
# Read, never written: an export holds no secrets, and a blank keeps what is there.
_SECRET_COLUMN: Final = Column(field="signing_secret", title="signing_secret")


def _normal(header: str) -> str:
    """Any case, spaces or underscores."""
    return _BLANKS.sub(" ", header.strip()).casefold()


_BY_HEADER: Final = {
    _normal(header): column
    for column in (*COLUMNS, _BRANCH_COLUMN, _SECRET_COLUMN)
    for header in (column.title, *column.others)
}


def count_known(cells: Sequence[str]) -> int:
    """How many of these cells are headers of ours."""
    return sum(_normal(cell) in _BY_HEADER for cell in cells)


class Layout:
    """Which cell of a row is what, as the header says. TableFault where a job could not be read at all."""

    def __init__(self, header: Sequence[str]) -> None:
        self._headers = header
        self._columns = [_BY_HEADER.get(_normal(title)) for title in header]
        self.unknown = [
            title for title, column in zip(header, self._columns, strict=True) if title and column is None
        ]
        self._refuse_missing()
        self._refuse_twice()

    def _refuse_missing(self) -> None:
        missing = [column.title for column in COLUMNS if column.is_required and column not in self._columns]
        if missing:
            found = ", ".join(f'"{title[:_QUOTED]}"' for title in self._headers if title)
            raise TableFault(
                f"The first row must name the columns; missing: {', '.join(missing)}. "
                f"Found: {found[:500] or 'none'}."
            )

    def _refuse_twice(self) -> None:
        titles: dict[str, str] = {}
        for title, column in zip(self._headers, self._columns, strict=True):
            if column is None:
                continue
            if column.field in titles:
                raise TableFault(
                    f'The columns "{titles[column.field]}" and "{title}" mean the same; keep one.'
                )
            titles[column.field] = title

    def is_blank(self, row: Row) -> bool:
        """Whether nothing stands in the row, but for columns without a header."""
        beyond = row.cells[len(self._headers) :]
        return not row.fault and not any(cell.strip() for cell in (*self._under_headers(row), *beyond))

    def _under_headers(self, row: Row) -> list[str]:
        return [cell for title, cell in zip(self._headers, row.cells, strict=False) if title]

    def entry(self, row: Row) -> Entry:
        if row.fault:
            return Entry(row=row.number, name="", fault=row.fault)
        data: dict[str, Any] = {}
        # A row may end before its blank cells do.
        cells = zip_longest(self._columns, row.cells[: len(self._columns)], fillvalue="")
        for column, cell in cells:
            if isinstance(column, Column):
                _put(column, as_written(cell).strip(), data)
        entry = Entry(row=row.number, name=data.get("name", ""), branch=data.pop(BRANCH, ""), data=data)
        if any(cell.strip() for cell in row.cells[len(self._headers) :]):
            return replace(entry, fault=self._too_long(row))
        return entry

    def _too_long(self, row: Row) -> str:
        return (
            f"This row has {len(row.cells)} cells, the header {len(self._headers)}: "
            'put a cell that holds a separator in quotes ("…").'
        )


def _put(column: Column, text: str, data: dict[str, Any]) -> None:
    if not text:
        if column.clears:
            data[column.field] = None
        return
    try:
        data[column.field] = column.read(column.field, text)
    except Refused as refusal:
        data[column.field] = refusal
