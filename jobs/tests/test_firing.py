"""The whole path on loopback: due job -> row -> request -> answer -> record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
from django.db import InternalError, OperationalError, connections

from cronsched.core.http.guard import AddressPolicy
from cronsched.testing.http_sink import Reply
from jobs.engine import recorder as recorder_module
from jobs.engine.config import EngineConfig
from jobs.engine.loop import Engine
from jobs.engine.recorder import Recorder
from jobs.engine.send import Sender, SenderConfig
from jobs.models import Job, JobExecution, SchedulerLease
from jobs.services.lifecycle import delete_job
from jobs.services.maintenance import resync
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock, engine_config: EngineConfig) -> Iterator[Engine]:
    """An engine without its ticker: the test says when a second has gone by."""
    made = Engine(
        engine_config,
        SenderConfig(policy=AddressPolicy(allow_private=True), allow_http=True, max_in_flight=100),
        # Nobody renews it: it has to outlast the longest test on the slowest machine.
        lease_s=600,
        resync=resync,
        now=clock,
        make_sender=partial(Sender, clock=clock),
    )
    made.recorder.start()
    made.sender.start()
    made.keeper.turn()
    yield made
    finish(made)


def finish(engine: Engine) -> None:
    """Wait for every answer and every record."""
    engine.sender.stop(10)
    if engine.recorder._thread.is_alive():
        engine.recorder.stop(10)


def settle(engine: Engine, *, of: tuple[str, ...] = ("queued", "running")) -> None:
    """Wait until nothing is in flight."""
    for _ in range(200):
        engine._freed.clear()
        if not JobExecution.objects.filter(status__in=of).exists():
            return
        engine._freed.wait(0.1)
    raise AssertionError("runs are still in flight")


def test_a_due_job_is_sent_once_and_recorded(engine, clock, http_sink):
    job = JobFactory(target_url=http_sink.url("/hook"), metadata={"greeting": "こんにちは"})

    engine.tick()
    http_sink.wait_for(1, 5)
    clock.now += timedelta(seconds=1)
    engine.tick()
    finish(engine)

    row = job.executions.get()
    assert (row.status, row.response_status, row.scheduled_for) == ("success", 200, NOON)
    assert len(http_sink.calls) == 1
    call = http_sink.calls[0]
    assert json.loads(call.body) == {"greeting": "こんにちは"}
    assert call.headers["webhook-id"] == str(row.pk)
    job.refresh_from_db()
    assert (job.last_status, job.next_run_at) == ("success", NOON + timedelta(minutes=1))


def test_a_job_is_deleted_in_the_middle_of_its_run(engine, http_sink, caplog):
    """The request is out, the job goes, the answer comes: nobody is left to note it, and nothing breaks."""
    http_sink.on("/hook", Reply(hold=True))
    job = JobFactory(target_url=http_sink.url("/hook"))
    engine.tick()
    http_sink.wait_for(1, 5)

    delete_job(job, by=None, now=NOON)
    http_sink.release()
    finish(engine)

    assert not Job.objects.exists()
    assert not JobExecution.objects.exists()
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}]


def test_every_minute_fires_once(engine, clock, http_sink):
    job = JobFactory(target_url=http_sink.url("/hook"))

    for second in range(0, 150, 30):
        clock.now = NOON + timedelta(seconds=second)
        engine.tick()
        # PLAN leaves a job that RECORD is writing to the next tick, and here the last one has none.
        settle(engine)
    finish(engine)

    slots = list(job.executions.order_by("scheduled_for").values_list("scheduled_for", "status"))
    assert slots == [(NOON + timedelta(minutes=n), "success") for n in range(3)]
    assert len(http_sink.calls) == 3


def test_a_manual_run_leaves_at_the_next_tick(engine, http_sink):
    job = JobFactory(target_url=http_sink.url("/hook"), paused=True)
    row = ExecutionFactory(job=job, queued=True, manual=True, available_at=NOON)

    engine.tick()
    http_sink.wait_for(1, 5)
    finish(engine)

    row.refresh_from_db()
    assert row.status == "success"


def test_the_target_changed_by_the_api_is_called_at_the_next_tick(
    engine, clock, http_sink, admin_api, settings
):
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    job = JobFactory(target_url=http_sink.url("/old"), next_run_at=NOON + timedelta(minutes=1))

    answer = admin_api.put(f"/api/v2/jobs/{job.pk}", {"target_url": http_sink.url("/new")})
    assert answer.status_code == 200
    clock.now = NOON + timedelta(minutes=1)
    engine.tick()
    http_sink.wait_for(1, 5)
    finish(engine)

    assert [call.path for call in http_sink.calls] == ["/new"]


def test_a_run_with_retries_is_sent_until_it_succeeds_under_one_id(engine, clock, http_sink):
    http_sink.on("/hook", Reply(status=503, headers={"Retry-After": "20"}), Reply(drop=True), Reply())
    job = JobFactory(target_url=http_sink.url("/hook"), max_retries=5, cron_expression="0 * * * *")

    engine.tick()
    for attempt, waited_s in ((1, 19), (1, 25), (2, 10)):
        settle(engine, of=("running",))
        assert len(http_sink.calls) == attempt
        clock.now += timedelta(seconds=waited_s)
        engine.tick()
    http_sink.wait_for(3, 5)
    finish(engine)

    row = job.executions.get()
    assert (row.status, row.attempt, row.response_status, row.error_message) == ("success", 3, 200, "")
    assert {call.headers["webhook-id"] for call in http_sink.calls} == {str(row.pk)}


def test_a_target_that_is_not_allowed_fails_with_the_way_out(engine, clock):
    job = JobFactory(target_url="http://169.254.169.254/latest/")

    engine.tick()
    finish(engine)

    row = job.executions.get()
    assert (row.status, row.reason) == ("failed", "blocked_address")
    assert "169.254.169.254" in row.error_message


def test_a_standby_sends_nothing(engine, http_sink):
    job = JobFactory(target_url=http_sink.url("/hook"))
    SchedulerLease.objects.update(holder="another", term=99)

    engine.tick()
    finish(engine)

    assert not job.executions.exists()
    assert http_sink.calls == []


def test_a_leader_that_no_longer_trusts_its_lease_sends_nothing_it_has_claimed(engine, http_sink):
    """Stopped between claim and request: what was claimed goes back to the queue for the successor."""
    JobFactory(target_url=http_sink.url("/hook"))
    engine.sender.trust(0.0)

    engine.tick()
    finish(engine)

    assert http_sink.calls == []
    assert JobExecution.objects.get().status == "queued"


def test_the_clock_set_back_an_hour_fires_the_next_slots_and_none_again(engine, clock, http_sink):
    job = JobFactory(target_url=http_sink.url("/hook"))
    for minute in range(3):
        clock.now = NOON + timedelta(minutes=minute)
        engine.tick()
        settle(engine)

    # Set back: without a resync the job would be silent until 12:03 comes round again.
    start = NOON - timedelta(hours=1)
    engine._wants_resync.set()
    for minute in range(64):
        clock.now = start + timedelta(minutes=minute, seconds=1)
        engine.tick()
        settle(engine)
    http_sink.wait_for(3 + 60, 10)
    finish(engine)

    slots = list(job.executions.values_list("scheduled_for", flat=True))
    assert len(slots) == len(set(slots)) == len(http_sink.calls)
    assert set(slots) == {start + timedelta(minutes=minute) for minute in range(1, 64)}
    assert set(job.executions.values_list("status", flat=True)) == {"success"}


def test_more_than_can_be_in_flight_is_sent_as_room_comes_free(engine, http_sink):
    for _ in range(250):
        JobFactory(target_url=http_sink.url("/hook"), created_by=None, pic_team=None)

    for _ in range(20):
        engine.tick()
        if JobExecution.objects.filter(status="queued").count() == 0:
            break
    http_sink.wait_for(250, 10)
    finish(engine)

    assert JobExecution.objects.filter(status="success").count() == 250
    assert len(http_sink.calls) == 250
    assert Job.objects.filter(last_status="success").count() == 250


def test_results_are_kept_while_the_database_is_away(result_of, monkeypatch):
    row = ExecutionFactory(running=True, claim_token="0b8c8a3e-4f0e-4f0e-8f0e-000000000001")
    row.refresh_from_db()
    real, calls = recorder_module.record, []

    def away_twice(results, *, now):
        calls.append(len(results))
        if len(calls) < 3:
            raise OperationalError(2006, "Server has gone away")
        return real(results, now=now)

    monkeypatch.setattr(recorder_module, "record", away_twice)
    monkeypatch.setattr(recorder_module, "RETRY_FIRST_S", 0.01)
    recorder = Recorder(clock=lambda: NOON)
    recorder.start()
    recorder.put(result_of(row, now=NOON))
    recorder.stop(10)

    row.refresh_from_db()
    assert row.status == "success"
    assert calls == [1, 1, 1]


def test_a_result_the_database_refuses_ends_its_run_and_holds_back_no_other(result_of, monkeypatch):
    bad, good = (
        ExecutionFactory(running=True, claim_token=f"0b8c8a3e-4f0e-4f0e-8f0e-00000000000{n}") for n in (1, 2)
    )
    for row in (bad, good):
        row.refresh_from_db()
    real = recorder_module.record

    def refuse_poison(results, *, now):
        if any(result.output == "poison" for result in results):
            raise ValueError("cannot be stored")
        return real(results, now=now)

    monkeypatch.setattr(recorder_module, "record", refuse_poison)
    recorder = Recorder(clock=lambda: NOON)
    recorder.start()
    recorder.put(result_of(bad, now=NOON, output="poison"))
    recorder.put(result_of(good, now=NOON, output="fine"))
    recorder.stop(10)

    bad.refresh_from_db()
    good.refresh_from_db()
    assert (good.status, good.output) == ("success", "fine")
    assert (bad.status, bad.output) == ("success", "")


def test_a_database_that_falls_silent_while_a_batch_is_written_one_by_one_loses_nothing(
    result_of, monkeypatch
):
    """PostgreSQL's word for a transaction that stood still is an InternalError."""
    rows = [
        ExecutionFactory(running=True, claim_token=f"0b8c8a3e-4f0e-4f0e-8f0e-00000000000{n}") for n in (1, 2)
    ]
    for row in rows:
        row.refresh_from_db()
    real, calls = recorder_module.record, []

    def fall_silent(results, *, now):
        calls.append(len(results))
        if len(results) > 1:
            raise ValueError("cannot be stored")
        if len(calls) < 4:
            raise silence(is_idle=len(calls) == 2)
        return real(results, now=now)

    monkeypatch.setattr(recorder_module, "record", fall_silent)
    monkeypatch.setattr(recorder_module, "RETRY_FIRST_S", 0.01)
    recorder = Recorder(clock=lambda: NOON)
    for row in rows:
        recorder.put(result_of(row, now=NOON, output="fine"))
    recorder.start()
    recorder.stop(10)

    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.output) == ("success", "fine")
    assert calls == [2, 1, 1, 1, 1]


