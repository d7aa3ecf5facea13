"""The home page: what it shows, to whom, and what it costs."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.engine import lease
from jobs.engine.lease import Term
from jobs.engine.tally import count_closed_hours
from jobs.engine.ticker import Lag
from jobs.models import JobExecution, SchedulerLease
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = pytest.mark.django_db
HOME, FRAGMENT = "index", "home"


@pytest.fixture(autouse=True)
def _at_noon():
    with time_machine.travel(NOON, tick=False):
        yield


def ago(**span: float) -> dict[str, Any]:
    """When a run was due and started."""
    return {"scheduled_for": NOON - timedelta(**span)}


# ---- what is shown -------------------------------------------------------------------------------


def test_an_empty_installation_says_what_to_do_first(user_site, viewer_site):
    add = reverse("admin:jobs_job_add")

    assert "No jobs yet" in user_site.open(HOME).content.decode()
    assert f'href="{add}"' in user_site.open(HOME).content.decode()
    assert "Create the first job" not in viewer_site.open(HOME).content.decode()


def test_what_failed_and_was_missed_is_shown_by_job_with_its_last_reason(viewer_site):
    bad, late, fine = JobFactory(name="Bad"), JobFactory(name="Late"), JobFactory(name="Fine")
    ExecutionFactory(job=bad, failed=True, error_message="the older one", **ago(hours=5))
    ExecutionFactory(job=bad, failed=True, error_message="connection refused", **ago(hours=2))
    ExecutionFactory(job=late, status="missed", error_message="too late", missed_count=4, **ago(hours=1))
    ExecutionFactory(job=fine, **ago(hours=1))
    ExecutionFactory(job=fine, failed=True, error_message="long ago", **ago(hours=25))

    context = viewer_site.open(HOME).context["home"]

    found = [
        (trouble.job.name, trouble.times, trouble.slots, trouble.reason)
        for trouble, _may_run in context["troubles"]
    ]
    assert found == [("Late", 1, 4, "too late"), ("Bad", 2, 1, "connection refused")]
    assert (context["day"].failed, context["day"].missed) == (2, 1)


def test_one_rule_of_counting_holds_on_the_whole_page_and_is_said_there(viewer_site):
    late = JobFactory(name="Late")
    ExecutionFactory(job=late, status="missed", missed_count=40, **ago(hours=2))
    ExecutionFactory(job=late, status="missed", missed_count=4, **ago(hours=1))

    page = viewer_site.open(HOME)

    (trouble, _may_run), *_ = page.context["home"]["troubles"]
    assert trouble.times == page.context["home"]["day"].missed == 2
    text = page.content.decode()
    assert "× 2" in text
    assert "4 due times" in text
    assert "Entries of the list of executions are counted" in text


def test_a_job_that_fails_each_minute_hides_no_other_and_is_counted_whole(viewer_site):
    noisy, quiet = JobFactory(name="Noisy"), JobFactory(name="Quiet")
    ExecutionFactory(job=quiet, failed=True, **ago(hours=20))
    template = ExecutionFactory.build(job=noisy, failed=True)
    runs = [
        JobExecution(
            job=noisy,
            status="failed",
            trigger_type="scheduled",
            execution_type=template.execution_type,
            target=template.target,
            scheduled_for=NOON - timedelta(minutes=minute),
            started_at=NOON - timedelta(minutes=minute),
            available_at=NOON,
        )
        for minute in range(1, 1001)
    ]
    JobExecution.objects.bulk_create(runs)

    context = viewer_site.open(HOME).context["home"]

    found = [(trouble.job.name, trouble.times) for trouble, _may_run in context["troubles"]]
    assert found == [("Noisy", 1000), ("Quiet", 1)]


def test_a_success_before_the_trouble_does_not_end_it(viewer_site):
    """What was missed is no run that ended: the job's last result is of before."""
    late = JobFactory(name="Late", last_status="success", last_execution_at=NOON - timedelta(hours=3))
    ExecutionFactory(job=late, status="missed", **ago(hours=2))

    page = viewer_site.open(HOME)

    (trouble, _may_run), *_ = page.context["home"]["troubles"]
    assert not trouble.is_over
    assert "has succeeded since" not in page.content.decode()


