"""Instances that are made without Django's constructor are those that it would have made."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Model

from cronsched.core.models import LeanModel
from jobs.models import Job, JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import Notification

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def state_of(row: Model) -> dict[str, object]:
    values = {name: value for name, value in row.__dict__.items() if not name.startswith("_")}
    return {**values, "adding": row._state.adding, "db": row._state.db}


def by_django(row: Model) -> Any:
    """The row as `Model.from_db` makes it."""
    fields = type(row)._meta.concrete_fields
    values = [row.__dict__[field.attname] for field in fields]
    return Model.from_db.__func__(type(row), row._state.db, [field.attname for field in fields], values)


def test_a_row_that_was_read_is_as_django_reads_it():
    run = ExecutionFactory(job=JobFactory(metadata={"é": [1, None]}))

    for read in (JobExecution.objects.get(pk=run.pk), Job.objects.get(pk=run.job_id)):
        assert isinstance(read, LeanModel)
        assert state_of(read) == state_of(by_django(read))


def test_what_was_not_read_is_read_when_asked_for(django_assert_num_queries):
    run = ExecutionFactory(output="long")

    with django_assert_num_queries(1):
        read = JobExecution.objects.defer("output", "job__metadata").select_related("job").get(pk=run.pk)
        assert read.get_deferred_fields() == {"output"}
        assert read.job.get_deferred_fields() == {"metadata"}
        assert read.job == run.job
    with django_assert_num_queries(1):
        assert read.output == "long"


def test_a_row_that_was_read_is_saved_as_a_change(django_assert_num_queries):
    run = ExecutionFactory(output="old")
    read = JobExecution.objects.get(pk=run.pk)
    read.output = "new"

    with django_assert_num_queries(1):
        read.save()

    read.refresh_from_db()
    assert (read.output, JobExecution.objects.count()) == ("new", 1)


@pytest.mark.parametrize("model", [Job, JobExecution, Notification])
def test_a_fresh_row_is_what_the_constructor_makes(model):
    made, fresh = model(), model.fresh()

    assert type(fresh) is model
    assert {**state_of(fresh), "id": None} == {**state_of(made), "id": None}
    assert fresh.pk not in (None, model.fresh().pk)


def test_fresh_rows_share_nothing():
    one, other = Job.fresh(), Job.fresh(name="Other")
    one.metadata["a"] = 1

    assert (other.metadata, other.name, one.name) == ({}, "Other", "")


def test_a_fresh_row_can_be_saved_and_has_its_relations():
    job = JobFactory()
    built = ExecutionFactory.build(job=job)
    values = {field.attname: getattr(built, field.attname) for field in JobExecution._meta.concrete_fields}

    JobExecution.fresh(**values).save(force_insert=True)

    assert JobExecution.objects.get().job == job


@pytest.mark.parametrize("values", [{"job": None}, {"statsu": "queued"}])
def test_a_fresh_row_takes_columns_only(values):
    with pytest.raises(TypeError, match=next(iter(values))):
        JobExecution.fresh(**values)
