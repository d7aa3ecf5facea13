from __future__ import annotations

import contextlib
from datetime import date, datetime, timedelta

import pytest
from django.db import IntegrityError, OperationalError, ProgrammingError, connection
from django.test.utils import CaptureQueriesContext

from cronsched.core.db import DatabaseNow
from jobs.choices import Status
from jobs.engine import decide, plan, rows
from jobs.engine.backoff import Backoff
from jobs.engine.lease import LeaseLost
from jobs.engine.plan import PlanConflict, Planned, plan_batch, plan_due
from jobs.models import Job, JobExecution, SchedulerLease
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def plan_at(term, engine_config):
    def run(now: datetime, **changes: object) -> Planned:
        total = Planned()
        for planned in plan_due(now=now, term=term, config=engine_config):
            for name in Planned.__slots__:
                setattr(total, name, getattr(total, name) + getattr(planned, name))
        return total

    return run


def slots_of(job: Job) -> list[tuple[datetime, str]]:
    return list(job.executions.order_by("scheduled_for").values_list("scheduled_for", "status"))


def test_a_due_job_gets_a_row_and_moves_on(plan_at):
    job = JobFactory()

    done = plan_at(NOON + timedelta(milliseconds=3))

    job.refresh_from_db()
    row = job.executions.get()
    assert (done.due, done.queued, done.missed) == (1, 1, 0)
    assert (row.status, row.trigger_type, row.scheduled_for) == ("queued", "scheduled", NOON)
    assert (row.target, row.execution_type) == (job.target_url, "webhook")
    assert job.next_run_at == NOON + MINUTE


def test_a_job_not_yet_due_is_left_alone(plan_at):
    JobFactory(next_run_at=NOON + MINUTE)

    assert plan_at(NOON).due == 0


def test_a_paused_job_is_never_due(plan_at):
    JobFactory(paused=True)

    assert plan_at(NOON).due == 0


def test_planning_twice_inserts_once(plan_at):
    job = JobFactory()

    plan_at(NOON)
    plan_at(NOON)

    assert slots_of(job) == [(NOON, "queued")]


def test_a_slot_that_has_its_row_is_dropped_and_the_job_moves_on(plan_at):
    """The clock was set back: next_run_at was recomputed onto slots that have fired."""
    job = JobFactory()
    ExecutionFactory(job=job, scheduled_for=NOON)

    done = plan_at(NOON)

    job.refresh_from_db()
    assert done.queued == 0
    assert slots_of(job) == [(NOON, "success")]
    assert job.next_run_at == NOON + MINUTE


def test_a_slot_within_the_grace_still_fires(plan_at):
    job = JobFactory(cron_expression="0 * * * *")

    plan_at(NOON + timedelta(seconds=30))

    assert slots_of(job) == [(NOON, "queued")]


def test_a_slot_beyond_the_grace_is_missed_with_the_reason(plan_at):
    job = JobFactory(cron_expression="0 * * * *")

    plan_at(NOON + timedelta(seconds=31))

    row = job.executions.get()
    assert (row.status, row.reason, row.missed_count) == ("missed", "misfire", 1)
    assert "2026-03-10 21:00 (Asia/Tokyo)" in row.error_message
    job.refresh_from_db()
    assert job.last_status == Status.MISSED


def test_a_long_gap_is_one_row_with_its_bounds_and_the_present_slot_fires(plan_at):
    job = JobFactory()

    plan_at(NOON + timedelta(days=30, seconds=5))

    gap, fired = job.executions.order_by("scheduled_for")
    assert gap.status == "missed"
    assert (gap.scheduled_for, gap.missed_last_at) == (NOON, NOON + timedelta(days=30) - MINUTE)
    assert gap.missed_count == 30 * 24 * 60
    assert (fired.scheduled_for, fired.status) == (NOON + timedelta(days=30), "queued")


def test_a_gap_leaves_out_slots_that_have_their_rows(plan_at):
    job = JobFactory()
    ExecutionFactory(job=job, scheduled_for=NOON)
    ExecutionFactory(job=job, scheduled_for=NOON + 2 * MINUTE)

    plan_at(NOON + 5 * MINUTE)

    gap = job.executions.get(status="missed")
    assert (gap.scheduled_for, gap.missed_last_at, gap.missed_count) == (NOON + MINUTE, NOON + 4 * MINUTE, 3)
    assert job.executions.get(status="queued").scheduled_for == NOON + 5 * MINUTE


