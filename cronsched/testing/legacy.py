"""A database of the earlier system, made from its documents: tables and columns as they are named there."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final


def passlib_hash(password: str, salt: bytes = b"legacy-salt-0001", rounds: int = 29_000) -> str:
    """As the earlier system stored it; made without passlib, which some Pythons cannot import."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    parts = [base64.b64encode(part).decode().rstrip("=").replace("+", ".") for part in (salt, digest)]
    return f"$pbkdf2-sha256${rounds}${'$'.join(parts)}"


# Column types as SQLAlchemy spells them; both databases read these.
TABLES: Final[dict[str, str]] = {
    "users": """id VARCHAR(36) NOT NULL PRIMARY KEY, username VARCHAR(80) NOT NULL,
        email VARCHAR(120) NOT NULL, password_hash VARCHAR(255) NOT NULL, role VARCHAR(20) NOT NULL,
        is_active BOOLEAN NOT NULL, created_at DATETIME, updated_at DATETIME""",
    "jobs": """id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL,
        cron_expression VARCHAR(100) NOT NULL, target_url VARCHAR(500), github_owner VARCHAR(255),
        github_repo VARCHAR(255), github_workflow_name VARCHAR(255), job_metadata TEXT,
        category VARCHAR(100) NOT NULL, pic_team VARCHAR(100), end_date DATE,
        enable_email_notifications BOOLEAN, notification_emails TEXT, notify_on_success BOOLEAN,
        created_by VARCHAR(36), is_active BOOLEAN, created_at DATETIME, updated_at DATETIME""",
    "job_executions": """id VARCHAR(36) NOT NULL PRIMARY KEY, job_id VARCHAR(36) NOT NULL,
        status VARCHAR(20) NOT NULL, trigger_type VARCHAR(20) NOT NULL, started_at DATETIME NOT NULL,
        completed_at DATETIME, duration_seconds FLOAT, execution_type VARCHAR(50), target VARCHAR(500),
        response_status INTEGER, error_message TEXT, output TEXT""",
    "notifications": """id VARCHAR(36) NOT NULL PRIMARY KEY, user_id VARCHAR(36) NOT NULL,
        title VARCHAR(255) NOT NULL, message TEXT NOT NULL, type VARCHAR(20) NOT NULL,
        related_job_id VARCHAR(36), related_execution_id VARCHAR(36), is_read BOOLEAN NOT NULL,
        read_at DATETIME, created_at DATETIME NOT NULL""",
    "job_categories": """id VARCHAR(36) NOT NULL PRIMARY KEY, slug VARCHAR(100) NOT NULL,
        name VARCHAR(255) NOT NULL, is_active BOOLEAN NOT NULL, created_at DATETIME, updated_at DATETIME""",
    "pic_teams": """id VARCHAR(36) NOT NULL PRIMARY KEY, slug VARCHAR(100) NOT NULL,
        name VARCHAR(255) NOT NULL, slack_handle VARCHAR(255), is_active BOOLEAN NOT NULL,
        created_at DATETIME, updated_at DATETIME""",
    "slack_settings": """id VARCHAR(36) NOT NULL PRIMARY KEY, is_enabled BOOLEAN NOT NULL,
        webhook_url TEXT, channel VARCHAR(255), created_at DATETIME, updated_at DATETIME""",
    "user_notification_preferences": """id VARCHAR(36) NOT NULL PRIMARY KEY, user_id VARCHAR(36) NOT NULL,
        email_on_job_success BOOLEAN, email_on_job_failure BOOLEAN, email_on_job_disabled BOOLEAN,
        browser_notifications BOOLEAN, daily_digest BOOLEAN, weekly_report BOOLEAN, created_at DATETIME,
        updated_at DATETIME""",
    "user_ui_preferences": """id VARCHAR(36) NOT NULL PRIMARY KEY, user_id VARCHAR(36) NOT NULL,
        jobs_table_columns TEXT, created_at DATETIME, updated_at DATETIME""",
}
INDEXES: Final = (
    "CREATE INDEX ix_job_executions_job_id ON job_executions (job_id)",
    "CREATE INDEX ix_notifications_user_id ON notifications (user_id)",
)
PASSWORD: Final = "correct-horse"
# As the earlier system stored it: passlib's pbkdf2_sha256 at its default rounds.
PASSWORD_HASH: Final = passlib_hash(PASSWORD)
THEN: Final = "2026-01-15 10:30:00.123456"


class LegacyDatabase:
    """A connection to write rows by name; `mark` is the driver's placeholder."""

    def __init__(self, connection: Any, mark: str = "?") -> None:
        self.connection, self.mark = connection, mark
        cursor = connection.cursor()
        for table, columns in TABLES.items():
            cursor.execute(f"CREATE TABLE {table} ({columns})")
        for index in INDEXES:
            cursor.execute(index)
        connection.commit()

    def insert(self, table: str, rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> None:
        names, marks = ", ".join(columns), ", ".join([self.mark] * len(columns))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of TABLES
        self.connection.cursor().executemany(sql, list(rows))
        self.connection.commit()

    def add(self, table: str, **values: Any) -> str:
        """One row with sensible values for what is left out; its id."""
        row = {**_defaults(table), **values}
        self.insert(table, [list(row.values())], list(row))
        return str(row["id"])

    def run(self, sql: str, *params: Any) -> None:
        self.connection.cursor().execute(sql, params)
        self.connection.commit()


def sqlite_database(path: Path) -> LegacyDatabase:
    return LegacyDatabase(sqlite3.connect(path))


_count = 0


def _defaults(table: str) -> dict[str, Any]:
    global _count
    _count += 1
    own: dict[str, dict[str, Any]] = {
        "users": {
            "username": f"user_{_count}",
            "email": f"user_{_count}@example.com",
            "password_hash": PASSWORD_HASH,
            "role": "user",
            "is_active": 1,
        },
        "jobs": {
            "name": f"Job {_count}",
            "cron_expression": "0 2 * * *",
            "target_url": "https://hooks.example.com/run",
            "job_metadata": json.dumps({"n": _count}),
            "category": "general",
            "pic_team": "devops",
            "end_date": "2030-12-31",
            "enable_email_notifications": 0,
            "notify_on_success": 0,
            "is_active": 1,
        },
        "job_executions": {
            "status": "success",
            "trigger_type": "scheduled",
            "started_at": "2026-01-20 17:00:01.250000",
            "completed_at": "2026-01-20 17:00:02.500000",
            "duration_seconds": 1.25,
            "execution_type": "webhook",
            "target": "https://hooks.example.com/run",
            "response_status": 200,
            "output": '{"ok": true}',
        },
        "notifications": {
            "title": "Job succeeded",
            "message": "It did.",
            "type": "success",
            "is_read": 0,
            "created_at": THEN,
        },
        "job_categories": {"slug": f"category-{_count}", "name": f"Category {_count}", "is_active": 1},
        "pic_teams": {
            "slug": f"team-{_count}",
            "name": f"Team {_count}",
            "slack_handle": "@team",
            "is_active": 1,
        },
        "slack_settings": {"is_enabled": 1, "webhook_url": "https://hooks.slack.com/services/T0/B0/abcdefgh"},
        "user_notification_preferences": {"email_on_job_success": 0, "daily_digest": 1},
        "user_ui_preferences": {
            "jobs_table_columns": json.dumps({"name": True, "created_by": True, "zzz": 1})
        },
    }
    stamped = {} if table in ("job_executions", "notifications") else {"created_at": THEN, "updated_at": THEN}
    return {"id": str(uuid.uuid4()), **own[table], **stamped}
