"""Puts the schedule right by hand, as `POST /scheduler/resync` does."""

from __future__ import annotations

from typing import Any

from cronsched.core import clock
from cronsched.management.base import ProductCommand
from jobs.services.maintenance import resync


class Command(ProductCommand):
    help = "Recompute the next run of every active job, pause expired jobs, clear leftovers of inactive ones."

    def handle(self, *args: Any, **options: Any) -> None:
        done = resync(now=clock.now())
        self.stdout.write(f"{done.scheduled} scheduled, {done.paused} paused, {done.removed} removed.")