def test_no_slot_after_the_end_date_in_the_schedulers_zone(plan_at):
    """The end date's midnight in Tokyo is 15:00 UTC."""
    job = JobFactory(
        cron_expression="0 * * * *", end_date=date(2026, 3, 10), next_run_at=NOON + timedelta(hours=2)
    )

    plan_at(NOON + timedelta(hours=2))

    job.refresh_from_db()
    assert slots_of(job) == [(NOON + timedelta(hours=2), "queued")]
    assert job.next_run_at is None


def test_a_gap_ends_with_the_end_date(plan_at):
    job = JobFactory(cron_expression="0 * * * *", end_date=date(2026, 3, 10))

    plan_at(NOON + timedelta(days=2))

    gap = job.executions.get()
    assert (gap.missed_count, gap.missed_last_at) == (3, NOON + timedelta(hours=2))


def test_overlap_beyond_the_limit_is_missed_and_names_the_run_in_the_way(plan_at):
    job = JobFactory()
    running = [ExecutionFactory(job=job, running=True) for _ in range(3)]

    plan_at(NOON)

    row = job.executions.get(scheduled_for=NOON)
    assert (row.status, row.reason) == ("missed", "overlap")
    assert str(min(run.pk for run in running)) in row.error_message


def test_manual_and_finished_runs_hold_no_overlap_slot(plan_at):
    job = JobFactory()
    ExecutionFactory.create_batch(3, job=job, running=True, manual=True)
    ExecutionFactory.create_batch(3, job=job)
    ExecutionFactory.create_batch(2, job=job, running=True)

    assert plan_at(NOON).queued == 1


def test_a_job_changed_behind_our_back_is_rescheduled_not_fired(plan_at):
    job = JobFactory()
    Job.objects.update(cron_expression="0 3 * * *")

    plan_at(NOON)

    job.refresh_from_db()
    assert slots_of(job) == []
    assert job.next_run_at == datetime(2026, 3, 10, 18, 0, tzinfo=NOON.tzinfo)
    assert job.planned_schedule == "0 3 * * *|Asia/Tokyo"


@pytest.mark.parametrize(
    "broken", [{"cron_expression": "61 * * * *"}, {"timezone": "Mars/Olympus"}], ids=["expression", "zone"]
)
def test_a_broken_job_is_switched_off_with_the_reason_and_harms_no_other(plan_at, broken):
    job, other = JobFactory(), JobFactory()
    key = f"{broken.get('cron_expression', '* * * * *')}|{broken.get('timezone', 'Asia/Tokyo')}"
    Job.objects.filter(pk=job.pk).update(**broken, planned_schedule=key)

    done = plan_at(NOON)

    job.refresh_from_db()
    assert (done.broken, done.queued) == (1, 1)
    assert (job.is_active, job.next_run_at, job.paused_reason) == (False, None, "broken")
    assert job.paused_note
    assert slots_of(other) == [(NOON, "queued")]


