"""Jobs as CSV, for people's spreadsheets and for the way back: uploading it changes nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.services.bulk_upload.columns import COLUMNS, Column, harmless

CHUNK = 500


def csv_lines(jobs: JobQuerySet) -> Iterator[str]:
    """The header, then a row for each job, by name; each with its line end (CRLF, as RFC 4180 has it)."""
    write = csv.writer(_Echo()).writerow
    yield write([column.title for column in COLUMNS])
    for job in _in_order(jobs):
        yield write([_cell(column, job) for column in COLUMNS])


def _in_order(jobs: JobQuerySet) -> Iterable[Job]:
    rows = jobs.without_secrets().select_related("category", "pic_team").defer("search_text")
    return rows.order_by("name_key").iterator(chunk_size=CHUNK)


def _cell(column: Column, job: Job) -> str:
    return harmless(column.write(column.value_of(job)))


class _Echo:
    """A file that gives back what is written to it, so that no row is kept."""

    def write(self, text: str) -> Any:
        return text
