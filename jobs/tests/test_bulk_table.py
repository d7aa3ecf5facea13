"""What spreadsheets write, read as rows; and what cannot be read, refused with the way out."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cronsched.core.cells import as_written, harmless
from jobs.services.bulk_upload.columns import (
    COLUMNS,
    Entry,
    Layout,
    count_known,
)
from jobs.services.bulk_upload.sheet import Sheet
from jobs.services.bulk_upload.table import Row, Table, TableFault
from jobs.services.fields import Refused

HEADER = "name,cron,PIC Team,End Date,Target URL"
TOP = f"{HEADER}\n".encode()


def read(content: bytes) -> list[tuple[int, list[str]]]:
    table = Table(io.BytesIO(content), score=count_known)
    return [(row.number, list(row.cells)) for row in table.rows()]


def entries(text: str, header: str = HEADER) -> list[Entry]:
    return list(Sheet(io.BytesIO(f"{header}\n{text}".encode())).entries())


def data(cells: str, header: str) -> dict[str, Any]:
    """What the last column of one row was read as, after the required ones."""
    row = entries(f"A,* * * * *,t,2030-12-31,,{cells}", f"{HEADER},{header}")[0]
    return dict(row.data)


# ---- bytes and separators ---------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", list(",;\t"))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_whatever_a_spreadsheet_saves_is_read_alike(encoding: str, separator: str, end: str) -> None:
    lines = (HEADER.replace(",", separator), separator.join(("日報 🚀", "0 2 * * *", "é", "2030-12-31", "u")))

    assert read(end.join(lines).encode(encoding)) == [(2, ["日報 🚀", "0 2 * * *", "é", "2030-12-31", "u"])]


def test_big_endian_utf_16_has_its_mark_too() -> None:
    assert read(b"\xfe\xff" + "name,cron\nA,B".encode("utf-16-be")) == [(2, ["A", "B"])]


@pytest.mark.parametrize("separator", list(",;\t|"))
def test_a_sep_line_says_what_parts_the_cells_and_is_no_row(separator: str) -> None:
    """Excel writes and obeys it, and shows the table without it."""
    content = f"sep={separator}\r\nname{separator}cron\r\nA{separator}B;C,D\r\n".encode()

    assert read(content)[0][0] == 2
    assert read(content)[0][1][0] == "A"


@pytest.mark.parametrize(
    ("header", "row", "cells"),
    [
        ('"Job Name";"cron"', '"a,b";"c\td"', ["a,b", "c\td"]),
        ("Job Name;cron;x,y", "a;b;c,d", ["a", "b", "c,d"]),
        ('name\tcron\t"a,b,c,d;e"', "a\tb\tc,d", ["a", "b", "c,d"]),
        ("name", "a", ["a"]),
    ],
)
def test_the_separator_is_the_one_that_finds_known_columns(header: str, row: str, cells: list[str]) -> None:
    assert read(f"{header}\n{row}".encode()) == [(2, cells)]


def test_the_number_is_the_one_a_spreadsheet_shows() -> None:
    """Quoted line breaks make no row, blank lines do; the header need not be in the first."""
    content = b'\n\nname,cron\nA,"x\r\ny\nz"\n\n,\nB,"""q"""\n'

    assert read(content) == [(4, ["A", "x\r\ny\nz"]), (5, []), (6, ["", ""]), (7, ["B", '"q"'])]


def test_a_row_with_loose_quotes_is_a_fault_of_that_row_alone() -> None:
    table = Table(io.BytesIO(b'name,cron\nA,"{"a": 1}"\nB,C\n'), score=count_known)

    bad, good = table.rows()

    assert (bad.number, good.number, good.cells) == (2, 3, ["B", "C"])
    assert "must be doubled" in bad.fault


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b"\n\n \n", "is empty"),
        (b"sep=;\r\n", "is empty"),
        (b'"name,cron\nA,B', "Row 1 opens a quote"),
        (b'"name"x,cron\nA,B', "Row 1: A quote"),
        (TOP + b'A,B\n"C,D\nE,F\n', "Row 3 opens a quote"),
        (TOP + b"A,\xe9\n", "Row 2 is not UTF-8. Save it as"),
        (TOP + b"A,B\n" * 30_000 + b"A,\xe9\n", "Row 30002 is not UTF-8"),
        (b"na\x00me,cron\nA,B\n", "Row 1 holds a NUL"),
        (TOP + "A,日本".encode("cp932"), "Row 2 is not UTF-8. It looks like Shift-JIS. Save it as"),
        (TOP + "A,Größe".encode("cp1252"), "Row 2 is not UTF-8. Save it as"),
        ("name,cron\nA,B".encode("utf-16-le"), "Row 1 holds a NUL"),
        (TOP.decode().encode("utf-16") + b"\x00", "is not UTF-16 as its mark says"),
        (b"\xff\xfea", "is not UTF-16 as its mark says"),
        ("name,cron".encode("utf-32"), "UTF-32"),
        (b"PK\x03\x04" + b"\x00" * 99, "Excel workbook (.xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel workbook (.xls)"),
        (b"%PDF-1.7", "PDF"),
        (bytes(range(256)), "NUL"),
    ],
)
def test_what_is_no_table_is_refused_with_the_way_out(content: bytes, words: str) -> None:
    with pytest.raises(TableFault) as caught:
        Sheet(io.BytesIO(content))
    assert words in caught.value.message


@given(st.binary(max_size=300))
@example(b"sep=\x00\nname,cron")
@example(b"\xff\xfe\x00\xd8")
@example(b'"')
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        sheet = Sheet(io.BytesIO(content))
    except TableFault:
        return
    list(sheet.entries())


@given(st.binary(max_size=200))
def test_any_rows_below_a_header_are_read_or_refused(content: bytes) -> None:
    try:
        sheet = Sheet(io.BytesIO(HEADER.encode() + b"\n" + content))
    except TableFault:
        return
    assert len(list(sheet.entries())) == sheet.entry_count


def test_a_cell_may_be_as_long_as_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read(b"name,cron\nA," + b"x" * 1_000_000)[0][1][1]) == 1_000_000


def test_a_file_of_too_many_rows_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.services.bulk_upload.sheet.ROWS_MAX", 3)
    row = "A,b,c,d,e\n"

    assert len(entries(row * 3 + "\n" * 9)) == 3
    with pytest.raises(TableFault, match="more than 3 rows"):
        entries(row * 4)


def test_the_file_stays_the_callers() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(f"{HEADER}\nA,b,c,d,e\n".encode())
        sheet = Sheet(file)
        assert [entry.name for entry in sheet.entries()] == ["A"]
        assert [entry.name for entry in sheet.entries()] == ["A"], "as often as one likes"
        assert not file.closed


def test_who_stops_in_the_middle_may_close_the_file() -> None:
    file = io.BytesIO(TOP + b"A,b,c,d,e\n" * 3)
    rows = Sheet(file).entries()
    next(rows)
    file.close()

    rows.close()  # type: ignore[attr-defined]


# ---- the header -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        (["Job Name", "name", "JOB_NAME", " job  name ", "Name"], "name"),
        (
            ["Cron Schedule (JST)", "Cron Schedule", "cron_expression", "cron", "CRON_SCHEDULE_(jst)"],
            "cron_expression",
        ),
        (["Status", "is_active", "Is Active"], "is_active"),
        (["Target URL", "target_url"], "target_url"),
        (["Repo", "github_repo", "GitHub Repo"], "github_repo"),
        (["Workflow Name", "github_workflow_name"], "github_workflow_name"),
        (["GitHub Owner", "github_owner"], "github_owner"),
        (["Category"], "category"),
        (["PIC Team", "pic_team"], "pic_team"),
        (["End Date", "end_date"], "end_date"),
        (["Request Body", "metadata"], "metadata"),
        (["enable_email_notifications", "Enable Email Notifications"], "enable_email_notifications"),
        (["notification_emails"], "notification_emails"),
        (["notify_on_success"], "notify_on_success"),
        (["timezone"], "timezone"),
        (["catch_up"], "catch_up"),
        (["max_retries"], "max_retries"),
        (["timeout_seconds"], "timeout_seconds"),
    ],
)
def test_every_header_of_the_contract(headers: list[str], field: str) -> None:
    required = [column.title for column in COLUMNS if column.is_required and column.field != field]
    for header in headers:
        layout = Layout([*required, header])
        entry = layout.entry(Row(2, [*("x" * len(required)), "1"]))
        assert field in entry.data, header


def test_columns_without_a_header_are_dropped_and_unknown_ones_named() -> None:
    layout = Layout([*HEADER.split(","), "", "Remarks"])

    assert layout.unknown == ["Remarks"]
    assert layout.is_blank(Row(2, ["", " ", "", "", "", "dropped", ""]))
    assert not layout.is_blank(Row(2, ["", "", "", "", "", "", "a remark"]))
    assert not layout.is_blank(Row(2, ["", "", "", "", "", "", "", "beyond"]))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("name", "missing: Cron Schedule, PIC Team, End Date."),
        ("x,y", 'Found: "x", "y".'),
        (f"{HEADER},Job_name", '"name" and "Job_name" mean the same'),
        (f"{HEADER},Status,IS ACTIVE", '"Status" and "IS ACTIVE" mean the same'),
    ],
)
def test_a_header_that_leaves_a_doubt_is_refused(header: str, words: str) -> None:
    with pytest.raises(TableFault) as caught:
        Layout(header.split(","))
    assert words in caught.value.message


def test_a_row_longer_than_the_header_is_a_fault_and_a_shorter_one_blank() -> None:
    long, spaced, short = entries("A,b,c,d,e,f\nB,b,c,d,e, ,\nC,b")

    assert "has 6 cells, the header 5" in long.fault
    assert spaced.fault == short.fault == ""
    assert short.data == {"name": "C", "cron_expression": "b", "target_url": None}


# ---- cells ------------------------------------------------------------------------------------

DATES = {
    "2030-12-31": "2030-12-31",
    "2030/12/31": "2030-12-31",
    "2030/1/5": "2030-01-05",
    "2030.1.5": "2030-01-05",
    "2030年1月5日": "2030-01-05",
    "2030-12-31 00:00:00": "2030-12-31",
    "2030-12-31T00:00": "2030-12-31",
    "31/12/2030": "31/12/2030",
    "2030-12-31 10:00": "2030-12-31 10:00",
    "2030-123-1": "2030-123-1",
}


@pytest.mark.parametrize(("cell", "value"), DATES.items())
def test_dates_with_the_year_first_are_understood_and_no_others(cell: str, value: str) -> None:
    assert entries(f"A,b,c,{cell},e")[0].data["end_date"] == value


@pytest.mark.parametrize(
    ("header", "cell", "value"),
    [
        ("notify_on_success", "Yes", True),
        ("notify_on_success", "OFF", False),
        ("max_retries", "3", 3),
        ("max_retries", "3.0", 3),
        ("max_retries", "3.5", "3.5"),
        ("max_retries", "９", "９"),
        ("max_retries", "9" * 5000, "9" * 5000),
        ("timeout_seconds", "", None),
        ("metadata", '"{""a"": [1, ""é""]}"', {"a": [1, "é"]}),
        ("metadata", "[1]", [1]),
        ("metadata", "", None),
        ("notification_emails", '"a@b.co;c@d.co\nx@y.co"', "a@b.co,c@d.co,x@y.co"),
        ("notification_emails", '"[""a@b.co""]"', ["a@b.co"]),
        ("timezone", " UTC ", "UTC"),
    ],
)
def test_cells_become_values(header: str, cell: str, value: Any) -> None:
    assert data(cell, header)[header] == value


@pytest.mark.parametrize(
    ("header", "cell", "words"),
    [
        ("Status", "sleeping", 'Status "sleeping" is not known'),
        ("notify_on_success", "maybe", "must be true or false"),
        ("metadata", "{a: 1}", "not valid JSON (Expecting property name"),
        ("metadata", "{", "line 1, column 2): write an object"),
        ("metadata", '"{""a"": NaN}"', "not valid JSON"),
        ("metadata", "[" * 100_000, "not valid JSON"),
        ("metadata", "1" * 5000, "not valid JSON"),
        ("notification_emails", "[x", "not valid JSON"),
    ],
)
def test_cells_that_nobody_can_read_are_refused_with_the_way_out(header: str, cell: str, words: str) -> None:
    refusal = data(cell, header)["is_active" if header == "Status" else header]

    assert isinstance(refusal, Refused)
    assert words in str(refusal)


# ---- formulas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=1+2", "+49", "-x", "@SUM(1)", "\tx", "\rx"])
def test_what_a_spreadsheet_would_run_gets_one_quote(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert as_written(f"'{text}") == text


@pytest.mark.parametrize("text", ["", "plain", "'quoted'", "a=b", "'", "''", " =x", "*", "0"])
def test_what_it_would_not_run_stays(text: str) -> None:
    assert harmless(text) == text
    assert as_written(text) == text


@given(st.text(alphabet="'=+-@\t\r ax", max_size=8))
def test_taking_the_quote_away_gives_back_what_was_there(text: str) -> None:
    shown = harmless(text)

    assert as_written(shown) == text
    assert shown in (text, f"'{text}")
    assert not shown.startswith(tuple("=+-@\t\r"))
