"""GitHub's own word: signed, believed once, and only where it is newer than what is known."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client

from cronsched.testing.fake_github import Plan, Run, workflow_run_event
from jobs.choices import FollowState
from jobs.engine.messages import Reason
from jobs.models import GitHubRun, RunNaming
from jobs.services.github_webhook import is_genuine
from jobs.tests.factories import NOON
from jobs.tests.test_follow import (  # noqa: F401 - fixtures
    Following,
    clock,
    correlating,
    dispatched,
    ended,
    following,
    github,
    started,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "it is a secret to everybody"
PATH = "/api/v2/github/webhook"


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.GITHUB_WEBHOOK_SECRET = SECRET


def send(headers: dict[str, str], body: bytes, *, at: datetime = NOON) -> Any:
    kind = headers.get("Content-Type", "application/json")
    extra = {name: value for name, value in headers.items() if name != "Content-Type"}
    with time_machine.travel(at, tick=False):
        return Client().post(PATH, body, content_type=kind, headers=extra)


def event(github: Any, run: Run) -> tuple[dict[str, str], bytes]:  # noqa: F811
    return workflow_run_event(run, secret=SECRET, api_url=github.api_url, now=github.clock())


def test_the_documented_signature():
    """docs.github.com, "Validating webhook deliveries", testing the verification."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert is_genuine(b"Hello, World!", signature, secret="It's a Secret to Everybody")
    assert not is_genuine(b"Hello, World", signature, secret="It's a Secret to Everybody")


def test_an_end_comes_at_once_and_without_a_question(following, github, told):  # noqa: F811
    run = started(github, Plan(working_s=20))
    row = dispatched(run)
    following.turn(seconds=21)
    asked = len(github.sink.calls)
    GitHubRun.objects.update(run_status="in_progress", next_look_at=NOON + timedelta(hours=1))

    answer = send(*event(github, run), at=following.clock.now)
    following.turn(seconds=1)

    assert (answer.status_code, answer.json()) == (200, {"message": "Event taken", "matched": 1})
    assert ended(row).status == "success"
    assert len(github.sink.calls) == asked
    assert len(told) == 1


def test_what_the_run_is_called_is_learned_from_an_event(following, github):  # noqa: F811
    row = dispatched(None, job=correlating())
    GitHubRun.objects.filter(pk=row.pk).update(naming_key="a workflow's")
    run = started(github, Plan(), title=f"Nightly {row.pk}")

    send(*event(github, run), at=following.clock.now)
    following.turn(seconds=1)

    assert ended(row).status == "success"
    assert RunNaming.objects.get().shows_id


def test_a_run_that_was_given_up_and_turns_up_after_all_ends_its_execution(following, github, told):  # noqa: F811
    row = dispatched(None, job=correlating(), response_status=502, reason=Reason.HTTP_STATUS)
    following.turn(seconds=5)
    following.turn(minutes=6)
    assert (ended(row).status, row.reason) == ("failed", Reason.UNCERTAIN)
    run = started(github, Plan(), title=f"Nightly {row.pk}")

    answer = send(*event(github, run), at=following.clock.now)
    following.turn(seconds=1)

    assert answer.json()["matched"] == 1
    assert (ended(row).status, row.reason) == ("success", "")
    assert [status for status, _ in told] == ["failed", "success"]


def test_a_failure_still_names_its_jobs(following, github):  # noqa: F811
    run = started(github, Plan(conclusion="failure", failed={"build": ("Compile",)}))
    row = dispatched(run)

    send(*event(github, run), at=following.clock.now)
    following.turn(seconds=1)

    assert (ended(row).status, row.reason) == ("failed", Reason.CONCLUSION)
    assert 'job "build", step "Compile"' in row.error_message


def test_a_replay_changes_nothing(following, github, told):  # noqa: F811
    run = started(github, Plan(conclusion="failure"))
    row = dispatched(run)
    old = event(github, run)
    send(*old, at=following.clock.now)
    following.turn(seconds=1)
    run.run_again(Plan(), now=github.clock())
    send(*event(github, run), at=following.clock.now)
    following.turn(seconds=1)
    assert ended(row).status == "success"

    for _ in range(3):
        assert send(*old, at=following.clock.now).status_code == 200
        following.turn(seconds=61)

    assert ended(row).status == "success"
    assert [status for status, _ in told] == ["failed", "success"]


def test_events_that_overtake_each_other_end_the_same_way(following, github):  # noqa: F811
    run = started(github, Plan(queued_s=5, working_s=5))
    row = dispatched(run)
    early = [event(github, run)]
    following.clock.forward(seconds=6)
    early.append(event(github, run))
    following.clock.forward(seconds=6)

    send(*event(github, run), at=following.clock.now)
    for late in reversed(early):
        send(*late, at=following.clock.now)
    following.turn(seconds=1)

    assert ended(row).status == "success"


