"""What the form offers of GitHub, and what a job gives a workflow that does not take it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse

from accounts.models import AuditEntry
from cronsched.testing.fake_github import TEST_TOKEN, FakeGitHub
from cronsched.testing.fake_github.server import Grant
from cronsched.testing.fake_github.world import NIGHTLY
from cronsched.testing.fixtures_admin import Visitor, errors_of, messages_of
from cronsched.testing.http_sink import Reply
from jobs.models import Job
from jobs.services import github_api, github_lists
from jobs.services.github_api import Unavailable
from jobs.services.github_lists import WorkflowInput, input_faults, parse_workflow
from jobs.tests.factories import JobFactory
from taxonomy.models import GENERAL, JobCategory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def github(settings: Any) -> Any:
    with FakeGitHub() as made:
        settings.GITHUB_API_URL, settings.GITHUB_TOKEN = made.api_url, TEST_TOKEN
        settings.GITHUB_DEFAULT_OWNER = "acme"
        made.world.add(
            "acme/app",
            {"nightly.yml": NIGHTLY, "build.yaml": "on: push", "notes.txt": ""},
            branches=("main", "release"),
        )
        made.world.add("acme/site", {})
        made.world.add("other/thing", {})
        yield made


# ---- workflow files ---------------------------------------------------------------------------


def test_the_inputs_of_a_workflow_file():
    found = parse_workflow(NIGHTLY)

    assert found.has_trigger
    assert {one.name: (one.type, one.default, one.is_required, one.options) for one in found.inputs} == {
        "format": ("choice", "pdf", True, ("pdf", "html")),
        "day": ("string", None, False, ()),
        "dry_run": ("boolean", "false", False, ()),
        "copies": ("number", "1", False, ()),
        "seconds": ("number", "20", False, ()),
        "cronsched_id": ("string", None, False, ()),
    }


@pytest.mark.parametrize(
    ("text", "has_trigger"),
    [
        ("on: workflow_dispatch", True),
        ("on: [push, workflow_dispatch]", True),
        ("on:\n  workflow_dispatch:\n", True),
        ("'on':\n  workflow_dispatch: {}\n", True),
        ("on: push", False),
        ("on:\n  push:\n", False),
        ("name: x", False),
        ("on:\n  workflow_dispatch:\n    inputs: [a]\n", True),
        ("on:\n  workflow_dispatch:\n    inputs:\n      a:\n", True),
    ],
)
def test_the_trigger_is_known_in_all_its_spellings(text, has_trigger):
    assert parse_workflow(text).has_trigger is has_trigger


@pytest.mark.parametrize("text", ["", "- a", "a: [", "!!python/object/apply:os.system [ls]", "[" * 100_000])
def test_what_is_no_workflow_is_said(text):
    with pytest.raises(Unavailable):
        parse_workflow(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: y}\n" + "on: push\n" + "".join(f"k{number}: *a\n" for number in range(300)),
        "{a: " * 60 + "b" + "}" * 60,
        "on: push\nx: [" + "a," * 60_000 + "]",
    ],
    ids=["aliases", "depth", "nodes"],
)
def test_what_is_too_intricate_is_not_built(text):
    with pytest.raises(Unavailable, match="too intricate"):
        parse_workflow(text)


def test_a_mountain_of_merge_keys_is_not_climbed():
    """Each line has twice the keys of the one before: GitHub knows no merge keys, and neither do we."""
    lines = ["a0: &a0 {k: v}"] + [
        f"a{number}: &a{number} {{<<: [*a{number - 1}, *a{number - 1}], k{number}: v}}"
        for number in range(1, 90)
    ]
    began = time.monotonic()

    found = parse_workflow("\n".join(lines) + "\non: workflow_dispatch\n")

    assert found.has_trigger
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{type: string, default: 2024-01-02}", {"default": "2024-01-02"}),
        (
            "{type: choice, options: [yes, no, 1.0, 010]}",
            {"type": "choice", "options": ("yes", "no", "1.0", "010")},
        ),
        ("{type: boolean, default: True}", {"type": "boolean", "default": "true"}),
        ("{required: true, default: }", {"is_required": True}),
        ("{required: 'true'}", {"is_required": True}),
        ("{required: false}", {}),
        ("{default: 0x10, type: number}", {"default": "0x10", "type": "number"}),
    ],
)
def test_values_stay_as_they_are_written(spec, expected):
    found = parse_workflow(f"on:\n  workflow_dispatch:\n    inputs:\n      x: {spec}\n")

    assert found.inputs == (WorkflowInput(name="x", **expected),)


def test_anchors_are_followed_as_github_follows_them():
    text = (
        "x: &x {type: number, default: 1}\non:\n  workflow_dispatch:\n    inputs:\n      a: *x\n      b: *x\n"
    )

    assert [(one.name, one.type, one.default) for one in parse_workflow(text).inputs] == [
        ("a", "number", "1"),
        ("b", "number", "1"),
    ]


def test_a_mountain_of_aliases_is_not_climbed():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )

    found = parse_workflow(
        bomb + "on:\n  workflow_dispatch:\n    inputs:\n      x: {default: *i, description: *i}\n"
    )

    assert found.inputs == (WorkflowInput(name="x"),)


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({"format": "pdf"}, []),
        ({}, []),
        ({"format": "doc"}, ['The input "format" must be one of: pdf, html.']),
        ({"dry_run": True, "copies": 2}, []),
        ({"dry_run": "yes"}, ['The input "dry_run" is a boolean: write true or false.']),
        ({"copies": "many"}, ['The input "copies" is a number.']),
        ({"colour": "red"}, ['The workflow has no input "colour".']),
        ({"copies": None}, []),
    ],
)
def test_what_a_job_gives_is_held_against_the_file(given, faults):
    assert input_faults(parse_workflow(NIGHTLY).inputs, given) == faults


def test_a_required_input_without_a_default_is_missed():
    assert input_faults([WorkflowInput(name="day", is_required=True)], {}) == [
        'The workflow requires the input "day".'
    ]


# ---- lists ------------------------------------------------------------------------------------


def ask(site: Visitor, what: str, **query: str) -> Any:
    return site.get(reverse(f"admin:jobs_job_{what}"), query)


@pytest.mark.parametrize(
    ("what", "query", "names"),
    [
        ("repositories", {"owner": "ACME"}, ["app", "site"]),
        ("repositories", {}, ["app", "site"]),
        ("workflows", {"owner": "acme", "repo": "app"}, ["build.yaml", "nightly.yml"]),
        ("workflows", {"owner": "", "repo": "acme/app"}, ["build.yaml", "nightly.yml"]),
        ("branches", {"owner": "acme", "repo": "app"}, ["main", "release"]),
    ],
)
def test_lists_are_read_with_the_token(user_site: Visitor, github, what, query, names):
    answer = ask(user_site, what, **query).json()

    assert answer == {"ok": True, "names": names, "is_cut": False}


def test_lists_are_read_beyond_their_first_page(user_site: Visitor, github):
    github.world.add("acme/big", {}, branches=tuple(f"b{number:03}" for number in range(450)))
    for number in range(150):
        github.world.add(f"acme/r{number:03}", {})

    branches = ask(user_site, "branches", owner="acme", repo="big").json()
    repositories = ask(user_site, "repositories", owner="acme").json()

    assert (len(branches["names"]), branches["is_cut"]) == (450, False)
    assert (len(repositories["names"]), repositories["is_cut"]) == (153, False)


def test_a_list_that_is_cut_says_so_and_is_searched_at_github(user_site: Visitor, github):
    names = tuple(f"b{number:04}" for number in range(1200))
    github.world.add("acme/big", {}, branches=(*names, "feature/x"))

    cut = ask(user_site, "branches", owner="acme", repo="big").json()
    found = ask(user_site, "branches", owner="acme", repo="big", search="feature/").json()
    repositories = ask(user_site, "repositories", owner="acme", search="bi").json()

    assert (len(cut["names"]), cut["is_cut"]) == (1000, True)
    assert (found["names"], found["is_cut"]) == (["feature/x"], False)
    assert repositories["names"] == ["big"]


def test_what_was_read_in_time_is_offered(user_site: Visitor, github, monkeypatch):
    monkeypatch.setattr(github_lists, "WITHIN_S", 1.0)
    github.world.add("acme/big", {}, branches=tuple(f"b{number:03}" for number in range(450)))
    github.page_faults["3"] = Reply(hold=True)

    answer = ask(user_site, "branches", owner="acme", repo="big").json()

    assert (answer["ok"], answer["is_cut"], len(answer["names"])) == (True, True, 300)


def test_a_page_with_a_fault_cuts_the_list(user_site: Visitor, github):
    github.world.add("acme/big", {}, branches=tuple(f"b{number:03}" for number in range(250)))
    github.page_faults["2"] = Reply(status=502)

    answer = ask(user_site, "branches", owner="acme", repo="big").json()

    assert (answer["ok"], answer["is_cut"], len(answer["names"])) == (True, True, 150)


@pytest.mark.parametrize("search", ["x user:other", "../..", "%2e%2e", "é\x00", "a" * 5000])
def test_whatever_is_searched_for_is_quoted(user_site: Visitor, github, search):
    github.world.add("acme/big", {}, branches=tuple(f"b{number:04}" for number in range(3)))

    for what in ("repositories", "branches"):
        answer = ask(user_site, what, owner="acme", repo="big", search=search)
        assert answer.status_code == 200
        assert answer.json().get("names", []) == []


def test_the_inputs_are_told(user_site: Visitor, github):
    answer = ask(user_site, "inputs", owner="acme", repo="app", workflow="nightly.yml").json()

    assert answer["ok"]
    assert answer["has_trigger"]
    assert answer["inputs"][0] == {
        "name": "format",
        "type": "choice",
        "description": "What the report is made as",
        "is_required": True,
        "default": "pdf",
        "options": ["pdf", "html"],
    }
    assert "ref=main" in github.sink.calls[-1].path


@pytest.mark.parametrize(
    "query", [{}, {"repo": "a b"}, {"repo": ".."}, {"owner": "x/../y", "repo": "app"}, {"repo": "a/b/c"}]
)
def test_names_that_are_none_are_never_asked_about(user_site: Visitor, github, settings, query):
    settings.GITHUB_DEFAULT_OWNER = ""

    answer = ask(user_site, "workflows", **query).json()

    assert answer["ok"] is False
    assert github.sink.calls == []


def test_viewers_are_not_told(viewer_site: Visitor, github):
    for what in ("repositories", "workflows", "branches", "inputs"):
        assert ask(viewer_site, what, owner="acme", repo="app").status_code == 403
    assert github.sink.calls == []


def test_without_a_token_it_says_so(user_site: Visitor, github, settings):
    settings.GITHUB_TOKEN = ""

    assert ask(user_site, "repositories").json() == {"ok": False, "message": "There is no token for GitHub."}


def test_a_missing_permission_is_said(user_site: Visitor, github):
    github.grants[TEST_TOKEN] = Grant(permissions=frozenset({"metadata=read"}))

    answer = ask(user_site, "workflows", owner="acme", repo="app").json()

    assert answer["ok"] is False
    assert "Resource not accessible" in answer["message"]


@pytest.mark.parametrize(
    "fault", [Reply(status=503), Reply(drop=True), Reply(body=b"<html>"), Reply(hold=True)]
)
def test_a_github_that_does_not_answer_keeps_nobody_waiting(user_site: Visitor, github, monkeypatch, fault):
    monkeypatch.setattr(github_lists, "WITHIN_S", 0.3)
    github.read_fault = fault

    answer = ask(user_site, "workflows", owner="acme", repo="app")

    assert answer.status_code == 200
    assert answer.json()["ok"] is False


def test_no_more_than_three_seconds():
    assert github_lists.WITHIN_S <= 3
    assert github_api.MAX_BYTES <= 4 * 1024 * 1024


_NEEDY = "on:\n  workflow_dispatch:\n    inputs:\n      day: {type: string, required: true}\n"


def add(site: Visitor, **values: Any) -> Any:
    """Send the form of a new job."""
    if not JobCategory.objects.filter(slug=GENERAL).exists():
        CategoryFactory(slug=GENERAL, name="General")
    filled = {
        "name": "Nightly",
        "cron_expression": "0 2 * * *",
        "pic_team": str(TeamFactory().pk),
        "end_date": "2099-12-31",
        "target_kind": "github_actions",
        "github_repo": "acme/app",
        "github_workflow_name": "nightly.yml",
    }
    return site.submit("jobs_job_add", **{**filled, **values})


# ---- saving -----------------------------------------------------------------------------------


def save(site: Visitor, **changes: Any) -> Any:
    job = JobFactory(github=True, created_by=site.user)
    return job, site.submit("jobs_job_change", job.pk, **changes)


def test_what_github_would_refuse_is_refused_at_its_field(user_site: Visitor, github):
    job, answer = save(
        user_site,
        name="Another",
        metadata='{"format": "doc", "colour": "red", "dry_run": "maybe", "copies": "1_0"}',
        github_correlation_input="the_id",
    )

    assert answer.status_code == 200
    assert errors_of(answer) == {
        "metadata": [
            'The workflow has no input "colour".',
            'The input "format" must be one of: pdf, html.',
            'The input "dry_run" is a boolean: write true or false.',
            'The input "copies" is a number.',
        ],
        "github_correlation_input": ['The workflow has no input "the_id".'],
    }
    assert 'value="Another"' in answer.content.decode(), "what was typed is still there"
    kept = Job.objects.get(pk=job.pk)
    assert (kept.metadata, kept.name) == (job.metadata, job.name)
    assert not AuditEntry.objects.filter(object_id=str(job.pk)).exists()


def test_a_new_job_is_refused_too_and_leaves_nothing(user_site: Visitor, github):
    github.world.add("acme/app", {"nightly.yml": _NEEDY})

    answer = add(user_site)

    assert errors_of(answer) == {"metadata": ['The workflow requires the input "day".']}
    assert not Job.objects.exists()
    assert add(user_site, metadata='{"day": "today"}').status_code == 302


def test_an_id_goes_into_a_text(user_site: Visitor, github):
    _, answer = save(user_site, github_correlation_input="copies")

    assert errors_of(answer) == {
        "github_correlation_input": ['The input "copies" gets an id: it must be a string.']
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on: push", "has no workflow_dispatch trigger"),
        (NIGHTLY.replace("run-name:", "title:"), "not show the input"),
    ],
)
def test_what_is_unwise_is_saved_with_a_warning(user_site: Visitor, github, text, said):
    github.world.add("acme/app", {"nightly.yml": text})

    job, answer = save(user_site, github_correlation_input="cronsched_id")

    assert answer.status_code == 302
    assert Job.objects.get(pk=job.pk).github_correlation_input == "cronsched_id"
    [warning] = [text for text in messages_of(answer) if "Saved, but" in text]
    assert said in warning


def test_github_is_asked_outside_of_any_transaction(user_site: Visitor, github, monkeypatch):
    depths = []
    real = github_lists.read_workflow

    def read(*args: Any) -> Any:
        depths.append(len(connection.savepoint_ids))
        return real(*args)

    before = len(connection.savepoint_ids)
    monkeypatch.setattr(github_lists, "read_workflow", read)
    _, answer = save(user_site, metadata='{"format": "html"}')

    assert answer.status_code == 302
    assert depths == [before], "asked once, and with no savepoint around it"


def test_saving_what_fits_warns_of_nothing(user_site: Visitor, github):
    _, answer = save(user_site, metadata='{"format": "html"}', github_correlation_input="cronsched_id")

    assert answer.status_code == 302
    assert [text for text in messages_of(answer) if "Saved, but" in text] == []


def test_a_github_that_is_away_stops_no_saving(user_site: Visitor, github, monkeypatch):
    monkeypatch.setattr(github_lists, "WITHIN_S", 0.2)
    github.read_fault = Reply(hold=True)

    job, answer = save(user_site, metadata='{"format": "doc"}')

    assert answer.status_code == 302
    job.refresh_from_db()
    assert job.metadata == {"format": "doc"}


def test_github_is_asked_only_where_it_has_a_say(user_site: Visitor, github):
    save(user_site, name="Another name")

    assert github.sink.calls == []


def test_a_new_job_keeps_its_settings_of_following(user_site: Visitor, github):
    follow = {"follow_run": "", "follow_timeout_minutes": "30", "github_correlation_input": "cronsched_id"}
    answer = add(user_site, **follow)

    assert answer.status_code == 302, answer.context["adminform"].form.errors
    job = Job.objects.get()
    assert (job.follow_run, job.follow_timeout_minutes, job.github_correlation_input) == (
        False,
        30,
        "cronsched_id",
    )
