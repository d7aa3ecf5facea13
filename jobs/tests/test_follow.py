"""From a dispatch that GitHub took to the end of its run: record, follow, conclude; on a stand-in GitHub."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cronsched import chores
from cronsched.core.crypto import encrypt
from cronsched.core.http.guard import AddressPolicy
from cronsched.testing.fake_github import RUN_ID, TEST_TOKEN, FakeGitHub, Plan, Run
from cronsched.testing.fake_github.server import Grant
from cronsched.testing.http_sink import Reply
from jobs.choices import FollowState
from jobs.engine.config import EngineConfig
from jobs.engine.follow import follower, judge, look, reading
from jobs.engine.follow.follower import Follower
from jobs.engine.follow.look import FEW
from jobs.engine.follow.reading import RunSeen
from jobs.engine.lease import LeaseLost, Term, acquire
from jobs.engine.messages import DeliveryResult, GitHubRunRef, Outcome, Reason
from jobs.engine.record import record
from jobs.engine.rescue import rescue_stuck
from jobs.engine.send import SenderConfig
from jobs.models import GitHubRun, JobExecution, RunNaming, SchedulerLease
from jobs.services.github_webhook import take_event
from jobs.services.lifecycle import delete_job
from jobs.signals import runs_finished
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]
TOKEN = UUID(int=1)


class Clock:
    """One clock for us and for GitHub."""

    def __init__(self) -> None:
        self.now = NOON
        self.uptime_s = 0.0

    def __call__(self) -> datetime:
        return self.now

    def uptime(self) -> float:
        return self.uptime_s

    def forward(self, **by: float) -> None:
        """Time goes by."""
        self.set_by(**by)
        self.uptime_s += timedelta(**by).total_seconds()

    def set_by(self, **by: float) -> None:
        """Somebody sets it; no time goes by."""
        self.now += timedelta(**by)


class Following:
    """The follower without its thread and with a client for each turn: the test says when one is due."""

    def __init__(self, github: FakeGitHub, clock: Clock, term: Term, config: EngineConfig) -> None:
        self.github, self.clock, self.term = github, clock, term
        self._runner = asyncio.Runner()
        self._config = config
        self.restart()

    def restart(self) -> None:
        """What a new leader knows: the database, and nothing else."""
        sender_config = SenderConfig(policy=AddressPolicy())
        self.follower = Follower(
            self._config,
            sender_config,
            term=lambda: self.term,
            clock=self.clock,
            steady=self.clock.uptime,
        )

    def turn(self, **by: float) -> int:
        self.clock.forward(**by)
        client = SenderConfig(policy=AddressPolicy()).client()
        self._runner.run(client.__aenter__())
        try:
            return self.follower.run_once(self._runner, client)
        finally:
            self._runner.run(client.__aexit__(None, None, None))

    def close(self) -> None:
        self._runner.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def github(clock: Clock) -> Iterator[FakeGitHub]:
    with FakeGitHub(clock=lambda: clock.now.timestamp()) as made:
        yield made


@pytest.fixture
def following(github: FakeGitHub, clock: Clock, term: Term) -> Iterator[Following]:
    config = EngineConfig(
        grace_s=30, max_instances=3, timeout_s=30, github_token=TEST_TOKEN, github_api_url=github.api_url
    )
    made = Following(github, clock, term, config)
    yield made
    made.close()


@pytest.fixture
def told() -> Iterator[list[tuple[str, str]]]:
    """What the world hears: status and message of each end, in order."""
    heard: list[tuple[str, str]] = []

    def hear(sender: Any, runs: Any, now: Any, **rest: Any) -> None:
        heard.extend((str(run.status), run.error_message) for run in runs)

    runs_finished.connect(hear, weak=False, dispatch_uid="test_follow")
    yield heard
    runs_finished.disconnect(dispatch_uid="test_follow")


def started(
    github: FakeGitHub, plan: Plan, *, title: str = "", repo: str = "app", workflow: str = "nightly.yml"
) -> Run:
    """A run at GitHub, as a dispatch of now would have started it."""
    now = github.clock()
    run = Run(
        run_id=RUN_ID + len(github.runs),
        owner="acme",
        repo=repo,
        workflow=workflow,
        ref="main",
        inputs={},
        title=title,
        created_at=now,
        began_at=now,
        plan=plan,
    )
    github.runs[run.run_id] = run
    return run


def dispatched(run: Run | None, *, repo: str = "app", **result: Any) -> JobExecution:
    """An execution whose dispatch has just been answered, recorded as RECORD does it."""
    job = result.pop("job", None) or JobFactory(github=True, github_repo=repo)
    row = ExecutionFactory(
        job=job,
        running=True,
        execution_type="github_actions",
        claim_token=TOKEN,
        started_at=NOON,
        deadline_at=NOON + timedelta(minutes=1),
    )
    ref = GitHubRunRef(run_id=run.run_id, html_url=run.html_url) if run else GitHubRunRef()
    values: dict[str, Any] = {
        "outcome": Outcome.FOLLOWED,
        "response_status": 200 if run else 204,
        "github_run": ref,
        **result,
    }
    record([answer(row, **values)], now=NOON)
    row.refresh_from_db()
    return row


def answer(row: JobExecution, **values: Any) -> DeliveryResult:
    return DeliveryResult(
        execution_id=row.pk,
        claim_token=row.claim_token,
        **{"started_at": NOON, "completed_at": NOON, "duration_s": 0.1, **values},
    )


def ended(row: JobExecution) -> JobExecution:
    row.refresh_from_db()
    return row


# ---- while it is under way --------------------------------------------------------------------


def test_a_dispatch_that_github_took_stays_running_with_its_link(following, github, term, told):
    run = started(github, Plan(working_s=100))

    row = dispatched(run)
    following.turn(seconds=10)

    assert (row.status, row.deadline_at, row.response_status) == ("running", None, 200)
    assert row.output.startswith(run.html_url)
    assert (row.github_run.run_id, row.github_run.state) == (run.run_id, FollowState.FOLLOWING)
    assert ended(row).status == "running"
    assert GitHubRun.objects.get().run_status == "in_progress"
    assert rescue_stuck(now=NOON + timedelta(hours=1), term=term) == 0
    assert told == []


def test_a_followed_run_holds_no_overlap_slot(github, term):
    row = dispatched(started(github, Plan(working_s=100)))

    assert list(JobExecution.objects.in_flight_of([row.job_id])) == []


@pytest.mark.parametrize(
    ("age_s", "gap_s"), [(0, 5), (10, 5), (20, 5), (60, 15), (120, 30), (240, 60), (20_000, 60)]
)
def test_looks_are_five_to_sixty_seconds_apart(age_s, gap_s):
    assert judge.gap(timedelta(seconds=age_s)) == timedelta(seconds=gap_s)


def test_a_run_is_not_looked_at_before_its_time(following, github):
    dispatched(started(github, Plan(working_s=100)))

    following.turn(seconds=4)
    assert github.sink.calls == []
    following.turn(seconds=1)
    assert len(github.sink.calls) == 1


def test_what_has_not_changed_is_asked_for_by_its_etag(following, github):
    dispatched(started(github, Plan(working_s=100)))

    following.turn(seconds=5)
    following.turn(seconds=5)

    first, second = github.sink.calls
    assert "if-none-match" not in first.headers
    assert second.headers["if-none-match"].startswith('W/"')
    assert github._used[TEST_TOKEN] == 1, "a 304 is free"


# ---- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("conclusion", ["success", "neutral", "skipped"])
def test_good_conclusions_are_success_and_say_which(following, github, told, conclusion):
    row = dispatched(started(github, Plan(working_s=33, conclusion=conclusion)))

    following.turn(seconds=40)

    run = ended(row)
    assert (run.status, run.reason, run.error_message) == ("success", "", "")
    assert f"Conclusion: {conclusion} (attempt 1)" in run.output
    assert run.completed_at == NOON + timedelta(seconds=33), "GitHub's own time of the end"
    assert run.duration_seconds == 33.0
    assert told == [("success", "")]
    assert GitHubRun.objects.get().state == FollowState.DONE


@pytest.mark.parametrize(
    "conclusion", ["failure", "cancelled", "timed_out", "startup_failure", "action_required", "stale"]
)
def test_every_other_conclusion_fails_with_its_word_and_the_link(following, github, told, conclusion):
    run = started(github, Plan(conclusion=conclusion))
    row = dispatched(run)

    following.turn(seconds=5)

    row = ended(row)
    assert (row.status, row.reason) == ("failed", Reason.CONCLUSION)
    assert row.error_message.startswith(f"The workflow ended as {conclusion}")
    assert row.error_message.endswith(run.html_url)
    assert [status for status, _ in told] == ["failed"]
    row.job.refresh_from_db()
    assert (row.job.last_status, row.job.consecutive_failures) == ("failed", 1)


def test_a_failure_names_jobs_and_steps(following, github):
    plan = Plan(conclusion="failure", failed={"build": ("Compile", "Run tests"), "lint": ()})
    row = dispatched(started(github, plan))

    following.turn(seconds=5)

    text = ended(row).error_message
    assert 'job "build", step "Compile", "Run tests"; job "lint"' in text


def test_a_failure_names_jobs_beyond_the_first_hundred(following, github):
    plan = Plan(conclusion="failure", passed=150, failed={"the last": ()})
    row = dispatched(started(github, plan))

    following.turn(seconds=5)

    assert 'job "the last"' in ended(row).error_message
    assert len(github.calls_of("GET", "/jobs?")) == 2


def test_a_failure_is_told_although_its_jobs_cannot_be_read(following, github):
    run = started(github, Plan(conclusion="failure"))
    github.sink.on(f"/repos/acme/app/actions/runs/{run.run_id}/jobs", Reply(status=500))
    row = dispatched(run)

    following.turn(seconds=5)

    assert ended(row).error_message == f"The workflow ended as failure. {run.html_url}"


def test_a_failed_run_is_not_dispatched_again_whatever_max_retries_says(following, github):
    job = JobFactory(github=True, max_retries=3)
    row = dispatched(started(github, Plan(conclusion="failure")), job=job)

    following.turn(seconds=5)

    assert (ended(row).status, row.attempt) == ("failed", 1)


def test_a_run_that_never_ends_is_given_up_after_the_longest_wait(following, github, told):
    job = JobFactory(github=True, follow_timeout_minutes=10)
    run = started(github, Plan(working_s=10**6))
    row = dispatched(run, job=job)

    following.turn(minutes=9)
    assert ended(row).status == "running"
    following.turn(minutes=1, seconds=1)

    row = ended(row)
    assert (row.status, row.reason) == ("failed", Reason.TIMEOUT)
    assert row.error_message == (
        f"The workflow had not ended within 0.167 h: it was in_progress when it was last seen. {run.html_url}"
    )
    assert len(told) == 1


# ---- GitHub does not answer as it should ------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Reply(status=503), Reply(status=404), Reply(drop=True), Reply(body=b"<html>"), Reply(body=b"[]")],
)
def test_a_github_that_is_away_is_asked_until_it_answers(following, github, fault):
    row = dispatched(started(github, Plan(working_s=10)))
    github.read_fault = fault

    for _ in range(20):
        following.turn(seconds=61)
    assert ended(row).status == "running"
    assert GitHubRun.objects.get().last_error
    github.read_fault = None
    following.turn(seconds=61)

    assert ended(row).status == "success"


def test_the_last_fault_is_told_where_a_run_is_given_up(following, github):
    row = dispatched(started(github, Plan()))
    github.read_fault = Reply(status=503)

    following.turn(hours=6, seconds=1)

    assert ended(row).reason == Reason.TIMEOUT
    assert "503 Service Unavailable" in row.error_message


def test_a_used_up_limit_is_waited_for(following, github):
    row = dispatched(started(github, Plan()))
    github.read_fault = Reply(status=403, headers={"retry-after": "120"})

    following.turn(seconds=5)
    github.read_fault = None
    following.turn(seconds=60)
    assert len(github.sink.calls) == 1, "nothing is asked before the time that was asked for"
    following.turn(seconds=61)

    assert ended(row).status == "success"


def test_a_part_of_the_primary_limit_is_left_to_dispatches(following, github):
    github.per_hour = 1000
    for number in range(30):
        dispatched(started(github, Plan(working_s=10**6), repo=f"app{number}"), repo=f"app{number}")
    github._used[TEST_TOKEN] = 790
    github._used_since = github.clock()

    for _ in range(30):
        following.turn(seconds=61)

    assert 200 - 20 <= 1000 - github._used[TEST_TOKEN] <= 200


def test_a_token_asks_ten_times_a_second_at_most_and_fifty_after_a_quiet_while(following, github):
    for number in range(65):
        dispatched(started(github, Plan(), repo=f"app{number}"), repo=f"app{number}")

    assert [following.turn(seconds=5), following.turn(seconds=1), following.turn(seconds=1)] == [50, 10, 5]


def test_many_failures_at_once_starve_nobody(following, github):
    """Each asks for the names of its jobs: the lists of the next turns must leave them room."""
    rows = [
        dispatched(
            started(github, Plan(conclusion="failure"), repo=f"app{number % 20}"), repo=f"app{number % 20}"
        )
        for number in range(100)
    ]

    for _ in range(15):
        following.turn(seconds=1 if following.clock.now > NOON else 5)

    assert {ended(row).status for row in rows} == {"failed"}
    assert all('job "build"' in row.error_message for row in rows)


def test_an_end_that_is_known_does_not_wait_for_a_used_up_limit(following, github):
    row = dispatched(started(github, Plan(conclusion="failure")))
    GitHubRun.objects.update(run_status="completed", conclusion="failure")
    other = dispatched(started(github, Plan(working_s=100), repo="other"), repo="other")
    github.read_fault = Reply(status=403, headers={"retry-after": "3600"})

    following.turn(seconds=5)
    following.turn(seconds=5)

    assert ended(row).status == "failed"
    assert ended(other).status == "running"


# ---- many -------------------------------------------------------------------------------------


def test_many_runs_of_one_repository_are_one_question(following, github):
    rows = [dispatched(started(github, Plan(conclusion="success"))) for _ in range(FEW + 1)]

    following.turn(seconds=5)

    [call] = github.sink.calls
    assert call.path.startswith("/repos/acme/app/actions/runs?event=workflow_dispatch&created=")
    assert {ended(row).status for row in rows} == {"success"}


def test_a_list_is_read_page_by_page_until_all_are_found(following, github):
    rows = [dispatched(started(github, Plan())) for _ in range(FEW + 1)]
    for _ in range(150):
        started(github, Plan(working_s=10**6))

    following.turn(seconds=5)

    assert len(github.calls_of("GET", "/actions/runs?")) == 2
    assert {ended(row).status for row in rows} == {"success"}


def test_statements_do_not_grow_with_the_runs(following, github):
    def cost(count: int) -> int:
        for _ in range(count):
            dispatched(started(github, Plan(working_s=10**6)))
        with CaptureQueriesContext(connection) as captured:
            following.turn(seconds=61)
        # An executemany is told row by row on some databases.
        return len({query["sql"].partition(" WHERE")[0].partition(" SET")[0] for query in captured})

    assert cost(40) == cost(10)


# ---- successors -------------------------------------------------------------------------------


def test_a_new_leader_goes_on_where_the_other_died(following, github):
    row = dispatched(started(github, Plan(working_s=20)))
    following.turn(seconds=5)

    following.restart()
    following.turn(seconds=20)

    assert ended(row).status == "success"


def test_who_has_lost_the_lead_writes_nothing(following, github, told):
    row = dispatched(started(github, Plan()))
    SchedulerLease.objects.update(holder="", expires_at=NOON - timedelta(days=400))
    assert acquire(holder="another", ttl_s=600)

    with pytest.raises(LeaseLost):
        following.turn(seconds=5)

    assert ended(row).status == "running"
    assert told == []


def test_an_end_is_told_once_although_two_have_seen_it(following, github, told):
    row = dispatched(started(github, Plan(conclusion="failure")))
    following.turn(seconds=5)
    # As if the process had died between the end and the note that it is told.
    GitHubRun.objects.update(state=FollowState.FOLLOWING, recorded_attempt=0, next_look_at=NOON)

    following.turn(seconds=5)

    assert len(told) == 1
    assert ended(row).status == "failed"


# ---- re-runs ----------------------------------------------------------------------------------


def test_a_re_run_that_ends_well_replaces_the_failure(following, github, told):
    run = started(github, Plan(conclusion="failure"))
    row = dispatched(run)
    following.turn(seconds=5)
    following.clock.forward(minutes=10)
    run.run_again(Plan(working_s=300), now=github.clock())

    following.turn(seconds=0)
    assert ended(row).status == "failed", "until the re-run has ended"
    following.turn(minutes=6)

    row = ended(row)
    assert (row.status, row.error_message) == ("success", "")
    assert "(attempt 2)" in row.output
    assert [status for status, _ in told] == ["failed", "success"]
    row.job.refresh_from_db()
    assert (row.job.last_status, row.job.consecutive_failures) == ("success", 0)


def test_a_re_run_that_fails_too_is_told_to_nobody(following, github, told):
    run = started(github, Plan(conclusion="failure"))
    row = dispatched(run)
    following.turn(seconds=5)
    run.run_again(Plan(conclusion="failure"), now=github.clock())

    following.turn(minutes=2)

    assert len(told) == 1
    assert (ended(row).status, row.github_run.recorded_attempt) == ("failed", 2)


def test_a_re_run_while_it_is_followed_is_the_run(following, github, told):
    run = started(github, Plan(working_s=30, conclusion="failure"))
    row = dispatched(run)
    following.turn(seconds=20)
    run.run_again(Plan(working_s=30), now=github.clock())

    following.turn(seconds=20)
    following.turn(seconds=40)

    assert ended(row).status == "success"
    assert [status for status, _ in told] == ["success"]


def test_a_failed_run_is_watched_for_an_hour(following, github):
    dispatched(started(github, Plan(conclusion="failure")))
    following.turn(seconds=5)
    assert GitHubRun.objects.get().state == FollowState.WATCHING

    following.turn(hours=1, minutes=1)

    watched = GitHubRun.objects.get()
    assert (watched.state, watched.next_look_at) == (FollowState.DONE, None)


# ---- found by our id in the run's name --------------------------------------------------------


def correlating(**values: Any) -> Any:
    return JobFactory(github=True, github_correlation_input="cronsched_id", **values)


def test_a_204_is_followed_by_the_id_in_the_runs_name(following, github):
    row = dispatched(None, job=correlating())
    started(github, Plan(conclusion="failure"), title="somebody else's")
    mine = started(github, Plan(working_s=20), title=f"Nightly {row.pk}")

    following.turn(seconds=5)
    found = GitHubRun.objects.get()
    assert (found.run_id, found.state, found.html_url) == (mine.run_id, FollowState.FOLLOWING, mine.html_url)
    following.turn(seconds=20)

    assert ended(row).status == "success"


def test_a_204_whose_run_is_not_found_is_success_with_a_note(following, github, told):
    row = dispatched(None, job=correlating())
    started(github, Plan(conclusion="failure"), title="the only run there is")

    for _ in range(10):
        following.turn(seconds=40)

    row = ended(row)
    assert (row.status, row.error_message) == ("success", "")
    assert row.output.startswith("Dispatched, outcome not followed")
    assert len(told) == 1


AMBIGUOUS = {
    "response_status": 502,
    "reason": Reason.HTTP_STATUS,
    "error_message": "GitHub had an error (502 Bad Gateway).",
}


def test_an_ambiguous_dispatch_is_looked_for_and_followed(following, github):
    row = dispatched(None, job=correlating(max_retries=3), **AMBIGUOUS)
    assert row.status == "running"
    assert "before anything is sent again" in row.output
    started(github, Plan(), title=f"Nightly {row.pk}")

    following.turn(seconds=5)

    row = ended(row)
    assert (row.status, row.attempt) == ("success", 1)


KEY = "a workflow's"


def ambiguous(job: Any, *, naming_key: str = KEY, **values: Any) -> JobExecution:
    """A dispatch of which nobody knows whether GitHub took it."""
    row = dispatched(None, job=job, **{**AMBIGUOUS, **values})
    GitHubRun.objects.filter(pk=row.pk).update(naming_key=naming_key)
    return row


def shows_ids(following: Following, github: FakeGitHub, *, is_shown: bool = True, key: str = KEY) -> None:
    """An earlier run of the workflow is seen with its id in its name, or without."""
    run = started(github, Plan(), title="to be named")
    earlier = dispatched(run)
    GitHubRun.objects.filter(pk=earlier.pk).update(naming_key=key)
    run.title = f"Nightly {earlier.pk}" if is_shown else "Nightly"
    following.turn(seconds=5)
    assert ended(earlier).status == "success"
    earlier.delete()


def test_an_ambiguous_dispatch_that_started_nothing_may_be_sent_again(following, github, told):
    shows_ids(following, github)
    told.clear()
    row = ambiguous(correlating(max_retries=1))

    following.turn(seconds=5)
    following.turn(minutes=4)
    assert ended(row).status == "running"
    following.turn(minutes=2)

    row = ended(row)
    assert (row.status, row.attempt, row.reason) == ("queued", 2, Reason.NOT_STARTED)
    assert not GitHubRun.objects.exists()
    assert told == []


@pytest.mark.parametrize("seen", [[], [False], [True, False]])
def test_a_workflow_that_is_not_known_to_show_the_id_is_never_dispatched_again(following, github, told, seen):
    """Its run may be there under a name without the id."""
    for is_shown in seen:
        shows_ids(following, github, is_shown=is_shown)
    told.clear()
    row = ambiguous(correlating(max_retries=3))
    started(github, Plan(), title="Nightly, as it is always called")

    for _ in range(5):
        following.turn(minutes=2)

    row = ended(row)
    assert (row.status, row.attempt, row.reason) == ("failed", 1, Reason.UNCERTAIN)
    assert "no earlier run has shown" in row.error_message
    assert "502 Bad Gateway" in row.error_message
    assert len(told) == 1


def test_the_name_of_another_branch_or_input_proves_nothing(following, github):
    shows_ids(following, github, key="another's")
    row = ambiguous(correlating(max_retries=3))

    following.turn(seconds=5)
    following.turn(minutes=6)

    assert ended(row).reason == Reason.UNCERTAIN


def test_what_a_run_is_called_is_learned_from_each_that_is_newer(following, github):
    """Whoever takes the id out of the run-name again is believed; an older run that ends late is not."""
    shows_ids(following, github)
    shows_ids(following, github, is_shown=False)
    late = started(github, Plan(working_s=60))
    earlier = dispatched(late)
    late.title = f"Nightly {earlier.pk}"
    GitHubRun.objects.filter(pk=earlier.pk).update(naming_key=KEY, dispatched_at=NOON - timedelta(hours=1))

    following.turn(seconds=5)

    assert RunNaming.objects.get().shows_id is False


def test_that_the_name_shows_the_id_is_written_once(following, github):
    shows_ids(following, github)
    before = RunNaming.objects.get().dispatched_at
    following.clock.forward(minutes=1)

    shows_ids(following, github)

    assert (RunNaming.objects.get().shows_id, RunNaming.objects.get().dispatched_at) == (True, before)


def naming(*, days: float, shows_id: bool) -> RunNaming:
    made: RunNaming = RunNaming.objects.create(
        key=f"{days} {shows_id}", shows_id=shows_id, dispatched_at=NOON - timedelta(days=days)
    )
    return made


def test_what_runs_of_a_workflow_were_called_is_kept_for_a_year_after_the_last():
    kept = [naming(days=366, shows_id=shows_id) for shows_id in (True, False)]
    for shows_id in (True, False):
        naming(days=401, shows_id=shows_id)

    chores._flush(Term(holder="", number=1), NOON)

    assert {one.key for one in RunNaming.objects.all()} == {one.key for one in kept}


def test_that_the_name_still_shows_the_id_is_noted_daily(following, github):
    shows_ids(following, github)
    RunNaming.objects.update(dispatched_at=NOON - timedelta(days=399))

    shows_ids(following, github)

    assert (RunNaming.objects.get().shows_id, RunNaming.objects.get().dispatched_at) == (True, NOON)


def test_five_minutes_count_from_the_end_of_the_dispatch(following, github):
    """A job may wait as long for its answer: GitHub may have taken the request at the last moment."""
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=1), completed_at=NOON + timedelta(minutes=5))

    following.turn(seconds=5)
    following.turn(minutes=9)
    assert ended(row).status == "running"
    following.turn(minutes=2)

    assert ended(row).reason == Reason.NOT_STARTED


def test_a_run_is_looked_for_from_the_beginning_of_its_dispatch_on(following, github):
    row = ambiguous(correlating(), completed_at=NOON + timedelta(hours=2))
    started(github, Plan(), title=f"Nightly {row.pk}")

    following.turn(hours=2, seconds=5)

    assert ended(row).status == "success"


def test_a_longest_wait_of_less_than_five_minutes_proves_nothing(following, github):
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=3, follow_timeout_minutes=2))

    following.turn(seconds=5)
    following.turn(minutes=3)

    row = ended(row)
    assert (row.status, row.attempt, row.reason) == ("failed", 1, Reason.UNCERTAIN)
    assert "the longest wait was over" in row.error_message


def test_a_run_beyond_what_github_lists_is_not_taken_for_missing(following, github, monkeypatch):
    monkeypatch.setattr(look, "MOST_PAGES", 2)
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=3))
    following.turn(seconds=5)
    for _ in range(200):
        started(github, Plan(working_s=10**6))

    following.turn(minutes=6)

    assert (ended(row).status, row.attempt) == ("running", 1)
    assert "lists no more" in GitHubRun.objects.get(pk=row.pk).last_error


@pytest.mark.parametrize(("minutes", "status"), [(-10, "running"), (10, "running"), (3, "queued")])
def test_a_clock_that_differs_from_githubs_proves_nothing(following, github, minutes, status):
    """The list is of what began after a time by our clock; GitHub puts the beginning by its own."""
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=3))
    following.turn(seconds=5)
    at = NOON + timedelta(minutes=6 + minutes, seconds=5)
    empty = Reply.json({"total_count": 0, "workflow_runs": []}, headers={"Date": format_datetime(at)})
    github.read_fault = empty

    following.turn(minutes=6)

    assert ended(row).status == status


def test_a_list_that_cannot_be_read_whole_proves_nothing(following, github):
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=3))
    following.turn(seconds=5)
    unreadable = Reply.json({"total_count": 1, "workflow_runs": [{"id": None, "status": "queued"}]})
    github.read_fault = unreadable

    following.turn(minutes=6)

    assert ended(row).status == "running"


def test_without_retries_it_fails_and_says_that_nothing_was_started(following, github):
    shows_ids(following, github)
    row = ambiguous(correlating())

    following.turn(seconds=5)
    following.turn(minutes=6)

    row = ended(row)
    assert (row.status, row.reason) == ("failed", Reason.NOT_STARTED)
    assert "GitHub started no run" in row.error_message
    assert "502 Bad Gateway" in row.error_message


def test_nothing_is_sent_again_while_github_cannot_be_asked(following, github):
    row = dispatched(None, job=correlating(max_retries=3), **AMBIGUOUS)
    github.read_fault = Reply(status=503)

    for _ in range(30):
        following.turn(seconds=61)

    assert (ended(row).status, row.attempt) == ("running", 1)


def rescued(term: Term, job: Any, **values: Any) -> JobExecution:
    """A run whose sender died, before or after the dispatch: RESCUE does not know."""
    row = ExecutionFactory(
        job=job,
        running=True,
        execution_type="github_actions",
        claim_token=TOKEN,
        started_at=NOON,
        deadline_at=NOON - timedelta(days=400),
        **values,
    )
    rescue_stuck(now=NOON, term=term)
    return ended(row)


def test_a_sender_that_died_leaves_a_run_to_look_for(following, github, term):
    """Killed between the dispatch and its record: RESCUE does not know, GitHub does."""
    row = rescued(term, correlating())
    assert row.status == "running"
    started(github, Plan(), title=f"Nightly {row.pk}")

    following.turn(seconds=5)

    assert ended(row).status == "success"


def test_what_a_dead_sender_left_is_never_dispatched_again(following, github, term):
    """Nobody knows what it sent, and when: it may have been frozen, and send yet."""
    shows_ids(following, github)
    row = rescued(term, correlating(max_retries=3))

    following.turn(seconds=5)
    following.turn(minutes=6)

    row = ended(row)
    assert (row.status, row.attempt, row.reason) == ("failed", 1, Reason.UNCERTAIN)


@pytest.mark.parametrize(("own_target", "status"), [(False, "running"), (True, "failed")])
def test_a_run_by_hand_is_looked_for_where_it_was_given_the_id(term, own_target, status):
    """Another workflow, of this run only, is not given the id; other inputs or another branch are."""
    job = correlating()
    target = "acme/other/actions/workflows/else.yml" if own_target else job.target
    own = encrypt('{"inputs": {"a": "b"}, "ref": "release"}')

    row = rescued(term, job, target=target, overrides=own)

    assert row.status == status


def test_what_goes_back_to_the_queue_is_not_followed_any_more(term):
    """RESCUE was too early: the sender tells that nothing was sent, or that GitHub refused for now."""
    unsent, limited = rescued(term, correlating()), rescued(term, correlating(max_retries=1))
    refused = {"response_status": 429, "reason": Reason.HTTP_STATUS, "is_retryable": True}

    record([answer(unsent, outcome=Outcome.NOT_SENT)], now=NOON)
    record([answer(limited, outcome=Outcome.FAILED, **refused)], now=NOON)

    assert [ended(row).status for row in (unsent, limited)] == ["queued", "queued"]
    assert not GitHubRun.objects.exists()


@pytest.mark.parametrize("max_retries", [0, 1])
def test_a_run_that_the_webhook_has_just_named_is_neither_ended_nor_dispatched_again(
    following, github, told, max_retries, monkeypatch
):
    shows_ids(following, github)
    told.clear()
    row = ambiguous(correlating(max_retries=max_retries))
    run = started(github, Plan(working_s=1000), title=f"Nightly {row.pk}")
    github.listed_after_s = 10**6
    following.turn(seconds=5)
    real = follower.write

    def named_meanwhile(*args: Any, **rest: Any) -> int:
        take_event(
            {"workflow_run": run.as_json("", github.clock()), "repository": {"full_name": "acme/app"}},
            now=following.clock(),
        )
        ended_now: int = real(*args, **rest)
        return ended_now

    monkeypatch.setattr(follower, "write", named_meanwhile)
    following.turn(minutes=6)

    assert (ended(row).status, row.attempt) == ("running", 1)
    assert GitHubRun.objects.get(pk=row.pk).run_id == run.run_id
    assert told == []


def test_a_sender_that_died_without_an_id_to_look_for_is_interrupted(term):
    row = rescued(term, JobFactory(github=True, max_retries=3))

    assert (row.status, row.reason) == ("failed", Reason.INTERRUPTED)


# ---- the id in the name of a run that is not ours ---------------------------------------------


@pytest.mark.parametrize("response_status", [204, 502])
def test_a_run_that_a_workflow_starts_and_hands_the_id_on_to_is_not_ours(following, github, response_status):
    """It comes later, ends otherwise, and says nothing about the name of ours."""
    job = correlating(max_retries=3)
    row = ambiguous(job, response_status=response_status)
    mine = started(github, Plan(), title=f"Nightly {row.pk}")
    started(github, Plan(conclusion="failure"), title=f"Deploy for {row.pk}", workflow="deploy.yml")

    following.turn(seconds=5)

    assert (ended(row).status, row.github_run.run_id) == ("success", mine.run_id)


def test_a_name_that_another_workflow_shows_the_id_in_proves_nothing(following, github):
    row = ambiguous(correlating(max_retries=3))
    started(github, Plan(), title="Nightly")
    started(github, Plan(), title=f"Deploy for {row.pk}", workflow="deploy.yml")

    following.turn(seconds=5)
    assert (ended(row).status, GitHubRun.objects.get().run_id) == ("running", None)
    following.turn(minutes=6)

    assert (ended(row).status, row.reason) == ("failed", Reason.UNCERTAIN)
    assert not RunNaming.objects.exists()


def test_of_a_workflow_that_dispatches_itself_with_the_id_the_first_run_is_ours(following, github):
    row = dispatched(None, job=correlating())
    mine = started(github, Plan(), title=f"Nightly {row.pk}")
    started(github, Plan(conclusion="failure"), title=f"Nightly {row.pk}")

    following.turn(seconds=5)

    assert (ended(row).status, row.github_run.run_id) == ("success", mine.run_id)


def test_a_run_of_another_event_is_not_ours(following, github):
    row = dispatched(None, job=correlating())
    run = started(github, Plan(conclusion="failure"), title=f"Nightly {row.pk}")
    run.event = "push"
    github.read_fault = Reply.json({"total_count": 1, "workflow_runs": [run.as_json("", github.clock())]})

    following.turn(seconds=5)

    assert ended(row).status == "running"


def seen(**said: Any) -> RunSeen:
    run = reading.run_of_event({"id": 1, "status": "queued", "display_title": f"Nightly {TOKEN}", **said})
    assert run is not None
    return run


@pytest.mark.parametrize(
    ("workflow", "said", "is_ours"),
    [
        ("nightly.yml", {}, True),
        ("nightly.yml", {"path": ".github/workflows/nightly.yml"}, True),
        ("nightly.yml", {"path": ".github/workflows/nightly.yml@main"}, True),
        ("nightly.yml", {"path": ".github/workflows/nightly.yml@feature/a@b"}, True),
        ("nightly@eu.yml", {"path": ".github/workflows/nightly@eu.yml@main"}, True),
        ("nightly.yml", {"path": ".github/workflows/nightly@eu.yml@main"}, False),
        ("nightly.yml", {"path": ".github/workflows/deploy.yml@nightly.yml"}, False),
        ("nightly.yml", {"path": "dynamic/pages/pages-build-deployment"}, False),
        ("nightly.yml", {"path": None, "event": None}, True),
        ("nightly.yml", {"event": "workflow_dispatch"}, True),
        ("nightly.yml", {"event": "workflow_run"}, False),
        ("nightly.yml", {"display_title": "Nightly"}, False),
        ("4711", {"workflow_id": 4711, "path": ".github/workflows/nightly.yml@main"}, True),
        ("4711", {"workflow_id": 4712, "path": ".github/workflows/nightly.yml@main"}, False),
        ("4711", {"path": ".github/workflows/nightly.yml@main"}, True),
    ],
)
def test_a_run_is_ours_by_its_workflow_event_and_id(workflow, said, is_ours):
    assert seen(**said).is_of(TOKEN, workflow=workflow) is is_ours


# ---- clocks that are set ----------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [3, 10])
def test_a_clock_that_is_set_forward_makes_no_run_missing(following, github, clock, minutes):
    """Ours was behind at the dispatch and is right at the look: GitHub had seconds, not minutes."""
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=1))
    following.turn(seconds=5)

    clock.set_by(minutes=minutes)
    following.turn(minutes=3)

    assert (ended(row).status, row.attempt) == ("running", 1)
    following.turn(minutes=3)
    assert (ended(row).status, row.attempt) == ("queued", 2)


def test_a_new_leader_counts_anew(following, github):
    """The dispatch may have been noted by another machine's clock."""
    shows_ids(following, github)
    row = ambiguous(correlating(max_retries=1))
    following.turn(seconds=5)
    following.restart()

    following.turn(minutes=6)
    assert (ended(row).status, row.attempt) == ("running", 1)
    following.turn(minutes=6)

    assert (ended(row).status, row.attempt) == ("queued", 2)


