"""Django's `migrate`, without a limit on how long the server may take for one statement.

To rebuild a long history takes minutes; a statement that is cut off goes on in the server unseen.
"""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from cronsched.env import STATEMENT_LIMITS


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        for name in STATEMENT_LIMITS:
            connection.settings_dict["OPTIONS"].pop(name, None)
        # The checks may have opened it, with its limits.
        connection.close()
        super().handle(*args, **options)
