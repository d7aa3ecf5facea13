from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cronsched.core.crypto import encrypt
from cronsched.core.db import database_now
from jobs.engine.claim import DEADLINE_MARGIN_S, Claim, claim
from jobs.engine.lease import LeaseLost
from jobs.engine.messages import Outcome, Reason, TargetKind
from jobs.models import Job, JobExecution, SchedulerLease
from jobs.signals import runs_finished
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


@pytest.fixture
def claim_at(term, engine_config):
    def run(now=NOON, limit=500) -> Claim:
        return claim(now=now, term=term, limit=limit, config=engine_config)

    return run


def queued(**values: object) -> JobExecution:
    values.setdefault("scheduled_for", NOON)
    return ExecutionFactory(queued=True, available_at=NOON, **values)


def test_a_claimed_row_is_running_under_a_fresh_token(claim_at):
    row = queued()

    claimed = claim_at()

    row.refresh_from_db()
    delivery = claimed.deliveries[0]
    assert (row.status, row.claimed_by, row.started_at) == ("running", "this-test", NOON)
    assert (delivery.execution_id, delivery.claim_token) == (row.pk, row.claim_token)
    assert (delivery.kind, delivery.target_url) == (TargetKind.WEBHOOK, row.job.target_url)


def test_a_row_is_claimed_once(claim_at):
    queued()

    assert len(claim_at().deliveries) == 1
    assert claim_at().deliveries == []


def test_never_more_than_the_limit_and_the_oldest_first(claim_at):
    rows = [queued(job=JobFactory(), scheduled_for=NOON - timedelta(seconds=n)) for n in range(3)]
    JobExecution.objects.filter(pk=rows[2].pk).update(available_at=NOON - timedelta(seconds=9))

    claimed = claim_at(limit=2)

    assert len(claimed.deliveries) == 2
    assert claimed.deliveries[0].execution_id == rows[2].pk
    assert JobExecution.objects.filter(status="queued").count() == 1


def test_a_row_for_later_waits(claim_at):
    ExecutionFactory(queued=True, available_at=NOON + timedelta(seconds=1))

    assert claim_at().count == 0


def test_the_deadline_is_the_databases_clock_plus_the_timeout(claim_at):
    plain, slow = queued(), queued(job=JobFactory(timeout_seconds=600))

    claim_at()

    for row, seconds in ((plain, 30), (slow, 600)):
        row.refresh_from_db()
        expected = database_now() + timedelta(seconds=seconds + DEADLINE_MARGIN_S)
        assert abs(row.deadline_at - expected) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"is_active": False, "next_run_at": None}, Reason.PAUSED, "paused"),
        ({"end_date": date(2026, 3, 9)}, Reason.EXPIRED, "end date"),
    ],
)
def test_a_run_whose_job_was_stopped_since_is_missed_and_told(claim_at, change, reason, words):
    row = queued(job=JobFactory(**change))
    told = []

    def listen(sender, runs, **kwargs):
        told.extend((run.pk, run.status, run.reason) for run in runs)

    runs_finished.connect(listen)
    try:
        claimed = claim_at()
    finally:
        runs_finished.disconnect(listen)

    row.refresh_from_db()
    assert claimed.deliveries == []
    assert (row.status, row.reason, row.missed_last_at) == ("missed", reason, NOON)
    assert words in row.error_message
    assert told == [(row.pk, "missed", reason)]


@pytest.mark.parametrize(
    ("values", "late_s", "is_sent"),
    [
        ({}, 30, True),
        ({}, 31, False),
        ({"attempt": 2}, 3600, True),
        ({"job__catch_up": "latest"}, 3600, True),
        ({"manual": True, "scheduled_for": None}, 3600, True),
    ],
    ids=["within the grace", "beyond it", "tried before", "catches up", "by hand"],
)
def test_a_slot_older_than_the_grace_is_missed_whatever_kept_it_in_the_queue(
    claim_at, values, late_s, is_sent
):
    """The same term all along: an outage, a suspended machine, a sender full of hanging targets."""
    row = queued(**values)

    claimed = claim_at(NOON + timedelta(seconds=late_s))

    row.refresh_from_db()
    assert bool(claimed.deliveries) is is_sent
    assert (row.status, row.reason) == (("running", "") if is_sent else ("missed", "misfire"))
    row.job.refresh_from_db()
    assert row.job.last_status == ("" if is_sent else "missed")


