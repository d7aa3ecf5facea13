"""Export, then import, changes nothing; and on an empty installation makes the same jobs again."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.tests.factories import UserFactory
from cronsched.core.text import is_readable_line, name_key
from jobs.models import Job
from jobs.services.bulk_upload.engine import Outcome, Upload, upload_jobs
from jobs.services.bulk_upload.export import csv_lines
from jobs.services.bulk_upload.sheet import Sheet
from jobs.services.lifecycle import create_job
from jobs.services.validation import RULES
from jobs.tests.factories import NOON, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db

# What parts cells, quotes them, breaks lines or starts formulas comes often; all else may come.
TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("=+-@'\";,\t\r\n [{#"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=20,
)
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
METADATA = st.dictionaries(
    TEXT,
    st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)),
    max_size=4,
)
EMAILS = st.lists(
    st.sampled_from(
        ["a@example.com", "+t@example.com", "-x@example.com", '"a,b;c"@example.com', "'q@example.com"]
    ),
    unique=True,
    max_size=3,
)
TARGETS = st.sampled_from(
    [
        {"target_url": "https://hooks.example.com/a?b=1,2;3&c='=\""},
        {"github_owner": "-acme", "github_repo": "app.x", "github_workflow_name": "=n, t;x.yml"},
        {
            "target_url": "https://hooks.example.com/",
            "github_owner": "acme",
            "github_repo": "app",
            "github_workflow_name": "日本.yaml",
        },
    ]
)
JOB = st.builds(
    lambda target, **values: {**values, **target},
    target=TARGETS,
    name=TEXT.map(str.strip).filter(lambda text: text and is_readable_line(text)),
    cron_expression=st.sampled_from(["* * * * *", "0 2 * * MON-FRI", "*/5 1-3,7 1 JAN *"]),
    end_date=st.sampled_from(["2026-03-10", "2030-12-31", "9999-12-31"]),
    pic_team=st.sampled_from(["devops", "基盤"]),
    category=st.sampled_from(["general", "=reports"]),
    is_active=st.booleans(),
    metadata=METADATA,
    notification_emails=EMAILS,
    enable_email_notifications=st.booleans(),
    notify_on_success=st.booleans(),
    timezone=st.sampled_from(["", "UTC", "America/New_York"]),
    catch_up=st.sampled_from(["skip", "latest", "all"]),
    max_retries=st.integers(0, 10),
    timeout_seconds=st.none() | st.integers(1, 3600),
)
# Nothing but what a job is: of the two installations, each has its own ids and times.
STORED = ("name", "category__slug", "pic_team__slug", *(field for field in RULES if field != "name"))
ON_ONE_DATABASE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    CategoryFactory()
    CategoryFactory(slug="reports", name="=reports")
    TeamFactory(slug="devops")
    TeamFactory(slug="team-x", name="基盤")


def exported() -> bytes:
    return "".join(csv_lines(Job.objects.all())).encode()


def uploaded(content: bytes) -> list[Outcome]:
    upload = Upload(by=None, owner_id=None, now=NOON)
    return list(upload_jobs(Sheet(io.BytesIO(content)).entries(), upload))


def made(jobs: list[dict[str, Any]]) -> None:
    Job.objects.all().delete()
    unique = {name_key(values["name"]): values for values in jobs}
    for values in unique.values():
        create_job(data=values, by=None, now=NOON)


@given(st.lists(JOB, min_size=1, max_size=4))
@ON_ONE_DATABASE
def test_export_then_import_changes_nothing(jobs: list[dict[str, Any]]) -> None:
    made(jobs)
    before = list(Job.objects.order_by("pk").values())

    outcomes = uploaded(exported())

    assert {(outcome.action, outcome.error) for outcome in outcomes} == {("unchanged", "")}
    assert len(outcomes) == len(before)
    assert list(Job.objects.order_by("pk").values()) == before


@given(st.lists(JOB, min_size=1, max_size=4))
@ON_ONE_DATABASE
def test_an_export_makes_the_same_jobs_elsewhere(jobs: list[dict[str, Any]]) -> None:
    made(jobs)
    before, content = list(Job.objects.order_by("name_key").values(*STORED)), exported()
    Job.objects.all().delete()

    outcomes = uploaded(content)

    assert {(outcome.action, outcome.error) for outcome in outcomes} == {("created", "")}
    assert list(Job.objects.order_by("name_key").values(*STORED)) == before
    assert exported() == content


@pytest.mark.databases
def test_what_spreadsheets_and_databases_stumble_on(db: None) -> None:
    """One of each, on every database."""
    for name in ("日本語 🚀 👩‍👩‍👧", "مهمة", "=1+1", "'=1", "+x", "-x", "@x", "q\"u;o,t'e"):
        create_job(
            data={
                "name": name, "cron_expression": "0 2 * * *", "pic_team": "基盤", "category": "reports",
                "end_date": "2030-12-31", "target_url": "https://hooks.example.com/",
                "metadata": {name: [name, None, 1.5, 10**30]}, "notification_emails": ["+x@example.com"],
            },
            by=None,
            now=NOON,
        )  # fmt: skip
    JobFactory(name="of the earlier\nsystem", pic_team=None, end_date=None)
    JobFactory(name="paused", paused=True, github=True, created_by=UserFactory())
    before = list(Job.objects.order_by("pk").values())

    outcomes = uploaded(exported())

    assert {(outcome.action, outcome.error) for outcome in outcomes} == {("unchanged", "")}
    assert list(Job.objects.order_by("pk").values()) == before


def test_an_export_is_the_same_each_time_and_costs_one_query(django_assert_num_queries: Any) -> None:
    for name in ("b", "A", "ä", "Z", "a2"):
        JobFactory(name=name)

    with django_assert_num_queries(1):
        lines = list(csv_lines(Job.objects.all()))

    assert [line.split(",")[0] for line in lines] == ["Job Name", "A", "a2", "b", "Z", "ä"]
    assert lines == list(csv_lines(Job.objects.all()))
