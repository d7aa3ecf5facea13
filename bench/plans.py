"""Which index each statement of a list or statistic takes, on a filled database (bench/fill.py).

    python -m bench.plans --database mysql://root@127.0.0.1:3306/bench

The database's own planner is asked (EXPLAIN), so the answer is that of this history and this server. A
table that is read whole is written in capitals.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from bench.endpoints import requests
from bench.project import DEFAULT_DATABASE, describe_run, start_django

TABLES = ("jobs_jobexecution", "jobs_runtally", "jobs_jobtally", "notifications_notification")
SHORT = {"sqlite_autoindex_jobs_jobexecution_1": "PRIMARY", "jobs_jobexecution_pkey": "PRIMARY"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", default=DEFAULT_DATABASE)
    options = parser.parse_args()
    start_django(options.database)
    from accounts.models import User
    from cronsched.testing.fixtures_api import ApiClient

    api = ApiClient(User.objects.get(username="bench"))
    print(f"| request | {describe_run()} |\n| --- | --- |")
    for name, path in requests():
        indexes = [] if path.startswith("/admin") else list(indexes_of(api, path))
        if indexes:
            print(f"| {name} | {' · '.join(indexes)} |")


def indexes_of(api: Any, path: str) -> Iterator[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        api.get(path)
        statements = [query["sql"] for query in queries]
    for statement in statements:
        if any(table in statement for table in TABLES):
            yield explain(statement)


def explain(statement: str) -> str:
    from django.db import connection

    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{word} {statement}")
        rows = cursor.fetchall()
    if connection.vendor == "mysql":
        # id, select_type, table, type, possible_keys, key, …
        names = [row[5] or f"ALL OF {row[2]}" for row in rows]
    elif connection.vendor == "sqlite":
        names = [_after(r"USING (?:COVERING )?INDEX (\w+)|SCAN (\w+)$", row[3]) for row in rows]
    else:
        names = [_after(r"(?:using|Index Scan on) (\w+)|Seq Scan on (\w+)", row[0]) for row in rows]
    return "/".join(dict.fromkeys(SHORT.get(name, name) for name in names if name))


def _after(pattern: str, step: str) -> str:
    found = re.search(pattern, step)
    return "" if found is None else found[1] or f"ALL OF {found[2]}"


if __name__ == "__main__":
    main()
