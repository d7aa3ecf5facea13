"""Jobs as CSV, for people's spreadsheets and for the way back: uploading it changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cronsched.core import cells
from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.services.bulk_upload.columns import COLUMNS

CHUNK = 500


def csv_lines(jobs: JobQuerySet) -> Iterator[str]:
    """The header, then a row for each job, by name."""
    rows = ([column.write(column.value_of(job)) for column in COLUMNS] for job in _in_order(jobs))
    return cells.csv_lines([column.title for column in COLUMNS], rows)


def _in_order(jobs: JobQuerySet) -> Iterable[Job]:
    rows = jobs.without_secrets().select_related("category", "pic_team").defer("search_text")
    return rows.order_by("name_key").iterator(chunk_size=CHUNK)