# ---- a run that was never found, for GitHub could not be asked --------------------------------


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_204_whose_run_cannot_be_looked_for_is_success_with_the_reason(following, github, told, status):
    row = dispatched(None, job=correlating())
    github.read_fault = Reply(status=status)

    following.turn(hours=6, seconds=1)

    row = ended(row)
    assert (row.status, row.reason, row.error_message) == ("success", "", "")
    assert row.output.startswith(
        "Dispatched, outcome not followed: no run with this execution's id was found"
    )
    assert "within the longest wait (6 h)." in row.output
    assert f"GitHub answered {status}" in row.output
    assert [status for status, _ in told] == ["success"]
    assert GitHubRun.objects.get().state == FollowState.DONE


def test_a_204_beyond_what_github_lists_is_success_with_the_reason(following, github, monkeypatch):
    monkeypatch.setattr(look, "MOST_PAGES", 1)
    row = dispatched(None, job=correlating())
    for _ in range(100):
        started(github, Plan(working_s=10**6))
    GitHubRun.objects.update(deadline_at=NOON + timedelta(minutes=30))

    following.turn(minutes=31)

    assert ended(row).status == "success"
    assert "GitHub lists no more than a thousand runs" in row.output


def test_a_204_while_the_clocks_differ_is_success_with_the_reason(following, github):
    row = dispatched(None, job=correlating())
    at = NOON + timedelta(hours=7)
    github.read_fault = Reply.json(
        {"total_count": 0, "workflow_runs": []}, headers={"Date": format_datetime(at)}
    )

    following.turn(hours=6, seconds=1)

    assert ended(row).status == "success"
    assert "minutes apart" in row.output


