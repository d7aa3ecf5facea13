from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine

from cronsched.testing.fake_github import TEST_TOKEN, FakeGitHub
from cronsched.testing.http_sink import HttpSink, Reply
from jobs.models import Job, JobExecution
from jobs.services import trial
from jobs.tests.factories import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture
def noon() -> Iterator[None]:
    """Named before a client, whose token is of this time too."""
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.mark.parametrize("path", ["/jobs/validate-cron", "/jobs/cron-preview", "/jobs/test-run"])
def test_tools_are_no_jobs(admin_api: Any, path: str) -> None:
    assert admin_api.get(path).status_code == 405
    assert admin_api.put(path, {}).status_code == 405


# ---- validate-cron ------------------------------------------------------------------------------


def test_valid_expression_is_described(viewer_api: Any) -> None:
    answer = viewer_api.post("/jobs/validate-cron", {"cron_expression": " 0  2 * * * "}).json()

    assert answer == {
        "valid": True,
        "cron_expression": "0 2 * * *",
        "description": "At 02:00",
        "note": None,
    }


def test_both_day_fields_bring_a_note(viewer_api: Any) -> None:
    answer = viewer_api.post("/jobs/validate-cron", {"cron_expression": "0 0 13 * 5"}).json()

    assert "either of them" in answer["note"]


@pytest.mark.parametrize(
    ("expression", "field"), [("@daily", None), ("61 * * * *", "minute"), ("", None), ("x" * 5000, None)]
)
def test_invalid_expression_is_an_answer_too(viewer_api: Any, expression: str, field: str | None) -> None:
    answer = viewer_api.post("/jobs/validate-cron", {"cron_expression": expression})

    assert answer.status_code == 200
    assert (answer.json()["valid"], answer.json()["field"]) == (False, field)
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [r'{"cron_expression": "* * * * \ud800"}', r'{"cron_expression": "* * *\u0000* *", "x": "\u0000"}'],
)
def test_what_is_no_text_at_all_is_an_invalid_expression(viewer_api: Any, body: str) -> None:
    answer = viewer_api.generic("POST", "/jobs/validate-cron", body, content_type="application/json")

    assert answer.status_code == 200
    assert answer.json()["valid"] is False
    assert "no text" in answer.json()["error"]


@pytest.mark.parametrize("body", [{}, {"cron_expression": None}, {"cron_expression": 5}])
@pytest.mark.parametrize("path", ["/jobs/validate-cron", "/jobs/cron-preview"])
def test_expression_must_be_text(viewer_api: Any, path: str, body: Any) -> None:
    answer = viewer_api.post(path, body)

    assert (answer.status_code, list(answer.json()["details"])) == (400, ["cron_expression"])


# ---- cron-preview -------------------------------------------------------------------------------


@pytest.mark.usefixtures("noon")
def test_preview_shows_the_next_slots_with_their_offset(viewer_api: Any) -> None:
    answer = viewer_api.post("/jobs/cron-preview", {"cron_expression": "0 2 * * *", "count": 2}).json()

    assert answer == {
        "cron_expression": "0 2 * * *",
        "timezone": "Asia/Tokyo",
        "next_runs": ["2026-03-11T02:00:00+09:00", "2026-03-12T02:00:00+09:00"],
        "count": 2,
    }


@pytest.mark.usefixtures("noon")
def test_preview_in_another_zone_shows_its_clock_change(viewer_api: Any) -> None:
    body = {"cron_expression": "30 2 28-30 3 *", "count": 3, "timezone": "Europe/Berlin"}

    answer = viewer_api.post("/jobs/cron-preview", body).json()

    # 02:30 does not exist on 29 March 2026: it fires when the gap ends.
    assert answer["timezone"] == "Europe/Berlin"
    assert answer["next_runs"] == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


@pytest.mark.parametrize(
    ("given", "count"), [({}, 5), ({"count": 1}, 1), ({"count": 7.0}, 7), ({"count": 10**30}, 50)]
)
def test_preview_count(viewer_api: Any, given: Any, count: int) -> None:
    answer = viewer_api.post("/jobs/cron-preview", {"cron_expression": "* * * * *", **given}).json()

    assert (len(answer["next_runs"]), answer["count"]) == (count, count)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": -1}, "count"),
        ({"count": "5"}, "count"),
        ({"count": True}, "count"),
        ({"count": None}, "count"),
        ({"count": 1.5}, "count"),
        ({"timezone": "Mars"}, "timezone"),
        ({"timezone": 5}, "timezone"),
        ({"cron_expression": "0 0 30 2 *"}, "cron_expression"),
    ],
)
def test_preview_refuses(viewer_api: Any, given: Any, field: str) -> None:
    answer = viewer_api.post("/jobs/cron-preview", {"cron_expression": "* * * * *", **given})

    assert (answer.status_code, list(answer.json()["details"])) == (400, [field])