def test_a_manual_run_of_a_paused_job_goes(claim_at):
    ExecutionFactory(queued=True, manual=True, available_at=NOON, job=JobFactory(paused=True))

    assert len(claim_at().deliveries) == 1


def test_the_target_is_the_one_at_send_time(claim_at):
    row = queued()
    row.job.target_url = "https://moved.example.com/"
    row.job.save()

    assert claim_at().deliveries[0].target_url == "https://moved.example.com/"
    row.refresh_from_db()
    assert row.target == "https://moved.example.com/"


def test_a_job_that_became_a_github_job_is_sent_as_one(claim_at):
    row = queued()
    Job.objects.update(target_url="", github_owner="acme", github_repo="app", github_workflow_name="ci.yml")

    delivery = claim_at().deliveries[0]

    row.refresh_from_db()
    assert (delivery.kind, delivery.github.repo) == (TargetKind.GITHUB_ACTIONS, "app")
    assert (row.execution_type, row.target) == ("github_actions", "acme/app/actions/workflows/ci.yml")


def test_overrides_are_for_this_run_only(claim_at):
    overrides = {"target_url": "https://other.example.com/", "metadata": {"only": "now"}}
    row = ExecutionFactory(
        queued=True, manual=True, available_at=NOON, overrides=encrypt(json.dumps(overrides))
    )

    delivery = claim_at().deliveries[0]

    assert delivery.target_url == "https://other.example.com/"
    assert delivery.payload == {"only": "now"}
    assert row.job.target_url == "https://hooks.example.com/run"


def test_a_github_run_carries_reference_inputs_and_token(claim_at):
    job = JobFactory(github=True, metadata={"branchDetails": "release", "dry": True})
    queued(job=job, execution_type="github_actions")

    target = claim_at().deliveries[0].github

    assert target is not None
    assert (target.owner, target.repo, target.workflow) == ("acme", "app", "nightly.yml")
    assert (target.ref, target.inputs, target.token) == ("release", {"dry": True}, "gh-token")


def test_an_unreadable_secret_fails_its_run_and_no_other(claim_at):
    broken, fine = queued(job=JobFactory(signing_secret="not-encrypted")), queued()

    claimed = claim_at()

    assert [delivery.execution_id for delivery in claimed.deliveries] == [fine.pk]
    refusal = claimed.refused[0]
    assert (refusal.execution_id, refusal.outcome) == (broken.pk, Outcome.FAILED)
    assert refusal.reason is Reason.CONFIGURATION
    assert "ENCRYPTION_KEYS" in refusal.error_message


def test_a_run_whose_job_cannot_be_read_ends_alone(claim_at):
    """By hand in SQL, on a database that takes it."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite stores what is no date")
    broken, fine = queued(), queued()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_job SET end_date = '2026-02-31' WHERE id = %s", [broken.job_id.hex])

    claimed = claim_at()

    assert [delivery.execution_id for delivery in claimed.deliveries] == [fine.pk]
    row = JobExecution.objects.values("status", "reason", "deadline_at").get(pk=broken.pk)
    assert row == {"status": "failed", "reason": "internal", "deadline_at": None}


def test_a_superseded_leader_claims_nothing(claim_at):
    queued()
    SchedulerLease.objects.update(term=99)

    with pytest.raises(LeaseLost):
        claim_at()

    assert JobExecution.objects.get().status == "queued"


def test_statements_do_not_grow_with_the_batch(claim_at):
    def statements(count: int) -> int:
        for _ in range(count):
            queued()
        with CaptureQueriesContext(connection) as queries:
            assert claim_at().count == count
        return len(queries)

    assert statements(1) == statements(50)
