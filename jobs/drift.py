"""What is amiss with a job's next run, told by the database itself: whatever changed the row, and however.

Indexes hold it, so that finding the few jobs that were changed behind the services' back costs the same
for any number of jobs; PLAN, which moves `next_run_at` on, touches none of them. MariaDB has neither
indexes on expressions nor partial ones: there, and on MySQL, one column that the database computes says both.

Migrations use what is here: another expression wants another class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddIndex
from django.db.migrations.state import ProjectState
from django.db.models import CharField, Func, Q
from django.db.models.sql.compiler import SQLCompiler

COLUMNS = ("is_active", "timezone", "planned_schedule", "cron_expression")
# `key` is what `planned_schedule` should be where the job has a zone of its own, `start` how it begins.
DRIFT = (
    "CASE WHEN NOT {is_active} THEN NULL"
    " WHEN {timezone} = '' THEN REPLACE({planned_schedule}, {start}, '')"
    " WHEN {planned_schedule} = {key} THEN NULL ELSE '' END"
)
# An active job without a next run, or a paused one with one.
ODD = Q(is_active=True, next_run_at__isnull=True) | Q(is_active=False, next_run_at__isnull=False)
DRIFT_OR_ODD = f"CASE WHEN is_active = (next_run_at IS NULL) THEN '' ELSE {DRIFT} END"


class Drift(Func):
    """NULL: nothing. The name of a zone: nothing, if that is the scheduler's; the job has none of its own.

    "": the expression or the zone is not what the next run was computed from; on MariaDB and MySQL an `ODD`
    job too.
    """

    output_field = CharField()

    def __init__(self) -> None:
        super().__init__(*COLUMNS)

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **extra: Any) -> tuple[str, tuple[()]]:
        columns = [compiler.compile(column)[0] for column in self.source_expressions]
        return _filled_in(DRIFT, columns, "{} || {}"), ()

    as_postgresql = as_sqlite

    def as_mysql(self, compiler: SQLCompiler, connection: Any, **extra: Any) -> tuple[str, tuple[()]]:
        resolved: Any = self.source_expressions[0]
        return f"{compiler.quote_name_unless_alias(resolved.alias)}.drift", ()


def _filled_in(template: str, columns: Sequence[str], concat: str) -> str:
    """The template with COLUMNS as they are called in a statement; `concat` joins two texts."""
    named = dict(zip(COLUMNS, columns, strict=True))
    start = concat.format(named["cron_expression"], "'|'")
    return template.format(**named, start=start, key=concat.format(start, named["timezone"]))


class AddDriftIndex(AddIndex):
    """On MariaDB and MySQL: the column, stored, and its index. It copies the table, once."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: Any
    ) -> None:
        if schema_editor.connection.vendor != "mysql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        expression = _filled_in(DRIFT_OR_ODD, COLUMNS, "CONCAT({}, {})")
        schema_editor.execute(
            "ALTER TABLE jobs_job"
            f" ADD COLUMN drift varchar(170) GENERATED ALWAYS AS ({expression}) STORED,"
            f" ADD INDEX {self.index.name} (drift, id)"
        )

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: Any
    ) -> None:
        if schema_editor.connection.vendor != "mysql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        schema_editor.execute(f"ALTER TABLE jobs_job DROP INDEX {self.index.name}, DROP COLUMN drift")
