"""Many rows changed by one call, on rows that matter."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cronsched.core import db
from cronsched.core.db import update_each
from jobs.models import Job, JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]

COLUMNS = ("status", "completed_at", "duration_seconds", "response_status", "output")


def test_each_row_gets_its_own_values():
    """NULL beside numbers, texts of any length and in any script, fractions of a second."""
    runs = [ExecutionFactory(running=True) for _ in range(4)]
    given = [
        ("success", NOON + timedelta(microseconds=1), 0.1234, 200, "会 🚀 'quoted' \\ % %s"),
        ("failed", NOON, 1e-7, None, ""),
        ("failed", None, None, 599, "x" * 70_000),
    ]

    changed = update_each(
        JobExecution, COLUMNS, ("id",), [(*one, run.pk) for one, run in zip(given, runs, strict=False)]
    )

    assert changed == 3
    stored = {row[0]: row[1:] for row in JobExecution.objects.values_list("pk", *COLUMNS)}
    assert [stored[run.pk] for run in runs[:3]] == given
    assert stored[runs[3].pk][0] == "running"


def test_a_row_whose_condition_no_longer_holds_is_left():
    jobs = [JobFactory(schedule_version=version) for version in (1, 2)]
    before = {job.pk: job.notification_emails for job in jobs}

    changed = update_each(
        Job,
        ("notification_emails", "enable_email_notifications", "end_date"),
        ("id", "schedule_version"),
        [(["a@example.com"], True, None, job.pk, 1) for job in jobs],
    )

    first, second = (Job.objects.get(pk=job.pk) for job in jobs)
    assert changed == 1
    assert (first.notification_emails, first.enable_email_notifications, first.end_date) == (
        ["a@example.com"], True, None,
    )  # fmt: skip
    assert second.notification_emails == before[second.pk]


def test_more_than_a_statement_holds_is_divided(monkeypatch):
    monkeypatch.setattr(db, "STATEMENT_CHARACTERS", 100)
    runs = [ExecutionFactory() for _ in range(5)]

    assert update_each(JobExecution, ("output",), ("id",), [("y" * 60, run.pk) for run in runs]) == 5
    assert set(JobExecution.objects.values_list("output", flat=True)) == {"y" * 60}


def test_no_rows_cost_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert update_each(JobExecution, ("output",), ("id",), []) == 0