@pytest.mark.parametrize("status", [403, 503])
def test_an_unclear_dispatch_that_cannot_be_looked_for_is_uncertain(following, github, told, status):
    row = ambiguous(correlating(max_retries=3))
    github.read_fault = Reply(status=status)

    following.turn(hours=6, seconds=1)

    row = ended(row)
    assert (row.status, row.attempt, row.reason) == ("failed", 1, Reason.UNCERTAIN)
    assert row.error_message.startswith("Whether GitHub started a run is not known: none with this")
    assert f"GitHub answered {status}" in row.error_message
    assert "had not ended" not in row.error_message
    assert "before running it again" in row.error_message
    assert len(told) == 1


def test_a_run_that_was_not_found_in_time_and_turns_up_ends_as_it_did(following, github, told):
    row = dispatched(None, job=correlating())
    github.read_fault = Reply(status=503)
    following.turn(hours=6, seconds=1)
    github.read_fault = None
    run = started(github, Plan(conclusion="failure"), title=f"Nightly {row.pk}")

    take_event(
        {"workflow_run": run.as_json("", github.clock()), "repository": {"full_name": "acme/app"}},
        now=following.clock(),
    )
    following.turn(seconds=1)

    assert (ended(row).status, row.reason) == ("failed", Reason.CONCLUSION)
    assert [status for status, _ in told] == ["success", "failed"]