def test_what_has_succeeded_since_comes_last(viewer_site):
    over = JobFactory(name="Over", last_status="success", last_execution_at=NOON - timedelta(minutes=1))
    ExecutionFactory(job=over, failed=True, **ago(minutes=5))
    ExecutionFactory(job=JobFactory(name="Open", last_status="failed"), failed=True, **ago(hours=5))

    page = viewer_site.open(HOME)

    assert [trouble.job.name for trouble, _ in page.context["home"]["troubles"]] == ["Open", "Over"]
    assert page.content.decode().count("has succeeded since") == 1


def test_what_is_in_flight_is_shown_the_oldest_first(viewer_site):
    ExecutionFactory(job=JobFactory(name="Second"), queued=True, **ago(minutes=1))
    ExecutionFactory(job=JobFactory(name="First"), running=True, **ago(minutes=9))

    context = viewer_site.open(HOME).context["home"]

    assert [run.job.name for run in context["runs"]] == ["First", "Second"]
    assert context["running"] == 2


def test_many_in_flight_are_counted_beyond_those_shown(viewer_site):
    job = JobFactory()
    for minute in range(12):
        ExecutionFactory(job=job, running=True, **ago(minutes=minute + 1))

    page = viewer_site.open(HOME)

    assert page.context["home"]["running"] == 12
    assert len(page.context["home"]["runs"]) == 8
    assert "All 12" in page.content.decode()


def test_the_timeline_shows_where_jobs_meet_and_links_them(viewer_site):
    for name in ("One", "Two", "Three"):
        JobFactory(name=name, cron_expression="30 2 * * *", next_run_at=NOON + timedelta(hours=5, minutes=30))
    JobFactory(name="Alone", cron_expression="0 23 * * *", next_run_at=NOON + timedelta(hours=2))
    JobFactory(name="Paused", cron_expression="30 2 * * *", paused=True)

    page = viewer_site.open(HOME)

    (minute, url), *others = page.context["home"]["busiest"]
    assert others == []
    assert (minute.at, minute.jobs) == (NOON + timedelta(hours=5, minutes=30), 3)
    assert url.endswith("?runs_at=2026-03-10T17%3A30Z")
    listed = viewer_site.get(url).context["cl"].result_list
    assert {job.name for job in listed} == {"One", "Two", "Three"}


def test_jobs_that_end_and_jobs_that_fail_again_and_again_are_named(viewer_site):
    JobFactory(name="Ends", end_date=date(2026, 3, 20))
    JobFactory(name="Last day", end_date=date(2026, 3, 10))
    JobFactory(name="Ended", end_date=date(2026, 3, 9), paused=True)
    JobFactory(name="Broken", consecutive_failures=3)
    JobFactory(name="Once", consecutive_failures=2)

    context = viewer_site.open(HOME).context["home"]

    assert [job.name for job in context["ending"]] == ["Last day", "Ends"]
    assert [job.name for job, _may_run in context["repeatedly"]] == ["Broken"]
    assert (context["totals"].ending, context["totals"].repeatedly, context["totals"].failing) == (2, 1, 2)


def test_fourteen_days_are_drawn_and_written_in_the_viewers_days(viewer_site):
    job = JobFactory()
    for days in (0, 1, 1, 13):
        ExecutionFactory(job=job, **ago(days=days, minutes=len(JobExecution.objects.all()) + 1))
    ExecutionFactory(job=job, failed=True, **ago(days=1, minutes=30))
    ExecutionFactory(job=job, **ago(days=14, hours=12))

    page = viewer_site.open(HOME)

    days = page.context["home"]["days"]
    assert [day.on for day in days][:2] == [date(2026, 3, 10), date(2026, 3, 9)]
    assert len(days) == 14
    assert [(day.figures.success, day.rate) for day in days[:3]] == [(1, 100.0), (2, 66.7), (0, None)]
    assert page.context["home"]["fortnight"].total == 5
    cells = re.findall(r"<td>(?:<a [^>]*>)?([^<]*)", page.content.decode().partition("2026-03-09</th>")[2])
    assert cells[:3] == ["3", "2", "1"]


