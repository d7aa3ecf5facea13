from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest

from accounts.tests.factories import UserFactory
from cronsched.core.crypto import decrypt
from cronsched.core.db import database_now
from cronsched.core.errors import InvalidInput, NotFound
from jobs.choices import ExecutionType, PausedReason, Status, TriggerType
from jobs.engine.claim import to_delivery
from jobs.engine.github_tokens import TokenBook
from jobs.models import Job, JobExecution
from jobs.services.manual import run_job_now
from jobs.signals import job_changed
from jobs.tests.factories import NOON, JobFactory

pytestmark = pytest.mark.django_db
OTHER = {"github_repo": "other/lib"}


def test_run_of_a_host_whose_clock_is_ahead_does_not_wait_for_it() -> None:
    run = run_job_now(JobFactory(end_date=None), by=None, now=database_now() + timedelta(hours=1))

    run.refresh_from_db()
    assert run.available_at <= database_now()


def test_run_is_queued_for_the_next_tick() -> None:
    user = UserFactory()
    job = JobFactory()

    run = run_job_now(job, by=user, now=NOON)

    run.refresh_from_db()
    assert (run.status, run.trigger_type) == (Status.QUEUED, TriggerType.MANUAL)
    assert (run.scheduled_for, run.started_at, run.available_at) == (None, NOON, NOON)
    assert (run.execution_type, run.target) == (ExecutionType.WEBHOOK, job.target_url)
    assert (run.triggered_by, run.overrides) == (user, "")


def test_job_itself_stays_as_it_is() -> None:
    job = JobFactory()
    before = Job.objects.filter(pk=job.pk).values().get()

    run_job_now(job, by=None, now=NOON, overrides={"target_url": "https://other.example.com/"})

    assert Job.objects.filter(pk=job.pk).values().get() == before


def test_paused_job_may_be_run_by_hand() -> None:
    assert run_job_now(JobFactory(paused=True), by=None, now=NOON).status == Status.QUEUED


def test_many_runs_by_hand_may_wait_at_once() -> None:
    job = JobFactory()

    runs = {run_job_now(job, by=None, now=NOON).pk for _ in range(5)}

    assert len(runs) == 5


@pytest.mark.parametrize(
    ("job_values", "overrides", "execution_type", "target"),
    [
        ({}, {"target_url": "https://b.example.com/"}, "webhook", "https://b.example.com/"),
        (
            {},
            {"github_repo": "acme/app", "github_workflow_name": "x.yml"},
            "github_actions",
            "acme/app/actions/workflows/x.yml",
        ),
        ({"github": True}, {}, "github_actions", "acme/app/actions/workflows/nightly.yml"),
        (
            {"github": True},
            {"github_workflow_name": "b.yml"},
            "github_actions",
            "acme/app/actions/workflows/b.yml",
        ),
        (
            {"github": True},
            {"github_repo": "other/lib"},
            "github_actions",
            "other/lib/actions/workflows/nightly.yml",
        ),
        ({"github": True}, {"target_url": "https://b.example.com/"}, "webhook", "https://b.example.com/"),
        (
            {"github": True},
            {"target_url": "https://b.example.com/", "github_workflow_name": "b.yml"},
            "github_actions",
            "acme/app/actions/workflows/b.yml",
        ),
    ],
)
def test_target_is_that_of_this_run(
    job_values: dict[str, Any], overrides: dict[str, Any], execution_type: str, target: str
) -> None:
    run = run_job_now(JobFactory(**job_values), by=None, now=NOON, overrides=overrides)

    assert (run.execution_type, run.target) == (execution_type, target)


def test_overrides_are_encrypted_in_the_row() -> None:
    own = {"metadata": {"day": 1}, "inputs": {"a": "b"}, "github_token": "ghp_secret", "ref": "main"}

    run = run_job_now(JobFactory(), by=None, now=NOON, overrides={**own, "colour": "red"})

    run.refresh_from_db()
    assert "ghp_secret" not in run.overrides
    assert json.loads(decrypt(run.overrides)) == own


