"""The previous version's code must be able to read and write this version's schema: docs/operations.md.

`make check-upgrade` tries it; here the rule is read off the migrations, so that every run tells of a fault.
"""

from __future__ import annotations

import pytest
from django.db import migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

APPS = ("accounts", "taxonomy", "jobs", "notifications")
# What these took away no released code has known. A migration made since the first release is never added.
BEFORE_A_RELEASE = {
    ("notifications", "0003_slack_settings_uuid"),
    ("notifications", "0005_told_per_channel"),
}
RENAMES = (migrations.RenameField, migrations.RenameModel, migrations.AlterModelTable)


@pytest.fixture(scope="module")
def loader() -> MigrationLoader:
    return MigrationLoader(None)


def later(loader: MigrationLoader) -> list[tuple[tuple[str, str], Operation]]:
    """Each operation of our apps' migrations after the first, with the key of its migration."""
    return [
        (key, operation)
        for key, migration in sorted(loader.disk_migrations.items())
        if key[0] in APPS and not migration.initial
        for operation in migration.operations
    ]


def test_a_required_column_that_came_later_has_a_default_in_the_database(loader):
    models = loader.project_state().models
    added = [
        (key[0], operation.model_name_lower, operation.name)
        for key, operation in later(loader)
        if isinstance(operation, migrations.AddField)
    ]
    assert added, "no migration was found"

    without = []
    for app, model, name in added:
        field = models[app, model].fields.get(name) if (app, model) in models else None
        is_required = field is not None and not field.many_to_many and not field.null
        if is_required and not field.has_db_default():
            without.append(f"{app}.{model}.{name}")

    assert without == [], "give them a db_default: the previous version's inserts do not name these columns"


def test_no_column_becomes_required_that_was_not(loader):
    tightened = []
    for key, operation in later(loader):
        if isinstance(operation, migrations.AlterField) and not operation.field.null:
            before = loader.project_state(key, at_end=False).models[key[0], operation.model_name_lower]
            if operation.name in before.fields and before.fields[operation.name].null:
                tightened.append(f"{key[0]}.{operation.model_name_lower}.{operation.name}")

    assert tightened == [], (
        "the previous version still writes NULL there: fill it now, require it a release later"
    )


def test_nothing_is_renamed(loader):
    renamed = [
        f"{'.'.join(key)}: {operation.describe()}"
        for key, operation in later(loader)
        if isinstance(operation, RENAMES) and key not in BEFORE_A_RELEASE
    ]

    assert renamed == [], "add under the new name, and remove the old one a release later"