def test_every_number_leads_to_the_list_that_it_counts(admin_site):
    bad = JobFactory(name="Bad", consecutive_failures=4, end_date=date(2026, 3, 20))
    ExecutionFactory(job=bad, failed=True, **ago(hours=2))
    ExecutionFactory(job=bad, failed=True, **ago(hours=26))
    ExecutionFactory(job=bad, status="missed", **ago(hours=3))
    ExecutionFactory(job=bad, running=True, **ago(minutes=1))
    ExecutionFactory(job=bad, queued=True, **ago(minutes=2))
    JobFactory()

    home = admin_site.open(HOME).context["home"]

    def counted(link: str) -> int:
        return len(admin_site.get(home["links"][link]).context["cl"].result_list)

    assert counted("failed") == home["day"].failed == 1
    assert counted("missed") == home["day"].missed == 1
    assert counted("day") == home["day"].total == 4
    assert counted("running") == home["running"] == 2
    assert counted("active") == home["totals"].active == 2
    assert counted("ending") == home["totals"].ending == 1
    assert counted("repeatedly") == home["totals"].repeatedly == 1


def test_the_numbers_of_fourteen_days_lead_to_the_lists_that_they_count(viewer_site):
    job = JobFactory()
    for hours in (1, 20, 26, 44):
        ExecutionFactory(job=job, failed=hours == 26, **ago(hours=hours))
    ExecutionFactory(job=job, status="missed", **ago(hours=27))

    home = viewer_site.open(HOME).context["home"]

    def counted(url: str) -> int:
        return len(viewer_site.get(url).context["cl"].result_list)

    for day in home["days"]:
        assert counted(day.links["all"]) == day.figures.total, day.on
        for status in ("success", "failed", "missed"):
            assert counted(day.links[status]) == getattr(day.figures, status), (day.on, status)
    assert counted(home["fortnight_url"]) == home["fortnight"].total == 5
    drawn = [bar.url for bar in home["runs_chart"].bars]
    assert drawn == [day.links["all"] for day in reversed(home["days"])]


def test_the_hours_and_quarters_of_the_timeline_lead_to_the_jobs_that_are_due(viewer_site):
    JobFactory(name="Often", cron_expression="*/5 * * * *", next_run_at=NOON + timedelta(minutes=5))
    JobFactory(name="Once", cron_expression="20 22 * * *", next_run_at=NOON + timedelta(minutes=80))
    JobFactory(name="Never there", cron_expression="0 3 * * *", next_run_at=NOON + timedelta(hours=6))

    page = viewer_site.open(HOME)

    def listed(url: str) -> set[str]:
        return {job.name for job in viewer_site.get(url).context["cl"].result_list}

    hours = page.context["home"]["hours"]
    assert [hour.runs for hour in hours[:3]] == [11, 13, 12]
    assert listed(hours[0].url) == {"Often"}
    assert listed(hours[1].url) == {"Often", "Once"}
    assert sum(hour.runs for hour in hours) == page.context["home"]["timeline"].total
    bars = page.context["home"]["timeline_chart"].bars
    assert listed(bars[4].url) == {"Often"}
    assert listed(bars[5].url) == {"Often", "Once"}
    empty = JobFactory(name="Alone", cron_expression="0 4 1 1 *", next_run_at=NOON + timedelta(days=300))
    assert listed(bars[5].url) == {"Often", "Once"}, empty


# ---- to whom -------------------------------------------------------------------------------------


def test_who_manages_the_scheduler_sees_who_leads_and_others_whether_it_runs(admin_site, viewer_site):
    JobFactory()
    assert "No scheduler is running" in viewer_site.open(HOME).content.decode()
    term = lease.acquire(holder="host-1:42", ttl_s=60)
    assert term is not None
    lease.renew(term, ttl_s=60, lag=Lag(last_ms=7, worst_ms=350))
    lease.note_standby("host-2:43")

    page = admin_site.open(HOME).content.decode()
    assert "host-1:42" in page
    assert "7 ms" in page
    assert "350 ms" in page
    assert "host-2:43" in page
    page = viewer_site.open(HOME).content.decode()
    assert "Scheduler running" in page
    assert "host-1:42" not in page
    assert reverse("admin:jobs_schedulerlease_changelist") not in page


