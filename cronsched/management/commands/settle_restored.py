"""After a restore, before a scheduler starts: what the backup left open is ended, not sent again."""

from __future__ import annotations

from typing import Any

from cronsched.core import clock
from cronsched.management.base import ProductCommand, counted
from jobs.services.restored import settle_restored


class Command(ProductCommand):
    help = (
        "After the database was restored from a backup, before a scheduler starts: record the slots since "
        "the backup as missed and end the runs that had not ended in it, so that nothing is sent twice."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        settled = settle_restored(now=clock.now())
        self.stdout.write(
            f"{counted(settled.jobs, 'job')} had slots since the backup: recorded as missed. "
            f"{counted(settled.runs, 'run')} had not ended in it: ended as failed. Now start the scheduler."
        )
