"""A sending process without its broker: the test hands it what a message would."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest

from cronsched.core.http.guard import AddressPolicy
from cronsched.testing.fixtures_engine import Steady
from cronsched.testing.http_sink import HttpSink
from jobs.engine import worker as worker_module
from jobs.engine.claim import SEND_WITHIN_S
from jobs.engine.config import EngineConfig
from jobs.engine.send import Sender, SenderConfig
from jobs.engine.worker import STUCK_S, SenderDied, Worker
from jobs.models import JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]


@pytest.fixture
def worker(engine_config: EngineConfig, steady: Steady) -> Iterator[Worker]:
    made = Worker(
        engine_config,
        SenderConfig(policy=AddressPolicy(allow_private=True), allow_http=True, max_in_flight=2),
        now=lambda: NOON,
        steady=steady,
        make_sender=partial(Sender, clock=lambda: NOON, steady=steady),
    )
    made.start()
    yield made
    made.stop(5)


def queued(http_sink: HttpSink, **values: object) -> JobExecution:
    job = JobFactory(target_url=http_sink.url("/hook"))
    return ExecutionFactory(
        job=job, queued=True, manual=True, **{"available_at": NOON, "offered_at": NOON, **values}
    )


def test_what_it_is_told_of_is_sent_and_recorded(worker, http_sink):
    # More than fit at once: it waits for room, not for the broker.
    runs = [queued(http_sink) for _ in range(5)]

    assert worker.take([run.pk for run in runs]) == 5
    assert worker.take([run.pk for run in runs]) == 0
    worker.stop(10)

    assert len(http_sink.calls) == 5
    rows = JobExecution.objects.values_list("status", "claimed_by")
    assert set(rows) == {("success", worker.holder)}


def test_a_worker_whose_clock_is_behind_sends_what_it_is_told_of(worker, http_sink):
    """The leader's clock has judged that the run is due."""
    run = queued(
        http_sink, available_at=NOON + timedelta(seconds=20), offered_at=NOON + timedelta(seconds=20)
    )

    assert worker.take([run.pk]) == 1


def test_a_message_of_an_earlier_attempt_hurries_no_later_one(worker, http_sink):
    run = queued(http_sink, available_at=NOON + timedelta(minutes=5), offered_at=None, attempt=2)

    assert worker.take([run.pk]) == 0


def test_who_was_frozen_after_the_claim_sends_nothing(worker, http_sink, steady, monkeypatch):
    run = queued(http_sink)
    claim = worker_module.claim_offered

    def claim_and_freeze(*args, **options):
        claimed = claim(*args, **options)
        steady.now += SEND_WITHIN_S
        return claimed

    monkeypatch.setattr(worker_module, "claim_offered", claim_and_freeze)

    worker.take([run.pk])
    worker.stop(10)

    assert http_sink.calls == []
    run.refresh_from_db()
    assert (run.status, run.claim_token, run.offered_at) == ("queued", None, None)


def test_a_worker_whose_places_are_never_free_again_ends(worker, http_sink, steady, monkeypatch):
    monkeypatch.setattr(worker_module, "ROOM_S", 0.01)
    monkeypatch.setattr(type(worker.sender), "free", property(lambda self: 0))
    looks = itertools.count(step=STUCK_S / 3)
    monkeypatch.setattr(worker, "_steady", lambda: next(looks))

    with pytest.raises(SenderDied, match="no call has come to its end"):
        worker.take([queued(http_sink).pk])


def test_a_worker_whose_sender_died_says_so(worker, http_sink, monkeypatch):
    monkeypatch.setattr(worker.sender, "is_alive", lambda: False)

    with pytest.raises(SenderDied):
        worker.take([queued(http_sink).pk])
    assert JobExecution.objects.get().status == "queued"