def test_a_batch_that_is_too_long_for_the_server_is_recorded_in_parts(result_of, monkeypatch):
    rows = [
        ExecutionFactory(running=True, claim_token=f"0b8c8a3e-4f0e-4f0e-8f0e-00000000000{n}")
        for n in range(1, 6)
    ]
    for row in rows:
        row.refresh_from_db()
    real, sizes = recorder_module.record, []

    def cut_short(results, *, now):
        sizes.append(len(results))
        connections["default"].ensure_connection()
        if len(results) > 2:
            raise silence(is_idle=True)
        return real(results, now=now)

    monkeypatch.setattr(recorder_module, "record", cut_short)
    recorder = Recorder(clock=lambda: NOON)
    for row in rows:
        recorder.put(result_of(row, now=NOON))
    recorder.start()
    recorder.stop(10)

    assert sizes == [5, 2, 3, 1, 2]
    assert JobExecution.objects.filter(status="success").count() == 5


def silence(*, is_idle: bool) -> Exception:
    if not is_idle:
        return OperationalError(2006, "Server has gone away")
    error = InternalError("terminating connection due to idle-in-transaction timeout")
    error.__cause__ = Exception()
    error.__cause__.sqlstate = "25P03"
    return error


@pytest.fixture(autouse=True)
def _close_connections():
    yield
    connections.close_all()
