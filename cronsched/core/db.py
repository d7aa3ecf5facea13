"""The few things the ORM leaves to each database: its clock, its conflicts, its batches."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models.expressions import Func
from django.db.utils import IntegrityError

P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger(__name__)

_NOTHING = object()
CONFLICT_ATTEMPTS = 5
SQLITE_TURN_S = 0.11
# Of one statement that changes many rows: up to 4 bytes a character, quoted.
STATEMENT_CHARACTERS = 1_000_000
STATEMENT_ROWS = 500
# MySQL: deadlock 1213, lock wait timeout 1205. PostgreSQL: serialization failure, deadlock.
_CONFLICT_CODES = {1213, 1205, "40001", "40P01"}
# MySQL: a text that its column cannot hold, a constraint not met. PostgreSQL has better names for these.
_CONTENT_CODES = {1366, 3819, 4025}
# PostgreSQL has ended a transaction that stood still, or that took too long: an InternalError there.
_IDLE_CODES = {"25P03", "25P04"}
# And what MySQL says of a connection that was there a moment ago.
_LOST_CODES = {*_IDLE_CODES, 1927, 2006, 2013, 4031}


# What makes a server end a connection that stands still in a transaction, and so let go of its locks.
# MySQL can only end one that stands still at all: the next turn's `close_old_connections` opens another.
_IDLE_LIMITS: Mapping[str, str] = {
    "postgresql": "SET idle_in_transaction_session_timeout = '{}s'",
    "mariadb": "SET SESSION idle_transaction_timeout = {}",
    "mysql": "SET SESSION wait_timeout = {}",
}


def limit_idle_transactions(seconds: int) -> None:
    """From now on no connection of this process keeps its locks when the process stands still.

    For processes that hold locks which others wait for: not for a web server. SQLite has no server that
    could end anything: there the locks are kept until the process goes on or dies.
    """

    def limit(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        is_mariadb = getattr(connection, "mysql_is_mariadb", False)
        statement = _IDLE_LIMITS.get("mariadb" if is_mariadb else connection.vendor)
        if statement is not None:
            with connection.cursor() as cursor:
                cursor.execute(statement.format(seconds))

    connection_created.connect(limit, weak=False, dispatch_uid="limit_idle_transactions")


class DatabaseNow(Func):
    """The database's own time in UTC plus `plus_s` seconds, whatever the session's time zone is.

    A lease is compared in SQL against this clock, so that hosts whose clocks differ agree on it.
    """

    output_field = models.DateTimeField()

    def __init__(self, plus_s: float = 0.0) -> None:
        super().__init__()
        self.plus_ms = round(plus_s * 1000)

    def as_sqlite(self, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s)", [f"{self.plus_ms / 1000:+.3f} seconds"]

    def as_mysql(self, *args: Any, **kwargs: Any) -> tuple[str, list[Any]]:
        return "(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)", [self.plus_ms * 1000]

    def as_postgresql(self, *args: Any, **kwargs: Any) -> tuple[str, list[Any]]:
        return "(clock_timestamp() + %s * INTERVAL '1 millisecond')", [self.plus_ms]


def database_now() -> datetime:
    """The database's clock, read once, as an aware UTC time."""
    sql, params = getattr(DatabaseNow(), f"as_{connection.vendor}")()
    if connection.vendor == "postgresql":
        # Read as a plain UTC time: a session in another zone would show its own wall clock.
        sql = f"{sql} AT TIME ZONE 'UTC'"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}", params)
        value = cursor.fetchone()[0]
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_answering() -> bool:
    """Whether the database answers on this connection. Costs a query: ask only after an error."""
    try:
        return connection.connection is not None and connection.is_usable()
    except DatabaseError:
        return False


def is_silence(error: Exception) -> bool:
    """Whether an error tells of the connection or the server, and nothing of what was asked of it.

    The connection itself cannot be asked: Django has opened another by the end of a transaction.
    """
    if isinstance(error, OperationalError):
        return _code(error) not in _CONTENT_CODES and "Could not decode" not in str(error)
    return isinstance(error, InterfaceError) or _code(error) in _IDLE_CODES


def is_cut_short(error: Exception) -> bool:
    """Whether the server has ended the transaction, and lives: it stood still for too long, say.

    A machine that is out of breath stands still too: done again as it was, it would be cut short again.
    """
    return isinstance(error, DatabaseError) and _code(error) in _LOST_CODES and is_answering()