@pytest.mark.parametrize(("role", "may"), [("admin", True), ("user", True), ("viewer", False)])
def test_only_who_may_run_a_job_is_offered_to_run_it_again(request, role, may):
    site = request.getfixturevalue(f"{role}_site")
    own, other = JobFactory(created_by=site.user), JobFactory()
    for job in (own, other):
        ExecutionFactory(job=job, failed=True, **ago(hours=1))

    page = site.open(HOME).content.decode()

    assert (f'value="{own.pk}"' in page) is may
    assert (f'value="{other.pk}"' in page) is (role == "admin")


def test_run_again_queues_a_run_and_comes_back_with_a_link_to_it(user_site):
    job = JobFactory(created_by=user_site.user, name="<b>Mine</b>")

    answer = user_site.act("run_now", "jobs_job_changelist", job.pk, back_to="home")

    run = JobExecution.objects.get()
    assert answer.url == reverse("admin:index")
    page = user_site.open(HOME).content.decode()
    assert reverse("admin:jobs_jobexecution_change", args=[run.pk]) in page
    assert "&lt;b&gt;Mine&lt;/b&gt;" in page
    assert "<b>Mine</b>" not in page


def test_run_again_of_anothers_job_is_refused(user_site):
    job = JobFactory(name="Theirs")

    user_site.act("run_now", "jobs_job_changelist", job.pk, back_to="home")

    assert not JobExecution.objects.exists()
    assert "Theirs: this is not yours to change." in user_site.open(HOME).content.decode()


def test_the_fragment_is_the_pages_content_and_for_signed_in_people(viewer_site, client):
    ExecutionFactory(failed=True, **ago(hours=1))

    page, piece = viewer_site.open(HOME).content.decode(), viewer_site.open(FRAGMENT)

    assert piece.content.decode().strip() in page
    assert "<html" not in piece.content.decode()
    assert "csrfmiddlewaretoken" not in piece.content.decode(), "it would differ each time"
    assert "no-store" in piece["Cache-Control"]
    assert client.get(reverse("admin:home")).status_code == 302


def test_what_people_and_receivers_wrote_is_escaped(viewer_site):
    evil = "<script>alert(1)</script>"
    job = JobFactory(name=evil, consecutive_failures=5, end_date=date(2026, 3, 12))
    ExecutionFactory(job=job, failed=True, error_message=evil, **ago(hours=1))

    page = viewer_site.open(HOME).content.decode()

    assert evil not in page
    assert "&lt;script&gt;" in page


# ---- what it costs -------------------------------------------------------------------------------


def test_it_costs_the_same_for_few_jobs_and_for_many(admin_site: Any, term: Term):
    def fill(number: int) -> None:
        for n in range(number):
            job = JobFactory(cron_expression=f"{n} 3 * * *", consecutive_failures=3)
            for hours in (1, 30):
                ExecutionFactory(job=job, failed=True, **ago(hours=hours, minutes=n))
            ExecutionFactory(job=job, running=True, **ago(minutes=n))

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            admin_site.open(FRAGMENT)
        return len(caught)

    fill(10)
    count_closed_hours(now=NOON, term=term)
    few = queries()
    fill(20)

    assert queries() == few
    assert few <= 26


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's EXPLAIN")
def test_no_statement_reads_the_whole_history(admin_site: Any, term: Term):
    job = JobFactory()
    ExecutionFactory(job=job, failed=True, **ago(hours=30))
    # As many as are shown: the more, the likelier another index.
    for each in (job, *(JobFactory() for _ in range(7))):
        ExecutionFactory(job=each, failed=True, **ago(hours=1))
    count_closed_hours(now=NOON, term=term)
    with CaptureQueriesContext(connection) as caught:
        admin_site.open(FRAGMENT)

    of_history = [query["sql"] for query in caught if '"jobs_jobexecution"' in query["sql"]]
    assert of_history
    with connection.cursor() as cursor:
        for sql in of_history:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            steps = [row[3] for row in cursor.fetchall()]
            assert not [step for step in steps if step.startswith("SCAN jobs_jobexecution")], (sql, steps)
            # Few are queued or running; all failures there ever were are no bounded part.
            by_status = [step for step in steps if step.endswith("(status=?)") and "'queued'" not in sql]
            assert not by_status, (sql, steps)


def test_a_lease_that_never_was_is_no_fault(admin_site):
    SchedulerLease.objects.all().delete()

    assert "No scheduler is running" in admin_site.open(FRAGMENT).content.decode()
