from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from jobs.engine.lease import Term
from jobs.engine.tally import count_closed_hours
from jobs.querysets import RunFilter
from jobs.services.overview import figures_between, last_runs
from jobs.services.statistics import figures
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
DAYS = 5


@pytest.fixture
def history() -> None:
    rng = random.Random(7)
    job = JobFactory()
    for _ in range(60):
        started_at = NOON - timedelta(seconds=rng.randrange(86_400 * (DAYS + 1)))
        ExecutionFactory(job=job, started_at=started_at, failed=rng.random() < 0.4, duration_seconds=0.5)
    ExecutionFactory(job=job, started_at=NOON, running=True)


def midnights(zone: str) -> list[datetime]:
    """The beginnings of the last days and of the next one, in that zone."""
    today = NOON.astimezone(ZoneInfo(zone)).replace(hour=0)
    return [today + timedelta(days=n) for n in range(-DAYS, 2)]


@pytest.mark.parametrize("counted_until", [None, NOON - timedelta(days=2, hours=3), NOON])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "Asia/Kolkata", "America/New_York"])
def test_figures_of_days_are_those_of_each_day(
    history: None, term: Term, zone: str, counted_until: datetime | None
):
    if counted_until is not None:
        count_closed_hours(now=counted_until, term=term)
    bounds = midnights(zone)

    found = figures_between(bounds)

    assert found == [figures(RunFilter(start=start, end=end)) for start, end in pairwise(bounds)]
    assert sum(day.total for day in found) > 40


def test_figures_of_days_cost_three_statements(
    history: None, term: Term, django_assert_num_queries: pytest.FixtureRequest
):
    count_closed_hours(now=NOON, term=term)

    with django_assert_num_queries(3):
        figures_between(midnights("Asia/Tokyo"))


def test_last_runs_of_each_job_oldest_first(django_assert_num_queries: pytest.FixtureRequest):
    many, few, none, another = (JobFactory() for _ in range(4))
    runs = [ExecutionFactory(job=many, started_at=NOON + timedelta(minutes=n)) for n in range(5)]
    only = ExecutionFactory(job=few, failed=True)
    ExecutionFactory(job=another)

    with django_assert_num_queries(2):
        found = last_runs([many.pk, few.pk, none.pk], count=3)

    assert {job_id: [run[0] for run in of_job] for job_id, of_job in found.items()} == {
        many.pk: [run.pk for run in runs[2:]],
        few.pk: [only.pk],
    }
    assert found[few.pk] == [(only.pk, "failed", only.started_at, 1.0)]


def test_runs_of_one_moment_are_no_more_than_asked_for():
    job = JobFactory()
    runs = [ExecutionFactory(job=job, started_at=NOON) for _ in range(4)]

    found = last_runs([job.pk], count=2)

    assert [run[0] for run in found[job.pk]] == sorted(run.pk for run in runs)[2:]


def test_no_jobs_have_no_runs(django_assert_num_queries: pytest.FixtureRequest):
    assert last_runs([]) == {}
