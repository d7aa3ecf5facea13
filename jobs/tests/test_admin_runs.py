"""The list of executions as people use it: what failed last night, run it again; and the page of one run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from cronsched.testing.fixtures_admin import Visitor, messages_of
from jobs.admin.advice import advice
from jobs.admin.chips import chips
from jobs.admin.filters import CATEGORY, TEAM, last_night
from jobs.admin.run_page import neighbours, pretty
from jobs.choices import ExecutionType, Status, TriggerType
from jobs.engine.messages import Reason
from jobs.models import Job, JobExecution, RunAttempt
from jobs.services.lifecycle import update_job
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db

LIST, PAGE = "jobs_jobexecution_changelist", "jobs_jobexecution_change"


def tokyo(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC) - timedelta(hours=9)


@pytest.mark.parametrize("now", [tokyo(10, 2), tokyo(10, 8), tokyo(10, 12), tokyo(10, 23, 59)])
def test_last_night_ends_at_eight_of_today(now):
    assert last_night(now) == (tokyo(9, 18), tokyo(10, 8))


@time_machine.travel(tokyo(10, 9), tick=False)
def test_what_failed_last_night_for_a_team_is_two_clicks_away(viewer_site: Visitor):
    team = TeamFactory(name="Payments")
    mine, other = JobFactory(pic_team=team), JobFactory()
    failed = ExecutionFactory(job=mine, scheduled_for=tokyo(10, 3), failed=True)
    missed = ExecutionFactory(job=mine, scheduled_for=tokyo(10, 4), status=Status.MISSED)
    ExecutionFactory(job=mine, scheduled_for=tokyo(10, 5))
    ExecutionFactory(job=mine, scheduled_for=tokyo(9, 17), failed=True)
    ExecutionFactory(job=mine, scheduled_for=tokyo(10, 8), failed=True)
    ExecutionFactory(job=other, scheduled_for=tokyo(10, 3), failed=True)

    first = viewer_site.open(LIST).context["chips"][0]["chips"][0]
    page = viewer_site.open(LIST, **QueryDict(first.query).dict())
    by_team = {chip.label: chip.query for chip in page.context["chips"][3]["chips"]}
    page = viewer_site.open(LIST, **QueryDict(by_team["Payments"]).dict())

    assert list(page.context["cl"].result_list) == [missed, failed]


def test_a_chosen_chip_takes_itself_away_and_keeps_the_rest(a_viewer: User):
    groups = chips(QueryDict("when=night&status__exact=failed&p=3"), user=a_viewer)
    when = {chip.label: chip for chip in groups[1]["chips"]}

    assert (when["last night"].is_chosen, when["last night"].query) == (True, "status__exact=failed")
    assert (when["today"].is_chosen, when["today"].query) == (False, "status__exact=failed&when=today")


def test_a_period_by_name_takes_the_place_of_a_range(a_viewer: User):
    groups = chips(QueryDict("started_at_from_0=2026-01-01&started_at_to_0=2026-01-02"), user=a_viewer)

    assert groups[1]["chips"][0].query == "when=night"


def test_forty_teams_are_links_too_ones_own_first(a_user: User):
    teams = [TeamFactory(name=f"Team {n:02}") for n in range(40)]
    JobFactory(created_by=a_user, pic_team=teams[30])
    JobFactory(pic_team=teams[20])
    gone = TeamFactory(name="Gone", is_active=False)

    of_teams = chips(QueryDict("when=night"), user=a_user)[3]
    names = [chip.label for chip in of_teams["chips"]]

    assert of_teams["is_long"]
    assert names == ["Team 30", *(f"Team {n:02}" for n in range(40) if n != 30)]
    assert all("when=night&" in chip.query for chip in of_teams["chips"])
    chosen = chips(QueryDict(f"{TEAM}={gone.pk}"), user=a_user)[3]["chips"]
    assert [(chip.label, chip.is_chosen) for chip in chosen][:2] == [("Gone", True), ("Team 30", False)]


def test_few_teams_stand_in_their_own_order(a_user: User):
    for name in ("B", "A"):
        JobFactory(created_by=a_user, pic_team=TeamFactory(name=name))

    of_teams = chips(QueryDict(""), user=a_user)[3]

    assert [chip.label for chip in of_teams["chips"]] == ["A", "B"]
    assert not of_teams["is_long"]


# ---- what lists are narrowed by -----------------------------------------------------------------


def listed(visitor: Visitor, **query: object) -> set[str]:
    return {run.error_message for run in visitor.open(LIST, **query).context["cl"].result_list}


@pytest.fixture
def report(db: None) -> Job:
    """A job with a run of each status, told apart by their texts; beside it is another that failed."""
    job: Job = JobFactory(name="Report", category=CategoryFactory(slug="reports"))
    for status in Status:
        ExecutionFactory(job=job, status=status, error_message=status.value)
    ExecutionFactory(job=JobFactory(name="Other"), failed=True, error_message="other")
    return job


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("failed", {"failed"}),
        ("problem", {"failed", "missed"}),
        ("in_flight", {"queued", "running"}),
        ("junk", set()),
        ("", set(Status.values)),
    ],
)
def test_a_status_is_asked_of_all_runs_and_of_those_of_some_jobs(
    viewer_site: Visitor, report: Job, status: str, found: set[str]
):
    asked = {"status__exact": status}
    team, category = {TEAM: report.pic_team_id}, {CATEGORY: report.category_id}
    narrowed = (team, category, {"job__id__exact": report.pk}, {"q": "report"}, {**team, **category})

    for by_job in narrowed:
        assert listed(viewer_site, **asked, **by_job) == found, by_job
    more = {"other"} if status in ("failed", "problem", "") else set()
    assert listed(viewer_site, **asked) == found | more


@pytest.mark.usefixtures("report")
def test_a_team_that_is_none_is_said_and_not_shown_as_all(viewer_site: Visitor):
    assert listed(viewer_site, **{TEAM: uuid4()}) == set()
    answer = viewer_site.open(LIST, **{TEAM: "junk"})
    assert answer.status_code == 302
    assert "e=1" in answer.headers["Location"]


# ---- running again ------------------------------------------------------------------------------


def manual_runs() -> int:
    return JobExecution.objects.filter(trigger_type=TriggerType.MANUAL).count()


def test_failed_runs_are_run_again_once_for_each_job(user_site: Visitor, a_user: User):
    job, other = JobFactory(created_by=a_user), JobFactory(name="Of another")
    runs = [ExecutionFactory(job=job, failed=True), ExecutionFactory(job=job, failed=True)]
    runs.append(ExecutionFactory(job=other, failed=True))

    answer = user_site.act("run_again", LIST, *(run.pk for run in runs))

    assert sorted(messages_of(answer)) == [
        "Of another: this is not yours to change.",
        "Queued, to be sent within a second or two: 1.",
    ]
    assert manual_runs() == 1


def test_a_viewer_runs_nothing_again(viewer_site: Visitor):
    run = ExecutionFactory(failed=True)

    viewer_site.act("run_again", LIST, run.pk)
    assert viewer_site.send("jobs_jobexecution_run_again", run.pk).status_code == 403
    assert manual_runs() == 0


def test_the_page_of_a_run_leads_to_the_new_one(user_site: Visitor, a_user: User):
    run = ExecutionFactory(job=JobFactory(created_by=a_user), failed=True)

    answer = user_site.send("jobs_jobexecution_run_again", run.pk)

    new = JobExecution.objects.get(trigger_type=TriggerType.MANUAL)
    assert str(new.pk) in answer.headers["Location"]
    assert new.triggered_by == a_user


def test_running_again_by_another_or_by_a_link(user_site: Visitor):
    run = ExecutionFactory(failed=True)

    assert user_site.send("jobs_jobexecution_run_again", run.pk).status_code == 403
    assert user_site.open("jobs_jobexecution_run_again", run.pk).status_code == 405
    assert user_site.send("jobs_jobexecution_run_again", uuid4()).status_code == 404
    assert manual_runs() == 0


def test_a_job_that_has_ended_is_refused_in_words(admin_site: Visitor):
    run = ExecutionFactory(job=JobFactory(end_date="2020-01-01"), failed=True)

    answer = admin_site.send("jobs_jobexecution_run_again", run.pk)
    assert "ended on 2020-01-01" in messages_of(answer)[0]
    assert manual_runs() == 0


# ---- the page of one run ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"reason": Reason.HTTP_STATUS, "response_status": 401}, "signing secret"),
        ({"reason": Reason.HTTP_STATUS, "response_status": 302}, "Redirects are not followed"),
        ({"reason": Reason.HTTP_STATUS, "response_status": 503}, "itself failed"),
        ({"reason": Reason.HTTP_STATUS, "response_status": 418}, "The answer below"),
        (
            {
                "reason": Reason.HTTP_STATUS,
                "response_status": 401,
                "execution_type": ExecutionType.GITHUB_ACTIONS,
            },
            "GITHUB_TOKEN",
        ),
        ({"reason": Reason.TIMEOUT}, "Raise the job's timeout"),
        ({"reason": "of a later version"}, ""),
    ],
)
def test_what_to_do_about_a_failure(values, words):
    run = ExecutionFactory.build(job=JobFactory(), status=Status.FAILED, **values)

    assert words in str(advice(run))
    assert bool(advice(run)) is bool(words)


@pytest.mark.parametrize("reason", [each for each in Reason if each not in (Reason.NONE, Reason.HTTP_STATUS)])
def test_every_reason_has_its_advice(reason):
    assert advice(ExecutionFactory.build(job=JobFactory(), status=Status.MISSED, reason=reason))


def test_what_went_well_needs_no_advice():
    assert advice(ExecutionFactory.build(job=JobFactory(), response_status=200)) == ""


def test_the_page_says_what_happened_and_what_to_do(viewer_site: Visitor):
    job = JobFactory(metadata={"env": "production"})
    evil = "<script>alert(1)</script>"
    run = ExecutionFactory(
        job=job, failed=True, response_status=500, error_message=evil, output='{"a":{"b":1}}', attempt=2
    )
    earlier(run, 1, allowed=2)

    page = viewer_site.open(PAGE, run.pk)
    text = page.content.decode()
    assert "itself failed" in text
    assert evil not in text
    assert page.context["answer"] == '{\n  "a": {\n    "b": 1\n  }\n}'
    assert page.context["request_body"] == '{\n  "env": "production"\n}'
    assert "2 of 2" in text
    assert "Run again" not in text


def earlier(run: JobExecution, number: int, *, allowed: int, **values: Any) -> RunAttempt:
    begun = NOON + timedelta(minutes=number)
    given = {"reason": Reason.HTTP_STATUS, "response_status": 503, "error_message": "It was 503.", **values}
    return RunAttempt.objects.create(
        execution=run,
        number=number,
        allowed=allowed,
        started_at=begun,
        ended_at=begun + timedelta(seconds=7),
        **given,
    )


def test_each_attempt_is_shown_with_its_times_and_what_came_of_it(viewer_site: Visitor):
    job = JobFactory(max_retries=9)
    run = ExecutionFactory(job=job, attempt=3, scheduled_for=NOON, response_status=200)
    earlier(run, 1, allowed=4)
    earlier(run, 2, allowed=4, response_status=None, reason=Reason.TIMEOUT, error_message="<b>No answer.")

    page = viewer_site.open(PAGE, run.pk)

    attempts = page.context["attempts"]
    assert [(one["number"], one["status"]) for one in attempts] == [
        (1, "failed"),
        (2, "failed"),
        (3, "success"),
    ]
    assert [one["response_status"] for one in attempts] == [503, None, 200]
    text = page.content.decode()
    assert "&lt;b&gt;No answer." in text
    assert "21:02:00" in text
    assert "3 of 4" in text, "as the job allowed then, and not what it allows now"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "1"),
        ({"failed": True}, "1"),
        ({"queued": True}, "1 of 10"),
        ({"running": True, "attempt": 2}, "2 of 10"),
        # Of an earlier release, which kept nothing of its attempts.
        ({"attempt": 2}, "2"),
    ],
)
def test_what_is_said_of_attempts_where_none_is_kept(viewer_site: Visitor, values, words):
    run = ExecutionFactory(job=JobFactory(max_retries=9), **values)

    page = viewer_site.open(PAGE, run.pk)

    assert [fact.value for fact in page.context["times"] if fact.label == "Attempt"] == [words]
    assert page.context["attempts"] == []


def test_what_waits_for_its_next_attempt_shows_when_it_comes(viewer_site: Visitor):
    run = ExecutionFactory(queued=True, attempt=2, available_at=NOON + timedelta(hours=1))
    earlier(run, 1, allowed=3)

    last = viewer_site.open(PAGE, run.pk).context["attempts"][-1]

    assert (last["number"], last["status"], last["took"], last["error"]) == (2, "queued", "", "")
    assert "22:00:00" in last["started"]


def test_the_body_is_that_of_then(viewer_site: Visitor):
    job = JobFactory(metadata={"env": "test", "token": "t1"})
    run = ExecutionFactory(job=job, scheduled_for=NOON)
    update_job(job, data={"metadata": {"env": "production"}}, by=None, now=NOON + timedelta(minutes=1))

    page = viewer_site.open(PAGE, run.pk)
    assert page.context["request_body"] == '{\n  "env": "test",\n  "token": "[set]"\n}'
    assert "changed since" in page.content.decode()


def test_a_workflow_is_shown_with_its_branch_and_inputs(viewer_site: Visitor):
    job = JobFactory(
        github=True, metadata={"branchDetails": "release", "env": "x"}, github_correlation_input="run_id"
    )
    run = ExecutionFactory(job=job, execution_type=ExecutionType.GITHUB_ACTIONS)

    body = viewer_site.open(PAGE, run.pk).context["request_body"]
    assert '"ref": "release"' in body
    assert '"env": "x"' in body
    assert "branchDetails" not in body
    assert f'"run_id": "{run.pk}"' in body


def test_neighbours_are_of_the_same_job_in_the_order_of_the_list():
    job = JobFactory()
    first, second, third = (
        ExecutionFactory(job=job, scheduled_for=NOON + timedelta(minutes=n), started_at=NOON)
        for n in range(3)
    )
    ExecutionFactory(scheduled_for=NOON, started_at=NOON)
    ordered = sorted([first, second, third], key=lambda run: run.pk)

    assert [neighbours(run) for run in ordered] == [
        (None, ordered[1]),
        (ordered[0], ordered[2]),
        (ordered[1], None),
    ]


@pytest.mark.parametrize("text", ["", "plain", "[1, 2", "7", '"x"', "[" * 5000])
def test_what_is_no_json_document_is_shown_as_it_came(text):
    assert pretty(text) == text


def test_the_page_costs_the_same_for_any_history(viewer_site: Visitor):
    job = JobFactory()
    costs = set()
    for _ in range(2):
        run = ExecutionFactory(job=job, failed=True)
        ExecutionFactory.create_batch(20, job=job)
        with CaptureQueriesContext(connection) as caught:
            viewer_site.open(PAGE, run.pk)
        costs.add(len(caught))

    assert len(costs) == 1


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.MISSED])
def test_every_status_has_its_times(viewer_site: Visitor, status):
    values = {"missed_count": 3, "missed_last_at": NOON} if status == Status.MISSED else {}
    run = ExecutionFactory(
        status=status, completed_at=None, duration_seconds=None, deadline_at=NOON, **values
    )

    page = viewer_site.open(PAGE, run.pk)
    labels = [fact.label for fact in page.context["times"]]
    assert {
        Status.QUEUED: "To be sent",
        Status.RUNNING: "Given up for lost at",
        Status.MISSED: "Slots missed",
    }[status] in labels
