"""Django for a bench: the product's own settings on a database of the bench's own."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from urllib.parse import urlsplit

DEFAULT_DATABASE = "sqlite:////tmp/cronsched-bench.db"


def start_django(database_url: str, *more_apps: str) -> None:
    """Set up Django on `database_url`, with secrets that are good for nothing else, and `more_apps`."""
    os.environ["DATABASE_URL"] = database_url
    os.environ["DJANGO_SETTINGS_MODULE"] = "cronsched.settings"
    os.environ["LOG_LEVEL"] = os.environ.get("BENCH_LOG_LEVEL", "WARNING")
    os.environ.setdefault("SECRET_KEY", "bench-only-secret-key-of-more-than-32-bytes")
    os.environ.setdefault("ENCRYPTION_KEYS", "YmVuY2gtb25seS1rZXktb2YtMzItYnl0ZXMtLi4uLi4=")
    os.environ.update(DEBUG="false", TESTING="false", ALLOWED_HOSTS="testserver")
    os.environ.update(WEBHOOK_ALLOW_HTTP="true", WEBHOOK_ALLOW_PRIVATE_NETWORKS="true")
    import django
    from django.conf import settings

    settings.INSTALLED_APPS += more_apps
    # As with DEBUG: pages must not need collected files.
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    django.setup()


def create_database(database_url: str) -> None:
    """Make an empty database of that name, in the place of any other, and its tables."""
    from django.core.management import call_command
    from django.db import connection

    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(f"{name}{suffix}"):
                os.unlink(f"{name}{suffix}")
    else:
        _recreate(database_url, name)
    call_command("migrate", verbosity=0)


def _recreate(database_url: str, name: str) -> None:
    """Through a connection of its own: Django's is to the database that is to go."""
    url = urlsplit(database_url)
    if url.scheme.startswith("postgres"):
        import psycopg

        with psycopg.connect(
            host=url.hostname,
            port=url.port or 5432,
            user=url.username,
            password=url.password,
            dbname="postgres",
            autocommit=True,
        ) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            server.execute(f'CREATE DATABASE "{name}"')
        return
    import MySQLdb

    server = MySQLdb.connect(
        host=url.hostname, port=url.port or 3306, user=url.username, password=url.password or ""
    )
    server.query(f"DROP DATABASE IF EXISTS `{name}`")
    server.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    server.close()


def describe_run() -> str:
    """Where and when, for the head of a table."""
    from django.db import connection

    connection.ensure_connection()
    versions = {"sqlite": _sqlite, "mysql": _mysql, "postgresql": _postgresql}
    return f"{versions[connection.vendor]()}, Python {platform.python_version()}, {datetime.now(UTC).date()}"


def _sqlite() -> str:
    import sqlite3

    return f"SQLite {sqlite3.sqlite_version}"


def _mysql() -> str:
    from django.db import connection

    return f"MariaDB {'.'.join(map(str, connection.mysql_version))}"


def _postgresql() -> str:
    from django.db import connection

    return f"PostgreSQL {connection.pg_version // 10000}.{connection.pg_version % 100}"