def test_a_column_that_cannot_be_read_switches_its_job_off_and_harms_no_other(plan_at):
    """By hand in SQL, on a database that takes it."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite stores what is no date")
    poison, other = JobFactory(), JobFactory()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_job SET end_date = '2026-02-31' WHERE id = %s", [poison.pk.hex])

    done = plan_at(NOON)

    row = Job.objects.values("is_active", "next_run_at", "paused_reason", "paused_note").get(pk=poison.pk)
    assert (done.broken, done.queued) == (1, 1)
    assert (row["is_active"], row["next_run_at"], row["paused_reason"]) == (False, None, "broken")
    assert row["paused_note"].startswith("It could not be planned")
    assert slots_of(other) == [(NOON, "queued")]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OperationalError("database is locked"), True), (OperationalError(1021, "Disk full"), False)],
)
def test_a_database_that_refuses_for_reasons_of_its_own_switches_no_job_off(
    plan_at, monkeypatch, error, raised
):
    job, other = JobFactory(), JobFactory()
    refuse_rows(monkeypatch, error, of=[job])
    with pytest.raises(OperationalError) if raised else contextlib.nullcontext():
        plan_at(NOON)

    job.refresh_from_db()
    assert (job.is_active, job.next_run_at) == (True, NOON)
    assert slots_of(other) == ([] if raised else [(NOON, "queued")])


def test_a_batch_that_is_too_long_for_the_server_is_made_shorter(term, engine_config, monkeypatch):
    """A machine out of breath stands still within its transactions, and the server ends them."""
    JobFactory.create_batch(20)
    real, sizes = plan.plan_batch, []

    def cut_short(*, size, **options):
        sizes.append(size)
        if size > 10:
            raise OperationalError(2006, "Server has gone away")
        return real(size=size, **options)

    monkeypatch.setattr(plan, "plan_batch", cut_short)
    planned = list(plan_due(now=NOON, term=term, config=engine_config))

    assert sum(one.queued for one in planned) == 20
    assert sizes == [50, 6, 6, 6, 6]


def test_a_superseded_leader_plans_nothing(term, engine_config):
    job = JobFactory()
    SchedulerLease.objects.update(holder="another", term=99)

    with pytest.raises(LeaseLost):
        plan_batch(now=NOON, term=term, config=engine_config)

    job.refresh_from_db()
    assert slots_of(job) == []
    assert job.next_run_at == NOON


def test_an_expired_lease_plans_nothing(term, engine_config):
    JobFactory()
    SchedulerLease.objects.update(expires_at=DatabaseNow(-1))

    with pytest.raises(LeaseLost):
        plan_batch(now=NOON, term=term, config=engine_config)


def test_a_job_edited_meanwhile_undoes_the_batch(term, engine_config, monkeypatch):
    job = JobFactory()
    insert = plan.insert_rows

    def edit_then_insert(rows):
        Job.objects.update(schedule_version=2)
        return insert(rows)

    monkeypatch.setattr(plan, "insert_rows", edit_then_insert)
    with pytest.raises(PlanConflict):
        plan_batch(now=NOON, term=term, config=engine_config)

    assert not JobExecution.objects.filter(job=job).exists()


def test_a_row_that_conflicts_is_dropped_alone(plan_at, monkeypatch):
    """A row that appears between looking and inserting, as only a fenced-off writer could add."""
    first, second = JobFactory(), JobFactory()
    look = plan.slots_with_rows

    def look_then_race(spans):
        taken = look(spans)
        ExecutionFactory(job=first, scheduled_for=NOON)
        return taken

    monkeypatch.setattr(plan, "slots_with_rows", look_then_race)
    plan_at(NOON)

    assert slots_of(first) == [(NOON, "success")]
    assert slots_of(second) == [(NOON, "queued")]


@pytest.mark.parametrize("error", [IntegrityError("cannot be null"), TypeError("our own fault")])
def test_a_job_that_fails_without_proof_against_it_is_passed_over_and_the_others_fire(
    plan_at, monkeypatch, error
):
    """A missing column or a fault of ours looks just like this: it must not cost the job its life."""
    passed, other = JobFactory(), JobFactory()
    refuse_rows(monkeypatch, error, of=[passed])

    plan_at(NOON)
    passed.refresh_from_db()
    assert (passed.is_active, passed.next_run_at) == (True, NOON)
    assert slots_of(other) == [(NOON, "queued")]

    monkeypatch.undo()
    plan_at(NOON)
    assert slots_of(passed) == [(NOON, "queued")]


def test_a_job_that_the_database_refuses_is_asked_for_less_and_less_often(
    term, engine_config, monkeypatch, caplog
):
    refused, other = JobFactory(), JobFactory()
    refuse_rows(monkeypatch, IntegrityError("cannot be null"), of=[refused])
    backoff, tried = Backoff(), []

    for second in range(300):
        now = NOON + timedelta(seconds=second)
        caplog.clear()
        list(plan_due(now=now, term=term, config=engine_config, backoff=backoff))
        if any("passed over" in record.message for record in caplog.records):
            tried.append(second)

    assert tried == [0, 2, 6, 14, 30, 62, 122, 182, 242]
    assert len(slots_of(other)) == 5, "the others fire all the same"
    refused.refresh_from_db()
    assert (refused.is_active, refused.next_run_at) == (True, NOON)


def test_a_clock_set_back_holds_no_refused_job_for_longer():
    backoff, job = Backoff(), JobFactory.build()
    backoff.refuse([job.pk], now=NOON)

    assert backoff.held(NOON + timedelta(seconds=1)) == {job.pk}
    assert backoff.held(NOON - timedelta(hours=1)) == set()
    assert backoff.held(NOON + timedelta(hours=1)) == set()


@pytest.mark.parametrize("error", [ProgrammingError("no such column"), TypeError("our own fault")])
def test_what_fails_for_all_jobs_switches_none_off(plan_at, monkeypatch, caplog, error):
    jobs = JobFactory.create_batch(5)
    refuse_rows(monkeypatch, error, of=jobs)

    done = plan_at(NOON)

    assert (done.due, done.broken, Job.objects.filter(is_active=True, next_run_at=NOON).count()) == (5, 0, 5)
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_a_value_that_no_job_can_be_computed_with_is_no_jobs_fault(plan_at, monkeypatch):
    """Several that fail alike: the cause is common, a fault of ours or of the machine."""
    jobs = JobFactory.create_batch(3)
    monkeypatch.setattr(decide.slots, "next_slot", raise_value_error)

    assert plan_at(NOON).broken == 0

    monkeypatch.undo()
    assert plan_at(NOON).queued == len(jobs)


def test_jobs_of_several_zones_that_cannot_be_loaded_stay_on(plan_at):
    """Time zones are being replaced on this machine; one unknown name alone is its jobs' own fault."""
    for name in ("Mars/Olympus", "Mars/Gale", "Asia/Tokyo"):
        JobFactory(timezone=name)

    done = plan_at(NOON)

    assert (done.due, done.broken, done.queued) == (3, 0, 1)


