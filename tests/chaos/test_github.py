"""A real scheduler process against a stand-in for GitHub: requests to the byte, and no token anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.serializers import serialize

from cronsched.testing.fake_github import TEST_TOKEN, FakeGitHub, Mode
from cronsched.testing.fixtures_api import ApiClient
from jobs.models import Job, JobExecution
from notifications.models import Notification
from tests.chaos.harness import Schedulers, all_ended, in_seconds, make_jobs, schedulers_in, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.smoke]

# What GitHub does, how the run ends, and what the person on call reads.
ANSWERS = [
    (Mode.ACCEPTED, "success", 204, ""),
    (Mode.RUN_DETAILS, "success", 200, ""),
    (Mode.NOT_FOUND, "failed", 404, "acme/app"),
    (Mode.UNPROCESSABLE, "failed", 422, "workflow_dispatch"),
    (Mode.TOO_MANY, "failed", 429, "limit"),
    (Mode.ERROR, "failed", 500, "500"),
    (Mode.ECHO, "failed", 500, "500"),
    (Mode.SILENT, "failed", None, "within"),
]


@pytest.fixture
def schedulers(tmp_path: Path) -> Iterator[Schedulers]:
    with schedulers_in(tmp_path) as made:
        yield made


def dispatch_once(job: Job, schedulers: Schedulers) -> JobExecution:
    """Give the job one more slot, and wait for its run."""
    slot = in_seconds(0)
    Job.objects.filter(pk=job.pk).update(next_run_at=slot, is_active=True)
    runs = JobExecution.objects.filter(job=job, scheduled_for=slot)
    wait_until(lambda: runs.exists() and all_ended(), 20, schedulers.logs)
    run: JobExecution = runs.get()
    return run


def test_every_answer_ends_the_run_with_words_and_the_token_is_nowhere(
    schedulers: Schedulers, fake_github: FakeGitHub, admin_api: ApiClient
):
    schedulers.start_leader(
        GITHUB_API_URL=fake_github.api_url, GITHUB_TOKEN=TEST_TOKEN, WEBHOOK_TIMEOUT_SECONDS="1"
    )
    job = make_jobs([""], [in_seconds(3600)])[0]
    Job.objects.filter(pk=job.pk).update(
        github_owner="acme",
        github_repo="app",
        github_workflow_name="nightly.yml",
        metadata={"branchDetails": "release", "dry": True, "count": 3, "name": "日本"},
    )

    for mode, status, response, words in ANSWERS:
        fake_github.mode = mode
        run = dispatch_once(job, schedulers)
        fake_github.sink.release()
        assert (run.status, run.response_status) == (status, response), f"{mode}: {run.error_message}"
        assert words in run.error_message, f"{mode}: {run.error_message}"
        assert run.target == "acme/app/actions/workflows/nightly.yml"

    fake_github.token = "another"
    assert "401" in dispatch_once(job, schedulers).error_message
    fake_github.sink.stop()
    assert "refused" in dispatch_once(job, schedulers).error_message.lower()

    call = fake_github.dispatches[0].call
    assert call.path == "/repos/acme/app/actions/workflows/nightly.yml/dispatches"
    assert call.headers["authorization"] == f"Bearer {TEST_TOKEN}"
    assert json.loads(call.body) == {
        "ref": "release",
        "inputs": {"dry": "true", "count": "3", "name": "日本"},
        "return_run_details": True,
    }
    stored = [serialize("json", model.objects.all()) for model in (Job, JobExecution, Notification)]
    for text in (*stored, *answers(admin_api, job), schedulers.logs()):
        assert TEST_TOKEN not in text


def answers(api: ApiClient, job: Job) -> list[str]:
    """What the API tells of the job and of its runs."""
    runs = JobExecution.objects.filter(job=job).values_list("pk", flat=True)
    paths = ["/jobs", f"/jobs/{job.pk}", f"/jobs/{job.pk}/executions?limit=100", "/executions?limit=100"]
    got = [api.get(path) for path in (*paths, *(f"/jobs/{job.pk}/executions/{run}" for run in runs))]
    assert {answer.status_code for answer in got} == {200}
    return [answer.content.decode() for answer in got]