def _code(error: Exception) -> Any:
    """PostgreSQL's SQLSTATE, MySQL's number."""
    return getattr(error.__cause__, "sqlstate", None) or (error.args[0] if error.args else None)


def is_conflict(error: Exception) -> bool:
    """Whether the database says: someone was faster, do it again."""
    if _code(error) in _CONFLICT_CODES:
        return True
    return "database is locked" in str(error) or "database table is locked" in str(error)


def retry_conflicts(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` again, with a growing random pause, when its transaction met another.

    Only for a function whose whole work is one transaction. Inside an outer transaction the error
    passes: there the outer one is what has to be done again.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                last = attempt == CONFLICT_ATTEMPTS
                if last or connection.in_atomic_block or not is_conflict(error):
                    raise
                logger.info("conflict function=%s attempt=%d", function.__qualname__, attempt)
                time.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    return wrapper


def locked(queryset: models.QuerySet[Any], *, keeps_key: bool = False) -> models.QuerySet[Any]:
    """Lock the rows for this transaction where the database can; SQLite's IMMEDIATE already has.

    `keeps_key`: they will be neither deleted nor given another key, so that PostgreSQL lets others insert
    rows that refer to them meanwhile.
    """
    if not connection.features.has_select_for_update:
        return queryset
    return queryset.select_for_update(no_key=keeps_key and connection.features.has_select_for_no_key_update)


def locked_skipping(queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Lock the rows that nobody else holds, and pass over the others, where the database can."""
    if connection.features.has_select_for_update_skip_locked:
        return queryset.select_for_update(skip_locked=True, of=_of_self())
    return locked(queryset)


def _of_self() -> tuple[str, ...]:
    return ("self",) if connection.features.has_select_for_update_of else ()


def update_each(
    model: type[models.Model], columns: Sequence[str], where: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """One prepared UPDATE over many rows: each gives the values of `columns`, then those of `where`.

    `bulk_update` builds a CASE per column and was measured 100 times slower. The count of rows
    changed; a row whose `where` no longer holds is left as it is.
    """
    fields: list[Any] = [model._meta.get_field(name) for name in (*columns, *where)]
    prepared = _prepare(fields, zip(*rows, strict=True))
    if not prepared:
        return 0
    table, quote = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name
    targets, keys = fields[: len(columns)], fields[len(columns) :]
    if connection.vendor == "mysql" and connection.features.has_native_uuid_field:
        return sum(_update_joined(table, targets, keys, part) for part in _parts(prepared))
    assignments = ", ".join(f"{quote(field.column)} = %s" for field in targets)
    conditions = " AND ".join(f"{quote(field.column)} = %s" for field in keys)
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {table} SET {assignments} WHERE {conditions}", prepared)  # noqa: S608
        return int(cursor.rowcount)


def _update_joined(
    table: str, targets: Sequence[Any], keys: Sequence[Any], rows: Sequence[tuple[Any, ...]]
) -> int:
    """One statement where MariaDB's driver would make a round trip for each row.

    After each of them this thread waits for the interpreter, which the sender keeps busy: the results of
    10,000 runs at once were seen 3.8 s after the last answer. Not for MySQL, where ids are texts: a joined
    text that has another collation finds no index.
    """
    quote = connection.ops.quote_name
    names = [f"v{number}" for number in range(len(targets) + len(keys))]
    first = ", ".join(f"%s AS {name}" for name in names)
    other = " UNION ALL SELECT " + ", ".join(["%s"] * len(names))
    equal = [
        f"{table}.{quote(field.column)} = v.{name}"
        for field, name in zip([*targets, *keys], names, strict=True)
    ]
    with connection.cursor() as cursor:
        # STRAIGHT_JOIN: each of the rows is looked up by its key, and no other is read or locked.
        cursor.execute(
            f"UPDATE (SELECT {first}{other * (len(rows) - 1)}) AS v STRAIGHT_JOIN {table} "  # noqa: S608
            f"ON {' AND '.join(equal[len(targets) :])} SET {', '.join(equal[: len(targets)])}",
            [value for row in rows for value in row],
        )
        return int(cursor.rowcount)


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Of a statement's size: MariaDB takes 16 MB where it is not told otherwise."""
    part: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        part.append(row)
        size += sum(len(value) for value in row if isinstance(value, str))
        if size > STATEMENT_CHARACTERS or len(part) == STATEMENT_ROWS:
            yield part
            part, size = [], 0
    if part:
        yield part


def insert_each(rows: Sequence[models.Model]) -> None:
    """One prepared INSERT over many new rows of one model.

    `bulk_create` splits itself on SQLite into statements of 999 values: a batch of wide rows would
    cost dozens. Signals and database defaults play no part.
    """
    if not rows:
        return
    fields: list[Any] = list(type(rows[0])._meta.concrete_fields)
    _insert(type(rows[0]), fields, (_column_of(rows, field) for field in fields))


def _column_of(rows: Sequence[models.Model], field: Any) -> Iterator[Any]:
    if _fills_itself_in(field):
        return (field.pre_save(row, add=True) for row in rows)
    return map(attrgetter(field.attname), rows)


def _fills_itself_in(field: Any) -> bool:
    if isinstance(field, models.DateField):
        return field.auto_now or field.auto_now_add
    return type(field).pre_save is not models.Field.pre_save


def insert_values(model: type[models.Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """As `insert_each`, of plain values: nothing fills itself in, times of creation neither."""
    _insert(model, [model._meta.get_field(name) for name in columns], zip(*rows, strict=True))


def _insert(model: type[models.Model], fields: Sequence[Any], columns: Iterable[Iterable[Any]]) -> None:
    quote = connection.ops.quote_name
    names = ", ".join(quote(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({places})"  # noqa: S608
    prepared = _prepare(fields, columns)
    if prepared:
        with connection.cursor() as cursor:
            cursor.executemany(sql, prepared)


def _prepare(fields: Sequence[Any], columns: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    """The rows as the database takes them, given column by column."""
    # Django's `connection` looks for the thread's own at each use.
    own = connections[connection.alias]
    # Not strict: where there are no rows, there are no columns either.
    pairs = zip(fields, columns, strict=False)
    return list(zip(*(_prepare_column(field, column, own) for field, column in pairs), strict=True))


def _prepare_column(field: Any, values: Iterable[Any], own: BaseDatabaseWrapper) -> Iterator[Any]:
    """Most columns of a batch hold one and the same value: it is converted once."""
    field = field.target_field if field.is_relation else field
    known: Any = _NOTHING
    for value in values:
        if value is not known:
            known, stored = value, field.get_db_prep_save(value, own)
        yield stored


def driver_rows(queryset: models.QuerySet[Any], *columns: str) -> list[tuple[Any, ...]]:
    """As `values_list()`, but each value as the driver gives it: for answers of thousands of rows.

    Django's converters take four times as long as the reading itself. Without them a time is a naive datetime
    in UTC, or an aware one on PostgreSQL; an id text, in hexadecimal with or without dashes, or a UUID there;
    a JSON field its text; a flag may be 0 or 1.
    """
    compiler = queryset.values_list(*columns).query.get_compiler(connection=connection)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def by_ids(queryset: models.QuerySet[Any], ids: list[Any]) -> models.QuerySet[Any]:
    """The rows of these ids, in the queryset's order and with what it joins and defers.

    Its filters chose the ids and are gone: SQLite would rather walk an index of theirs than the key.
    """
    rows = queryset.all()
    rows.query.clear_where()
    return rows.filter(pk__in=ids)


def let_others_write() -> None:
    """Between two batches of long work: let whoever waits to write go first.

    SQLite has one writer and no queue: a waiter looks again after at most 100 ms, so work without a
    pause would keep the scheduler out until it is done. The other databases lock rows.
    """
    if connection.vendor == "sqlite":
        time.sleep(SQLITE_TURN_S)


def check_references() -> None:
    """Find rows of this transaction whose parent somebody deleted meanwhile, while it can be helped.

    PostgreSQL looks at foreign keys at the commit, where one such row costs the whole transaction: asked
    now, it raises IntegrityError inside the caller's savepoint. MariaDB has looked already; on SQLite
    nobody else writes meanwhile.
    """
    if connection.vendor == "postgresql":
        connection.check_constraints()


def is_duplicate(error: IntegrityError) -> bool:
    """Whether the integrity error is a unique key (not a foreign key or a check)."""
    return _code(error) in {1062, "23505"} or "UNIQUE constraint failed" in str(error)
