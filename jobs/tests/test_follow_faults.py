"""What holds nobody else up: a repository, a token or a row that is broken, while others are followed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError

from cronsched.core.crypto import encrypt
from cronsched.testing.fake_github import FakeGitHub, Plan, Run
from cronsched.testing.fake_github.server import Grant
from cronsched.testing.http_sink import Reply
from jobs.engine.follow import follower, look
from jobs.engine.follow.limits import Limits, limits_name
from jobs.engine.messages import GitHubApp, Reason
from jobs.engine.transports import github_app
from jobs.models import GitHubRun, GitHubToken, JobExecution
from jobs.services.github_tokens import create_github_token
from jobs.tests.factories import NOON
from jobs.tests.test_follow import (  # noqa: F401 - fixtures
    Following,
    clock,
    dispatched,
    ended,
    following,
    github,
    started,
    told,
)
from jobs.tests.test_github_tokens import app_key  # noqa: F401 - a fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    github_app._kept.clear()
    github_app._refused.clear()


def hang(github: FakeGitHub, run: Run) -> None:  # noqa: F811
    github.sink.on(f"/repos/acme/{run.repo}/actions/runs/{run.run_id}", Reply(hold=True))


def with_app(github: FakeGitHub, key: tuple[str, str], *repos: str) -> None:  # noqa: F811
    github.apps["77"] = (key[1], {"actions": "write"})
    for repo in repos:
        data = {"owner": "acme", "repo": repo, "kind": "app", "app_id": "77", "installation_id": "5"}
        create_github_token(data={**data, "secret": key[0]}, by=None, now=NOON)


# ---- repositories -----------------------------------------------------------------------------


def test_a_repository_that_hangs_holds_no_other_up(following, github, monkeypatch):  # noqa: F811
    monkeypatch.setattr(look, "TURN_S", 0.5)
    hanging = started(github, Plan(), repo="hanging")
    hung, other = dispatched(hanging, repo="hanging"), dispatched(started(github, Plan()))
    hang(github, hanging)
    began = time.monotonic()

    following.turn(seconds=5)

    assert time.monotonic() - began < 5
    assert (ended(hung).status, ended(other).status) == ("running", "success")
    late = GitHubRun.objects.get(pk=hung.pk)
    assert late.last_error == "GitHub gave no answer in time."
    assert late.next_look_at > following.clock.now


def test_what_a_turn_did_not_come_to_is_first_in_the_next(following, github, monkeypatch):  # noqa: F811
    monkeypatch.setattr(look, "TURN_S", 0.3)
    monkeypatch.setattr(look, "_AT_ONCE", 1)
    hanging = started(github, Plan(), repo="hanging")
    dispatched(hanging, repo="hanging")
    hang(github, hanging)
    waiting = dispatched(started(github, Plan()))
    GitHubRun.objects.filter(pk=waiting.pk).update(next_look_at=NOON + timedelta(seconds=5, milliseconds=1))

    following.turn(seconds=6)
    assert ended(waiting).status == "running"
    following.turn(seconds=1)

    assert ended(waiting).status == "success"


# ---- tokens -----------------------------------------------------------------------------------


def test_a_broken_app_costs_one_wait(following, github, app_key, monkeypatch):  # noqa: F811
    monkeypatch.setattr(look, "_TOKEN_S", 0.3)
    monkeypatch.setattr(look, "_AT_ONCE", 2)
    repos = [f"app{number}" for number in range(6)]
    with_app(github, app_key, *repos)
    github.app_fault = Reply(hold=True)
    stuck = [dispatched(started(github, Plan(), repo=repo), repo=repo) for repo in repos]
    other = dispatched(started(github, Plan()))
    began = time.monotonic()

    following.turn(seconds=5)
    # Whoever dispatches may ask again sooner than whoever only looks.
    github_app._refused.clear()
    following.turn(seconds=5)

    assert time.monotonic() - began < 2
    assert ended(other).status == "success"
    assert {ended(row).status for row in stuck} == {"running"}
    assert len(github.calls_of("POST", "/access_tokens")) == 1
    assert "given no token" in GitHubRun.objects.get(pk=stuck[0].pk).last_error

    github.app_fault = None
    github_app._refused.clear()
    following.turn(seconds=61)

    assert {ended(row).status for row in stuck} == {"success"}


def test_an_end_that_the_webhook_told_needs_no_token(following, github, told):  # noqa: F811
    run = started(github, Plan(conclusion="failure"))
    row = dispatched(run)
    GitHubRun.objects.update(run_status="completed", conclusion="failure")
    github.token = "revoked"

    following.turn(seconds=5)

    assert (ended(row).status, row.reason) == ("failed", Reason.CONCLUSION)
    assert len(told) == 1


def test_an_end_that_the_webhook_told_needs_no_app(following, github, app_key, told):  # noqa: F811
    with_app(github, app_key, "app")
    github.app_fault = Reply(status=401)
    row = dispatched(started(github, Plan()))
    GitHubRun.objects.update(run_status="completed", conclusion="failure")

    following.turn(seconds=5)

    assert (ended(row).status, row.reason) == ("failed", Reason.CONCLUSION)
    assert len(told) == 1


def test_a_token_of_an_app_that_was_revoked_is_asked_for_anew(following, github, app_key):  # noqa: F811
    with_app(github, app_key, "app")
    row = dispatched(started(github, Plan(working_s=20)))
    following.turn(seconds=5)
    github._app_tokens.clear()
    github.grants.clear()

    following.turn(seconds=20)
    assert "Bad credentials" in GitHubRun.objects.get().last_error
    following.turn(seconds=10)

    assert ended(row).status == "success"


def test_limits_belong_to_the_token_and_not_to_where_it_was_entered():
    app = GitHubApp(app_id="1", installation_id="2", private_key="a")

    assert limits_name("ghp_a", None) == limits_name("ghp_a", None) != limits_name("ghp_b", None)
    assert "ghp_a" not in limits_name("ghp_a", None)
    assert limits_name("", app) == limits_name(
        "", GitHubApp(app_id="1", installation_id="2", private_key="b")
    )
    assert limits_name("", app) != limits_name(
        "", GitHubApp(app_id="1", installation_id="3", private_key="a")
    )


def test_a_used_up_token_of_one_run_stops_no_other_runs_own_token(following, github):  # noqa: F811
    for token in ("ghp_first", "ghp_second"):
        github.grants[token] = Grant()
    rows = [dispatched(started(github, Plan(working_s=8), repo=repo), repo=repo) for repo in ("a", "b")]
    for row, token in zip(rows, ("ghp_first", "ghp_second"), strict=True):
        own = encrypt(f'{{"github_token": "{token}"}}')
        JobExecution.objects.filter(pk=row.pk).update(overrides=own)
    limited = f"/repos/acme/a/actions/runs/{rows[0].github_run.run_id}"
    github.sink.on(limited, Reply(status=429, headers={"retry-after": "600"}))

    following.turn(seconds=5)
    following.turn(seconds=5)

    assert [ended(row).status for row in rows] == ["running", "success"]


def test_tokens_of_single_runs_are_not_kept_for_ever():
    limits = Limits()
    for number in range(1500):
        limits.take(f"token {number}", now=NOON + timedelta(seconds=number))

    limits.take("the next", now=NOON + timedelta(hours=2))

    assert len(limits._tokens) == 1


# ---- rows -------------------------------------------------------------------------------------


def test_a_run_that_the_database_refuses_stops_no_other(following, github, monkeypatch):  # noqa: F811
    bad, good = dispatched(started(github, Plan())), dispatched(started(github, Plan()))
    real = follower.write

    def write(steps: Any, **rest: Any) -> int:
        if any(step.run.execution_id == bad.pk for step in steps):
            raise DataError("value too long")
        written: int = real(steps, **rest)
        return written

    monkeypatch.setattr(follower, "write", write)
    following.turn(seconds=5)

    assert (ended(bad).status, ended(good).status) == ("running", "success")
    assert GitHubRun.objects.get(pk=bad.pk).next_look_at == following.clock.now + timedelta(seconds=60)


def test_a_database_that_is_away_is_not_asked_run_by_run(following, github, monkeypatch):  # noqa: F811
    dispatched(started(github, Plan()))
    asked = []

    def write(steps: Any, **rest: Any) -> int:
        asked.append(len(steps))
        raise OperationalError("gone away")

    monkeypatch.setattr(follower, "write", write)
    with pytest.raises(OperationalError):
        following.turn(seconds=5)

    assert asked == [1]


def let_judging_fail(bad: JobExecution, monkeypatch: pytest.MonkeyPatch) -> None:
    real = look.judge.step

    def step(run: Any, *args: Any, **rest: Any) -> Any:
        if run.execution_id == bad.pk:
            raise ValueError("not so")
        return real(run, *args, **rest)

    monkeypatch.setattr(look.judge, "step", step)


def test_a_run_that_cannot_be_judged_stops_no_other(following, github, monkeypatch):  # noqa: F811
    bad, good = dispatched(started(github, Plan())), dispatched(started(github, Plan()))
    elsewhere = dispatched(started(github, Plan(), repo="other"), repo="other")
    let_judging_fail(bad, monkeypatch)
    following.turn(seconds=5)

    assert [ended(row).status for row in (bad, good, elsewhere)] == ["running", "success", "success"]
    assert "log has the details" in GitHubRun.objects.get(pk=bad.pk).last_error


def test_a_repository_that_cannot_be_looked_at_stops_no_other(following, github, monkeypatch):  # noqa: F811
    bad = dispatched(started(github, Plan(), repo="bad"), repo="bad")
    good = dispatched(started(github, Plan()))
    real = look.Looker.place

    async def place(self: Any, client: Any, group: Any) -> Any:
        if group.repo == "bad":
            raise RuntimeError("not so")
        return await real(self, client, group)

    monkeypatch.setattr(look.Looker, "place", place)
    following.turn(seconds=5)

    assert [ended(row).status for row in (bad, good)] == ["running", "success"]


def test_an_end_that_was_told_and_cannot_be_judged_stops_no_other(following, github, monkeypatch):  # noqa: F811
    data = {"owner": "acme", "repo": "bad", "secret": "ghp_a"}
    create_github_token(data=data, by=None, now=NOON)
    GitHubToken.objects.update(secret="what no key opens")
    bad = dispatched(started(github, Plan(), repo="bad"), repo="bad")
    GitHubRun.objects.filter(pk=bad.pk).update(run_status="completed", conclusion="failure")
    good = dispatched(started(github, Plan()))
    let_judging_fail(bad, monkeypatch)
    following.turn(seconds=5)

    assert [ended(row).status for row in (bad, good)] == ["running", "success"]


@pytest.mark.parametrize("overrides", ["[1]", '"text"', "{", '{"github_token": 7}'])
def test_what_cannot_be_read_of_a_run_stops_no_other(following, github, overrides):  # noqa: F811
    bad = dispatched(started(github, Plan(), repo="bad"), repo="bad")
    good = dispatched(started(github, Plan()))
    JobExecution.objects.filter(pk=bad.pk).update(overrides=encrypt(overrides))

    following.turn(seconds=5)

    assert ended(good).status == "success"
