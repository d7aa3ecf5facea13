"""What a process asks of its database connections."""

from __future__ import annotations

import pytest
from django.db import connection, connections
from django.db.backends.signals import connection_created

from cronsched.core.db import limit_idle_transactions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]

QUESTIONS = {
    "postgresql": ("SHOW idle_in_transaction_session_timeout", "7s"),
    "mariadb": ("SELECT @@SESSION.idle_transaction_timeout", 7),
    "mysql": ("SELECT @@SESSION.wait_timeout", 7),
}


@pytest.fixture
def limited():
    limit_idle_transactions(7)
    connection.close()
    yield
    connection_created.disconnect(dispatch_uid="limit_idle_transactions")
    connection.close()


def asked(kind: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(QUESTIONS[kind][0])
        return cursor.fetchone()[0]


def test_a_transaction_that_stands_still_is_ended_by_the_server(limited):
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        return
    kind = "mariadb" if connection.vendor == "mysql" else connection.vendor

    assert asked(kind) == QUESTIONS[kind][1]


def test_mysql_ends_a_connection_that_stands_still(limited, monkeypatch):
    if connection.vendor != "mysql":
        pytest.skip("not of this database")
    monkeypatch.setattr(connections["default"], "mysql_is_mariadb", False)

    assert asked("mysql") == 7