def test_a_re_run_long_after_the_end_is_taken(following, github):  # noqa: F811
    run = started(github, Plan())
    row = dispatched(run)
    following.turn(seconds=5)
    assert GitHubRun.objects.get().state == FollowState.DONE
    following.clock.forward(hours=5)
    run.run_again(Plan(conclusion="failure"), now=github.clock())

    send(*event(github, run), at=following.clock.now)
    following.turn(seconds=1)

    assert ended(row).status == "failed"


def test_a_run_that_is_looked_for_is_found_by_its_name(following, github):  # noqa: F811
    row = dispatched(None, job=correlating())
    run = started(github, Plan(), title=f"Nightly {row.pk}")

    assert send(*event(github, run), at=following.clock.now).json()["matched"] == 1
    following.turn(seconds=1)

    assert (ended(row).status, row.github_run.run_id) == ("success", run.run_id)


def test_a_run_of_another_repository_is_not_ours(following, github):  # noqa: F811
    run = started(github, Plan())
    row = dispatched(run)
    run.repo = "another"

    assert send(*event(github, run), at=following.clock.now).json()["matched"] == 0
    assert ended(row).github_run.run_status == ""


@pytest.mark.parametrize(
    "otherwise", [{"workflow": "deploy.yml"}, {"event": "push"}, {"event": "repository_dispatch"}]
)
def test_a_run_with_our_id_that_the_dispatch_did_not_start_is_not_ours(following, github, otherwise):  # noqa: F811
    """A workflow may hand the id on to what it starts itself."""
    row = dispatched(None, job=correlating())
    run = started(github, Plan(conclusion="failure"), title=f"Deploy for {row.pk}")
    for name, value in otherwise.items():
        setattr(run, name, value)

    answer = send(*event(github, run), at=following.clock.now)

    found = GitHubRun.objects.get()
    assert answer.json()["matched"] == 0
    assert (found.run_id, found.state, found.shows_id) == (None, FollowState.FINDING, None)


@pytest.mark.parametrize(
    "signature", ["", "sha256=", "sha256=0", "sha1=abc", "sha256=" + "0" * 64, "sha256=ü", "x" * 10_000]
)
def test_what_is_not_signed_is_refused(github, signature):  # noqa: F811
    run = started(github, Plan())
    row = dispatched(run)
    headers, body = event(github, run)

    answer = send({**headers, "X-Hub-Signature-256": signature}, body)

    assert answer.status_code == 403
    assert GitHubRun.objects.get(pk=row.pk).run_status == ""


def test_a_body_that_was_changed_is_refused(github):  # noqa: F811
    headers, body = event(github, started(github, Plan(conclusion="failure")))

    assert send(headers, body.replace(b"failure", b"success")).status_code == 403


def test_without_a_secret_there_is_no_webhook(github, settings):  # noqa: F811
    settings.GITHUB_WEBHOOK_SECRET = ""
    run = started(github, Plan())

    answer = send(*workflow_run_event(run, secret="", api_url=github.api_url, now=github.clock()))

    assert answer.status_code == 404
    assert "GITHUB_WEBHOOK_SECRET" in answer.json()["message"]


def signed(body: bytes, name: str = "workflow_run") -> Any:
    import hashlib
    import hmac

    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return send({"X-GitHub-Event": name, "X-Hub-Signature-256": f"sha256={digest}"}, body)


@pytest.mark.parametrize("name", ["ping", "push", "workflow_job", ""])
def test_other_events_are_taken_and_left_aside(name):
    assert signed(b'{"zen": "Keep it logically awesome."}', name).json()["matched"] == 0


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"workflow_run": None},
        {"workflow_run": {"id": "1"}, "repository": {"full_name": "a/b"}},
        {"workflow_run": {"id": 2**70, "status": "completed"}, "repository": {"full_name": "a/b"}},
        {"workflow_run": {"id": 1, "status": "completed"}, "repository": {"full_name": "a"}},
        {"workflow_run": {"id": 1, "status": "completed"}, "repository": []},
        {"workflow_run": {"id": 1, "status": 5, "display_title": 5}, "repository": {"full_name": "a/b"}},
    ],
)
def test_odd_events_are_about_nothing(value):
    answer = signed(json.dumps(value).encode())

    assert (answer.status_code, answer.json()["matched"]) == (200, 0)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_event_is_400(body):
    assert signed(body).status_code in (200, 400)


def test_a_body_beyond_the_bound_is_413(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    assert signed(b'{"a": "' + b"x" * 2000 + b'"}').status_code == 413