# ---- test-run -----------------------------------------------------------------------------------


@pytest.fixture
def local_targets(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True


@pytest.mark.usefixtures("local_targets")
def test_webhook_is_called_once_for_real(user_api: Any, http_sink: HttpSink) -> None:
    body = {"target_url": http_sink.url("/hook"), "metadata": {"dry": True}, "name": "ignored"}

    answer = user_api.post("/jobs/test-run", body)

    assert answer.status_code == 200
    assert answer.json() == {
        "ok": True,
        "type": "webhook",
        "status_code": 200,
        "message": "The target answered 200.",
    }
    [call] = http_sink.calls
    assert call.json() == {"dry": True}
    assert not Job.objects.exists()
    assert not JobExecution.objects.exists()


@pytest.mark.usefixtures("local_targets")
def test_failure_is_an_answer_too(user_api: Any, http_sink: HttpSink) -> None:
    http_sink.by_default(Reply(status=503))

    answer = user_api.post("/jobs/test-run", {"target_url": http_sink.url("/hook")})

    assert answer.status_code == 200
    assert (answer.json()["ok"], answer.json()["status_code"]) == (False, 503)
    assert "503" in answer.json()["message"]


@pytest.mark.usefixtures("local_targets")
def test_target_that_is_not_there(user_api: Any) -> None:
    answer = user_api.post("/jobs/test-run", {"target_url": "http://127.0.0.1:9/"}).json()

    assert (answer["ok"], answer["status_code"]) == (False, None)
    assert answer["message"]


@pytest.fixture
def github(settings: Any, fake_github: FakeGitHub) -> FakeGitHub:
    settings.GITHUB_API_URL = fake_github.api_url
    settings.GITHUB_TOKEN = TEST_TOKEN
    return fake_github


WORKFLOW = {"github_repo": "acme/app", "github_workflow_name": "nightly.yml"}


def test_workflow_is_dispatched(user_api: Any, github: FakeGitHub) -> None:
    answer = user_api.post("/jobs/test-run", {**WORKFLOW, "metadata": {"branchDetails": "dev", "day": 1}})

    assert answer.json()["ok"] is True
    assert (answer.json()["type"], answer.json()["status_code"]) == ("github_actions", 204)
    [dispatch] = github.dispatches
    assert (dispatch.owner, dispatch.repo, dispatch.workflow) == ("acme", "app", "nightly.yml")
    assert (dispatch.ref, dict(dispatch.inputs)) == ("dev", {"day": "1"})


def test_missing_token_is_told(user_api: Any, settings: Any, github: FakeGitHub) -> None:
    settings.GITHUB_TOKEN = ""

    answer = user_api.post("/jobs/test-run", WORKFLOW)

    assert answer.status_code == 200
    assert (answer.json()["ok"], answer.json()["type"], answer.json()["status_code"]) == (
        False,
        "github_actions",
        None,
    )
    assert "GITHUB_TOKEN" in answer.json()["message"]


def test_token_is_never_in_the_answer(user_api: Any, github: FakeGitHub) -> None:
    answer = user_api.post("/jobs/test-run", {**WORKFLOW, "github_token": "ghp_wrong_token_1234"})

    assert answer.json()["status_code"] == 401
    assert "ghp_" not in answer.content.decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "target_url"),
        ({"target_url": "http://127.0.0.1/"}, "target_url"),
        ({"github_repo": "acme/app"}, "github_workflow_name"),
        ({"target_url": "https://example.com/", "metadata": []}, "metadata"),
    ],
)
def test_no_target_is_refused(user_api: Any, body: Any, field: str) -> None:
    answer = user_api.post("/jobs/test-run", body)

    assert (answer.status_code, list(answer.json()["details"])) == (400, [field])


def test_only_so_many_at_once(user_api: Any) -> None:
    for _ in range(trial.TEST_RUNS_AT_ONCE):
        assert trial._SEATS.acquire(blocking=False)
    try:
        answer = user_api.post("/jobs/test-run", {"target_url": "https://example.com/"})
    finally:
        for _ in range(trial.TEST_RUNS_AT_ONCE):
            trial._SEATS.release()

    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    # The seats are given back: a refusal of another kind comes again.
    assert user_api.post("/jobs/test-run", {}).status_code == 400
