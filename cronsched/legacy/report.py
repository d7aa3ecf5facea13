"""What came of an import: counts per table, and each row that did not simply come over, with the reason.

Memory stays small however much is wrong: of each kind a few examples are kept, the CSV file takes all.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cronsched.core.cells import harmless
from cronsched.core.errors import InvalidInput

EXAMPLES: Final = 10


class Kind(StrEnum):
    LEFT_OUT = "left out"
    ADJUSTED = "taken, but changed"
    CHANGED_THERE = "changed there since it was taken"
    DELETED_HERE = "deleted here since it was taken"
    RUNS_DIFFER = "runs at other times here"


_EXPLAINED: Final = {
    Kind.LEFT_OUT: "Left out: mend it in the earlier system and import again",
    Kind.ADJUSTED: "Taken, but not as it was",
    Kind.CHANGED_THERE: "Changed in the earlier system since they were taken; --update brings that over",
    Kind.DELETED_HERE: "Deleted here since they were taken; they stay deleted, with what hung on them",
    Kind.RUNS_DIFFER: "Jobs whose next runs differ between the two systems",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One row of the earlier system, or several alike (`count`). `group` gathers what is alike."""

    table: str
    kind: Kind
    group: str
    id: str = ""
    name: str = ""
    detail: str = ""
    count: int = 1


class Report:
    """`counts[table]` has "read", "new", "already", "updated" and "left out"."""

    def __init__(self, csv_path: str | None = None) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._totals: Counter[tuple[Kind, str, str]] = Counter()
        self._examples: dict[tuple[Kind, str, str], list[Finding]] = defaultdict(list)
        self._file: Any = None
        if csv_path:
            self._open(csv_path)

    def _open(self, path: str) -> None:
        try:
            # Open as long as the import takes; `close` closes it.
            self._file = Path(path).open("w", encoding="utf-8", newline="")  # noqa: SIM115
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from None
        self._writer = csv.writer(self._file)
        self._writer.writerow(["table", "what", "why", "id", "name", "detail", "rows"])

    def add(self, finding: Finding) -> None:
        key = (finding.kind, finding.table, finding.group)
        self._totals[key] += finding.count
        if len(self._examples[key]) < EXAMPLES:
            self._examples[key].append(finding)
        if finding.kind is Kind.LEFT_OUT:
            self.counts[finding.table]["left out"] += finding.count
        if self._file is not None:
            row = (finding.table, finding.kind, finding.group, finding.id, finding.name, finding.detail)
            self._writer.writerow([*map(harmless, row), finding.count])

    def count(self, table: str, what: str, number: int = 1) -> None:
        self.counts[table][what] += number

    @property
    def left_out(self) -> int:
        return sum(counts["left out"] for counts in self.counts.values())

    def total(self, kind: Kind) -> int:
        return sum(count for (each, _, _), count in self._totals.items() if each is kind)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def lines(self) -> Iterator[str]:
        """The report for a person, a line at a time."""
        heads = ("read", "new", "already", "updated", "left out")
        yield f"{'':31}" + "".join(f"{head:>10}" for head in heads)
        for table, counts in self.counts.items():
            yield f"{table:31}" + "".join(f"{counts[head]:>10}" for head in heads)
        for kind in Kind:
            if self.total(kind):
                yield ""
                yield f"{_EXPLAINED[kind]}:"
                yield from self._of_kind(kind)

    def _of_kind(self, kind: Kind) -> Iterator[str]:
        for key, total in self._totals.items():
            if key[0] is not kind:
                continue
            yield f"  {key[1]}: {key[2]} ({total})"
            found = self._examples[key]
            for finding in found:
                told = " ".join(part for part in (finding.name or finding.id, finding.detail) if part)
                yield f"    {told}" if told else f"    {finding.count} rows"
            if total > sum(finding.count for finding in found):
                yield "    …"