# ---- tokens -----------------------------------------------------------------------------------


def test_a_run_with_a_token_of_its_own_is_followed_with_it(following, github):
    github.token = "nobody's"
    github.grants["ghp_of_this_run"] = Grant()
    row = dispatched(started(github, Plan()))
    JobExecution.objects.update(overrides=encrypt('{"github_token": "ghp_of_this_run"}'))

    following.turn(seconds=5)

    assert ended(row).status == "success"


# ---- what hangs on it -------------------------------------------------------------------------


def test_a_deleted_job_takes_its_followed_runs_along(following, github):
    row = dispatched(started(github, Plan(working_s=100)))

    delete_job(row.job, by=None, now=NOON)
    following.turn(seconds=5)

    assert not GitHubRun.objects.exists()


def test_a_job_deleted_while_it_is_looked_at_stops_nobody(following, github, monkeypatch):
    gone = dispatched(started(github, Plan()))
    kept = dispatched(started(github, Plan()))
    real = follower.write

    def write(*args: Any, **rest: Any) -> int:
        delete_job(gone.job, by=None, now=NOON)
        ended_now: int = real(*args, **rest)
        return ended_now

    monkeypatch.setattr(follower, "write", write)
    following.turn(seconds=5)

    assert ended(kept).status == "success"