def test_engine_sends_what_was_given_for_this_run(engine_config: Any) -> None:
    own = {**OTHER, "inputs": {"day": 1}, "github_token": "ghp_other", "ref": "dev", "metadata": {"a": "b"}}
    run = run_job_now(JobFactory(github=True), by=None, now=NOON, overrides=own)

    book = TokenBook(engine_config)
    github = to_delivery(run, token=uuid4(), config=engine_config, book=book).github

    assert github is not None
    assert (github.owner, github.repo, github.workflow, github.ref, github.token) == (
        "other",
        "lib",
        "nightly.yml",
        "dev",
        "ghp_other",
    )
    assert dict(github.inputs) == {"a": "b", "day": 1}


def test_engine_calls_the_url_of_this_run_in_the_place_of_the_jobs_workflow(engine_config: Any) -> None:
    overrides = {"target_url": "https://b.example.com/"}
    run = run_job_now(JobFactory(github=True), by=None, now=NOON, overrides=overrides)

    delivery = to_delivery(run, token=uuid4(), config=engine_config, book=TokenBook(engine_config))

    assert (delivery.kind, delivery.target_url, delivery.github) == (
        "webhook",
        "https://b.example.com/",
        None,
    )


@pytest.mark.parametrize("overrides", [None, {}, {"colour": "red"}])
def test_run_without_overrides_stores_none(overrides: Any) -> None:
    assert run_job_now(JobFactory(), by=None, now=NOON, overrides=overrides).overrides == ""


def test_refused_overrides_queue_nothing() -> None:
    with pytest.raises(InvalidInput) as refusal:
        run_job_now(JobFactory(), by=None, now=NOON, overrides={"target_url": "http://10.0.0.1/", "ref": 1})

    assert set(refusal.value.details) == {"target_url", "ref"}
    assert not JobExecution.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_ended_job_is_paused_for_good_and_refused() -> None:
    told: list[str] = []

    def listen(action: str, **event: Any) -> None:
        told.append(action)

    job = JobFactory(end_date=date(2026, 3, 9), next_run_at=None)
    job_changed.connect(listen)
    for _ in range(2):
        with pytest.raises(InvalidInput) as refusal:
            run_job_now(job, by=None, now=NOON)
    job_changed.disconnect(listen)

    job.refresh_from_db()
    assert refusal.value.error == "Job expired"
    assert (job.is_active, job.paused_reason) == (False, PausedReason.EXPIRED)
    assert told == ["expired"]
    assert not JobExecution.objects.exists()


@pytest.mark.parametrize("end_date", [date(2026, 3, 10), None])
def test_job_on_its_last_day_runs(end_date: date | None) -> None:
    assert run_job_now(JobFactory(end_date=end_date), by=None, now=NOON).status == Status.QUEUED


def test_deleted_job_is_not_found() -> None:
    job = JobFactory()
    Job.objects.filter(pk=job.pk).delete()

    with pytest.raises(NotFound):
        run_job_now(job, by=None, now=NOON)


@pytest.mark.parametrize(
    ("own_target", "is_refused"), [({}, True), ({"github_workflow_name": "x.yml"}, False)]
)
def test_the_id_counts_as_an_input_where_it_is_sent(a_user, own_target, is_refused):
    inputs = {f"input{number}": 1 for number in range(25)}
    job = JobFactory(github=True, github_correlation_input="cronsched_id")

    def run() -> None:
        run_job_now(job, by=a_user, now=NOON, overrides={"inputs": inputs, **own_target})

    if is_refused:
        with pytest.raises(InvalidInput, match="these are 26"):
            run()
    else:
        run()


def test_inputs_of_one_run_may_not_be_more_than_github_takes(a_user):
    job = JobFactory(github=True, metadata={f"input{number}": 1 for number in range(20)})

    with pytest.raises(InvalidInput) as caught:
        run_job_now(
            job, by=a_user, now=NOON, overrides={"inputs": {f"more{number}": 1 for number in range(6)}}
        )

    assert caught.value.details == {
        "inputs": ["GitHub takes at most 25 inputs for a workflow; these are 26."]
    }
