from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts import services
from accounts.audit import Change, changes_of, record, record_all, state_after
from accounts.choices import AuditKind
from accounts.models import AppendOnly, AuditEntry
from accounts.roles import Role
from accounts.tests.factories import UserFactory
from cronsched.core import clock
from cronsched.core.errors import InvalidInput
from cronsched.core.models import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def told(kind: AuditKind = AuditKind.USER) -> list[tuple[str, str, str, dict]]:
    """What was written, oldest first: action, who, which way, changes."""
    entries = AuditEntry.objects.filter(kind=kind).order_by("at", "id")
    return [(entry.action, entry.actor_name, entry.via, entry.changes) for entry in entries]


def test_a_new_user_is_written_down_without_their_password():
    boss = UserFactory(username="boss", admin=True)
    services.register_user(
        username="uma", email="uma@example.com", password="secret-1", by=boss, now=clock.now(), via="admin"
    )

    began = {
        "username": [None, "uma"],
        "email": [None, "uma@example.com"],
        "role": [None, "viewer"],
        "is_active": [None, True],
    }
    assert told() == [("created", "boss", "admin", began)]


@pytest.mark.parametrize(
    ("changes", "action", "kept"),
    [
        ({"role": "admin"}, "role", {"role": ["user", "admin"]}),
        ({"is_active": False}, "disabled", {"is_active": [True, False]}),
        ({"password": "another-1"}, "password", {"password": ["[set]", "[changed]"]}),
        ({"email": "new@example.com"}, "updated", {"email": ["uma@example.com", "new@example.com"]}),
    ],
)
def test_an_update_is_named_by_its_weightiest_change(changes, action, kept):
    uma = UserFactory(username="uma", email="uma@example.com")
    services.update_user(uma, changes=changes, by=uma, now=clock.now())

    assert told() == [(action, "uma", "api", kept)]


def test_an_update_that_changes_nothing_leaves_no_line():
    uma = UserFactory()
    services.update_user(uma, changes={"role": "user", "email": uma.email}, by=uma, now=clock.now())

    assert told() == []


def test_a_refused_change_leaves_no_line():
    boss = UserFactory(admin=True)
    with pytest.raises(InvalidInput):
        services.update_user(boss, changes={"role": "viewer"}, by=boss, now=clock.now())

    assert told() == []


def test_a_command_is_nobody():
    services.ensure_admin(username="root", email="r@example.com", password="secret-1", now=clock.now())

    assert [line[:3] for line in told()] == [("created", "command", "command")]


def test_whoever_is_deleted_leaves_their_name():
    boss, uma = UserFactory(username="boss", admin=True), UserFactory(username="uma")
    services.change_password(uma, password="another-1", by=uma, now=clock.now())
    services.delete_user(uma, by=boss, now=clock.now())

    (first, second) = AuditEntry.objects.order_by("at", "id")
    assert (first.actor_id, first.actor_name) == (None, "uma")
    assert (second.actor_id, second.action) == (boss.pk, "deleted")
    assert second.changes["username"] == ["uma", None]


def test_a_change_that_is_rolled_back_takes_its_line_along():
    uma = UserFactory()
    with transaction.atomic():
        services.update_user(uma, changes={"role": "viewer"}, by=None, now=clock.now())
        transaction.set_rollback(True)

    assert told() == []


def test_nothing_changes_or_deletes_a_line():
    services.update_user(UserFactory(), changes={"role": Role.VIEWER}, by=None, now=clock.now())
    entry = AuditEntry.objects.get()

    for attempt in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(note="x"),
        lambda: AuditEntry.objects.bulk_update([entry], ["note"]),
    ):
        with pytest.raises(AppendOnly):
            attempt()


def test_a_batch_is_one_statement():
    changes = [
        Change(kind=AuditKind.JOB, object_id=uuid7(), name=f"Job {n}", action="created") for n in range(600)
    ]
    with CaptureQueriesContext(connection) as queries:
        record_all(changes, by=None, now=clock.now(), via="csv")

    assert len({query["sql"].partition("VALUES")[0] for query in queries}) == 1
    assert AuditEntry.objects.count() == 600


def test_nothing_costs_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        record_all([], by=None, now=clock.now(), via="csv")


def test_the_state_after_an_entry_is_what_later_ones_found():
    key, now = uuid7(), clock.now()

    def write(**changes):
        record(
            kind=AuditKind.JOB,
            object_id=key,
            name="J",
            action="updated",
            changes=changes,
            by=None,
            now=now,
            via="api",
        )

    write(a=(1, 2))
    write(a=(2, 3), b=("x", "y"))
    write(a=(3, 4))
    entries = list(changes_of(AuditKind.JOB, key))

    assert [state_after(entries, entry) for entry in reversed(entries)] == [
        {"a": 2, "b": "x"},
        {"a": 3},
        {},
    ]
