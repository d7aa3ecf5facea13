"""The earlier system's database: SQLite or MySQL, opened so that nothing can be written to it.

Rows come in pages by key, each page a query of its own, so that memory stays small and nobody is
kept waiting. MySQL reads all of them from one snapshot. SQLite reads what is there at each page: a
long read would keep the earlier system from writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.utils import ConnectionHandler

from cronsched import env
from cronsched.core.errors import InvalidInput

PAGE: Final = 5_000
Row = dict[str, Any]
# Without these two it is some other database.
NEEDED: Final = ("users", "jobs")


class Source(Protocol):
    """What both kinds of database answer."""

    def tables(self) -> set[str]: ...

    def columns(self, table: str) -> list[str]: ...

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    def close(self) -> None: ...

    # What pages go by: an order in which the table, and each job's part of an index, is stored.
    key: str
    mark: str
    quote: str


class Legacy:
    """The tables of the earlier system, as far as they are there."""

    def __init__(self, source: Source) -> None:
        self._source = source
        try:
            self._look()
        except InvalidInput:
            source.close()
            raise

    def _look(self) -> None:
        """Which tables and columns there are. InvalidInput where it is some other database."""
        source = self._source
        self._tables = source.tables()
        self._columns = {table: source.columns(table) for table in self._tables}
        missing = [table for table in NEEDED if table not in self._tables]
        if missing:
            raise InvalidInput(
                f"This is no database of the earlier system: it has no table {' and '.join(missing)}."
            )
        if "django_migrations" in self._tables:
            raise InvalidInput("This is a database of cronsched itself, not one of the earlier system.")

    def has(self, table: str) -> bool:
        return table in self._tables

    def count(self, table: str) -> int:
        if not self.has(table):
            return 0
        return int(self._source.query(f"SELECT COUNT(*) FROM {self._q(table)}")[0][0])  # noqa: S608

    def newest(self, table: str, column: str) -> Any:
        """The greatest value of a column, None where there is none."""
        if column not in self._columns.get(table, []):
            return None
        return self._source.query(f"SELECT MAX({self._q(column)}) FROM {self._q(table)}")[0][0]  # noqa: S608

    def counts_by(self, table: str, column: str) -> dict[Any, int]:
        """How many rows there are of each value of an indexed column."""
        if not self.has(table):
            return {}
        name = self._q(column)
        sql = f"SELECT {name}, COUNT(*) FROM {self._q(table)} GROUP BY {name}"  # noqa: S608
        return {value: int(count) for value, count in self._source.query(sql)}

    def pages(self, table: str, *, column: str = "", value: Any = None) -> Iterator[list[Row]]:
        """All rows, or those with `value` in `column`; nothing of a table that is not there."""
        if not self.has(table):
            return
        last: Any = None
        while page := self._page(table, column, value, last):
            last = page[-1][0]
            names = self._columns[table]
            yield [dict(zip(names, row[1:], strict=True)) for row in page]
            if len(page) < PAGE:
                return

    def _page(self, table: str, column: str, value: Any, last: Any) -> list[tuple[Any, ...]]:
        mark, key = self._source.mark, self._source.key
        wanted = {**({f"{self._q(column)} = ": value} if column else {})}
        wanted |= {f"{key} > ": last} if last is not None else {}
        where = " AND ".join(f"{part}{mark}" for part in wanted)
        names = ", ".join(self._q(name) for name in self._columns[table])
        sql = f"SELECT {key}, {names} FROM {self._q(table)}"  # noqa: S608
        sql += f" WHERE {where}" if where else ""
        return self._source.query(f"{sql} ORDER BY {key} LIMIT {PAGE}", list(wanted.values()))

    def _q(self, name: str) -> str:
        mark = self._source.quote
        return f"{mark}{name.replace(mark, mark * 2)}{mark}"

    def close(self) -> None:
        self._source.close()


def open_legacy(url: str, base_dir: Path) -> Legacy:
    """The database at `url`, written as DATABASE_URL is. InvalidInput where it cannot be read, or is ours."""
    try:
        config = env.database(url, base_dir, make_folder=False)
    except ImproperlyConfigured as error:
        raise InvalidInput(str(error).replace("DATABASE_URL", "--database")) from None
    engine = str(config["ENGINE"])
    if engine.endswith("sqlite3"):
        return Legacy(_Sqlite(Path(config["NAME"])))
    if engine.endswith("mysql"):
        return Legacy(_MySQL(config))
    raise InvalidInput("The earlier system's database is SQLite or MySQL: sqlite:///file.db or mysql://….")


class _Sqlite:
    key, mark, quote = "rowid", "?", '"'

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInput(f"There is no file {path}.")
        own = connection.settings_dict["NAME"]
        if connection.vendor == "sqlite" and Path(own).exists() and path.samefile(own):
            raise InvalidInput("This is the database that cronsched itself uses: name the earlier system's.")
        self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=20)
        # Text that is not UTF-8 must not stop the reading.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, tuple(params)).fetchall()
        except sqlite3.Error as error:
            raise InvalidInput(f"The earlier system's database cannot be read: {error}.") from None

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def columns(self, table: str) -> list[str]:
        return [row[0] for row in self.query("SELECT name FROM pragma_table_info(?)", (table,))]

    def close(self) -> None:
        self._connection.close()


class _MySQL:
    key, mark, quote = "id", "%s", "`"

    def __init__(self, config: dict[str, Any]) -> None:
        # A handler of its own: the connection must not be found by anybody else.
        self._connection = ConnectionHandler({"default": config})["default"]
        if connection.vendor == "mysql" and self._place() == _place_of_ours():
            raise InvalidInput("This is the database that cronsched itself uses: name the earlier system's.")
        self._execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self._execute(sql, params))

    def _execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, list(params) or None)
                return cursor.fetchall()
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise InvalidInput(f"The earlier system's database cannot be read: {reason}") from None

    def _place(self) -> tuple[Any, ...]:
        return tuple(self.query(_PLACE)[0])

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SHOW TABLES")}

    def columns(self, table: str) -> list[str]:
        return [row[0] for row in self.query(f"SHOW COLUMNS FROM `{table.replace('`', '``')}`")]

    def close(self) -> None:
        self._connection.close()


_PLACE: Final = "SELECT @@hostname, @@port, DATABASE()"


def _place_of_ours() -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(_PLACE)
        return tuple(cursor.fetchone())
