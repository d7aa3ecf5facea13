"""After a restore: what nobody knows is recorded, and sent by nobody."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from jobs.engine.lease import acquire
from jobs.models import Job, JobExecution
from jobs.services.restored import settle_restored
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
LATER = NOON + timedelta(minutes=10, seconds=5)


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
def test_slots_since_the_backup_become_one_missed_row(catch_up):
    job = JobFactory(catch_up=catch_up)

    settled = settle_restored(now=LATER)

    row = JobExecution.objects.get()
    assert (settled.jobs, settled.runs) == (1, 0)
    assert (row.status, row.missed_count, row.scheduled_for) == ("missed", 11, NOON)
    assert "restored from a backup older than 11 slots" in row.error_message
    job.refresh_from_db()
    assert job.next_run_at == NOON + timedelta(minutes=11)


def test_a_slot_within_the_grace_is_not_sent_again():
    JobFactory()

    settle_restored(now=NOON + timedelta(seconds=5))

    assert not Job.objects.due(NOON + timedelta(seconds=5)).exists()
    assert JobExecution.objects.get().status == "missed"


@pytest.mark.parametrize("trait", ["queued", "running"])
def test_runs_that_had_not_ended_are_ended(trait):
    ExecutionFactory(**{trait: True}, job=JobFactory(paused=True), overrides="secret")

    assert settle_restored(now=LATER).runs == 1

    run = JobExecution.objects.get()
    assert (run.status, run.reason, run.overrides, run.completed_at) == ("failed", "interrupted", "", LATER)


def test_what_lies_ahead_and_what_is_paused_stays():
    ahead = JobFactory(next_run_at=LATER + timedelta(minutes=1))
    JobFactory(paused=True)

    assert settle_restored(now=LATER).jobs == 0
    assert Job.objects.get(pk=ahead.pk).next_run_at == LATER + timedelta(minutes=1)


def test_many_jobs_cost_a_batch(django_assert_max_num_queries):
    for _ in range(20):
        JobFactory()

    with django_assert_max_num_queries(25):
        assert settle_restored(now=LATER).jobs == 20


def test_a_second_time_there_is_nothing_left():
    JobFactory()
    call_command("settle_restored", stdout=io.StringIO())

    out = io.StringIO()
    call_command("settle_restored", stdout=out)

    assert "0 jobs had slots" in out.getvalue()


def test_while_a_scheduler_leads_it_is_refused():
    acquire(holder="one", ttl_s=60)

    with pytest.raises(CommandError, match="stop it first"):
        call_command("settle_restored")
