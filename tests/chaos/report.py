"""What a run of the breaker came to, in a line and as a row of docs/chaos.md."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.chaos.accountant import Verdict
from tests.chaos.breaker import Breaker


@dataclass(frozen=True)
class Report:
    began: datetime
    took_s: float
    database: str
    seconds: float
    seed: int
    breaker: Breaker
    verdict: Verdict

    @classmethod
    def of(cls, breaker: Breaker, verdict: Verdict, *, began: datetime, took_s: float, database: Any) -> Self:
        version = ".".join(str(part) for part in database.get_database_version()[:2])
        name = database.display_name
        if database.vendor == "mysql" and database.mysql_is_mariadb:
            name = "MariaDB"
        chaos = breaker.chaos
        return cls(began, took_s, f"{name} {version}", chaos.seconds, chaos.seed, breaker, verdict)

    def broken(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.breaker.counts.items()))

    def rows(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.verdict.rows.most_common())

    def story(self) -> str:
        leads = self.breaker.leads
        return (
            f"chaos: {self.broken()}; rows: {self.rows()}\n"
            f"chaos: {leads.measured} failovers measured, around the longest: {leads.longest_story}"
        )

    def line(self) -> str:
        verdict, leads = self.verdict, self.breaker.leads
        return (
            f"chaos: {self.seconds:g} s on {self.database} (seed {self.seed}): slots {verdict.slots}, "
            f"calls {verdict.calls}, kills {self.breaker.counts['kills']}, failovers {leads.changes - 1}; "
            f"lost {len(verdict.lost)}, doubled {len(verdict.doubled)}, unproven {len(verdict.unproven)}, "
            f"longest failover {leads.longest_s:.1f} s"
        )

    def append_to(self, path: Path) -> None:
        verdict, leads = self.verdict, self.breaker.leads
        cells = (
            f"{self.began:%Y-%m-%d %H:%M}", self.database, f"{self.seconds:g} s", verdict.slots,
            verdict.calls, verdict.retries, self.rows(), self.broken(), leads.changes,
            f"{leads.longest_s:.1f} s",
            len(verdict.lost), len(verdict.doubled), len(verdict.unproven),
        )  # fmt: skip
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}| {' | '.join(map(str, cells))} |\n", encoding="utf-8")
