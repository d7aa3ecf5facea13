"""What a job may say of its runs: in the API, the CSV upload and the admin form alike, and written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cronsched import documents
from jobs.services.bulk_upload.columns import _BY_HEADER
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db
DOCS = Path(__file__).resolve().parents[2] / "docs"
FIELDS = ("timezone", "timeout_seconds", "max_retries", "catch_up", "signing_secret")


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_everywhere(admin_site: Any, field: str) -> None:
    form = admin_site.open("jobs_job_change", JobFactory().pk).context["adminform"].form

    assert field in form.fields or f"new_{field}" in form.fields
    assert field in {column.field for column in _BY_HEADER.values()}
    assert f'"{field}"' in documents._document().decode()
    for page in ("jobs.md", "bulk-upload.md"):
        assert f"`{field}`" in (DOCS / page).read_text(encoding="utf-8"), page