def test_a_job_that_is_switched_off_leaves_a_row_for_its_slot(plan_at):
    job = JobFactory()
    Job.objects.update(cron_expression="bad", planned_schedule="bad|Asia/Tokyo")

    plan_at(NOON)

    row = job.executions.get()
    assert (row.scheduled_for, row.status, row.reason) == (NOON, "missed", "configuration")
    assert (row.missed_count, row.missed_last_at) == (1, NOON)
    job.refresh_from_db()
    assert job.last_status == "missed"


def test_a_next_run_spelt_by_hand_holds_up_no_other_and_is_planned_next(plan_at):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite stores times as text")
    odd, other = JobFactory(), JobFactory()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_job SET next_run_at = '2026-03-10T12:00:00' WHERE id = %s", [odd.pk.hex])

    # As text, "T" comes after any time of that day.
    plan_at(NOON + timedelta(days=1))
    plan_at(NOON + timedelta(days=1))

    assert other.executions.filter(status="queued").count() == 1
    assert odd.executions.filter(status="queued").count() == 1
    assert odd.executions.get(status="missed").scheduled_for == NOON


def test_a_job_with_an_old_slot_does_not_load_the_history_of_the_others(plan_at):
    old, other = JobFactory(next_run_at=NOON - timedelta(days=300)), JobFactory()
    for minutes in range(20):
        ExecutionFactory(job=other, scheduled_for=NOON - timedelta(days=1, minutes=minutes))
    spans = {old.pk: (old.next_run_at, NOON), other.pk: (NOON, NOON)}

    assert not rows.slots_with_rows(spans)


def refuse_rows(monkeypatch, error, *, of):
    """Let the rows of these jobs fail."""
    rows_for, refused = plan._rows_for, {job.pk for job in of}

    def refuse(decisions, **options):
        if any(decision.job.pk in refused for decision in decisions):
            raise error
        return rows_for(decisions, **options)

    monkeypatch.setattr(plan, "_rows_for", refuse)


def raise_value_error(**options):
    raise ValueError("year 10000 is out of range")


def test_statements_grow_with_batches_never_with_jobs(term, engine_config):
    def statements(count: int) -> list[str]:
        JobExecution.objects.all().delete()
        Job.objects.update(next_run_at=NOON + timedelta(days=99))
        JobFactory.create_batch(count)
        with CaptureQueriesContext(connection) as queries:
            planned = plan_batch(now=NOON, term=term, config=engine_config)
        assert planned.queued == count
        # Django notes a prepared statement of many rows as "100 times: INSERT ...".
        return [query["sql"].rpartition(" times: ")[2].split()[0] for query in queries]

    assert statements(100) == statements(1)


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
def test_a_job_without_a_real_end_fires(plan_at, catch_up):
    job = JobFactory(end_date=date(9999, 12, 31), catch_up=catch_up)

    plan_at(NOON + timedelta(milliseconds=3))

    assert slots_of(job) == [(NOON, "queued")]


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
@pytest.mark.parametrize("gone_by", [timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=3)])
def test_a_slot_that_the_zones_rules_no_longer_know_is_accounted_for(plan_at, catch_up, gone_by):
    """Planned under earlier rules of the zone; its job fires once a year."""
    job = JobFactory(cron_expression="0 0 1 1 *", catch_up=catch_up)

    plan_at(NOON + gone_by)

    is_sent = catch_up != "skip" or gone_by < timedelta(seconds=30)
    assert slots_of(job) == [(NOON, "queued" if is_sent else "missed")]


def test_a_first_slot_of_a_gap_that_the_rules_no_longer_know_is_counted(plan_at):
    job = JobFactory(cron_expression="30 * * * *")

    plan_at(NOON + timedelta(hours=2))

    gap = job.executions.get()
    assert (gap.scheduled_for, gap.missed_count) == (NOON, 3)
    assert gap.missed_last_at == NOON + timedelta(minutes=90)
