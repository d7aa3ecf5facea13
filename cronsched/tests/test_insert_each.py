from __future__ import annotations

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from cronsched.core import db
from cronsched.core.db import insert_each, let_others_write
from jobs.models import Job, JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from taxonomy.models import JobCategory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def test_what_is_inserted_in_bulk_is_what_save_would_have_stored():
    job = JobFactory(metadata={"é": ["🚀", None]}, notification_emails=["a@b.co"], timeout_seconds=None)
    runs = [ExecutionFactory.build(job=job), ExecutionFactory.build(job=job, running=True)]

    insert_each(runs)

    for run in runs:
        stored = JobExecution.objects.get(pk=run.pk)
        for field in JobExecution._meta.concrete_fields:
            assert getattr(stored, field.attname) == getattr(run, field.attname), field.name


def test_json_and_times_that_save_sets_are_inserted_too():
    category = JobCategory(name="New", slug="new", name_key="new")
    insert_each([category])
    source = JobFactory(name="Source", metadata={"a": [1, {"b": "é"}]}, category=category)
    copy = Job.objects.get(pk=source.pk)
    copy.pk, copy.name = Job().pk, "Copy"
    copy.refresh_keys()

    insert_each([copy])

    stored = Job.objects.get(name="Copy")
    assert (stored.metadata, stored.created_at) == (source.metadata, source.created_at)
    assert JobCategory.objects.get(slug="new").created_at is not None


def test_many_rows_are_one_statement_and_none_is_none():
    job = JobFactory()
    with CaptureQueriesContext(connection) as queries:
        insert_each([ExecutionFactory.build(job=job, manual=True) for _ in range(300)])
        insert_each([])

    assert len(queries) == 1
    assert JobExecution.objects.count() == 300


@pytest.mark.django_db(transaction=True)
def test_a_duplicate_is_an_integrity_error():
    run = ExecutionFactory()

    with pytest.raises(IntegrityError):
        insert_each([ExecutionFactory.build(job=run.job, scheduled_for=run.scheduled_for)])


def test_only_sqlite_needs_a_pause_for_other_writers(monkeypatch):
    naps = []
    monkeypatch.setattr(db.time, "sleep", naps.append)

    let_others_write()

    assert naps == ([0.11] if connection.vendor == "sqlite" else [])
