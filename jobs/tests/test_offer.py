"""SEND_BACKEND=celery without a broker: what is offered to whom, and that one claim wins."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial

import pytest

from cronsched.testing.threads import at_once
from jobs.engine.claim import claim_offered
from jobs.engine.lease import LeaseLost, Term
from jobs.engine.messages import Outcome, Reason
from jobs.engine.offer import (
    IDS_PER_MESSAGE,
    PATIENT_AFTER_S,
    PATIENT_REOFFER_S,
    PAUSE_S,
    REOFFER_S,
    Offers,
    take,
)
from jobs.engine.record import record
from jobs.models import JobExecution
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from taxonomy.tests.factories import TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


class Broker:
    """Keeps what was published; refuses while it is `away`."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[uuid.UUID]]] = []
        self.away = False

    def publish(self, queue, ids):
        if self.away:
            raise ConnectionError("refused")
        self.messages.append((queue, list(ids)))

    @property
    def told(self) -> list[uuid.UUID]:
        return [pk for _, ids in self.messages for pk in ids]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def offers(broker, steady) -> Offers:
    return Offers(broker.publish, grace_s=30, steady=steady)


def queued(**values) -> JobExecution:
    return ExecutionFactory(queued=True, **{"manual": True, "available_at": NOON, **values})


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_what_is_queued_is_offered_once(offers, broker, term):
    run = queued()
    queued(available_at=NOON + seconds(60))

    assert offers(now=NOON, term=term) is False
    offers(now=NOON + seconds(1), term=term)

    assert broker.messages == [("", [run.pk])]


def test_what_nobody_claimed_is_offered_again(offers, broker, term):
    lost, claimed = queued(), queued()
    offers(now=NOON, term=term)
    JobExecution.objects.filter(pk=claimed.pk).update(status="running")

    offers(now=NOON + seconds(REOFFER_S + 1), term=term)

    assert broker.messages[1:] == [("", [lost.pk])]


def test_what_waits_long_is_offered_less_often(offers, broker, term):
    """Its queue has no worker: a message each ten seconds would fill the broker in a night."""
    queued(available_at=NOON - seconds(PATIENT_AFTER_S + 1))

    for second in range(0, 3600, 10):
        offers(now=NOON + seconds(second), term=term)

    # At once, and then as often as its patience is over at one of these seconds.
    assert len(broker.messages) == 1 + 3590 // (PATIENT_REOFFER_S + 10)


def test_a_retry_is_offered_when_it_is_due(offers, broker, term, result_of):
    run = queued(job=JobFactory(max_retries=2))
    offers(now=NOON, term=term)
    JobExecution.objects.filter(pk=run.pk).update(status="running", claim_token=uuid.uuid4())
    run.refresh_from_db()

    record(
        [result_of(run, now=NOON, outcome=Outcome.FAILED, reason=Reason.TIMEOUT, is_retryable=True)], now=NOON
    )
    run.refresh_from_db()
    offers(now=run.available_at, term=term)

    assert run.status == "queued"
    assert broker.told == [run.pk, run.pk]


def test_a_team_with_a_queue_has_its_runs_there(offers, broker, term):
    inside = queued(job=JobFactory(pic_team=TeamFactory(send_queue="dmz")))
    outside, ownerless = queued(), queued(job=JobFactory(pic_team=None))

    offers(now=NOON, term=term)

    by_queue = {queue: set(ids) for queue, ids in broker.messages}
    assert by_queue == {"dmz": {inside.pk}, "": {outside.pk, ownerless.pk}}


def test_a_burst_is_shared_out_in_messages(offers, broker, term):
    job = JobFactory()
    for _ in range(IDS_PER_MESSAGE + 1):
        queued(job=job)

    offers(now=NOON, term=term)

    assert [len(ids) for _, ids in broker.messages] == [IDS_PER_MESSAGE, 1]


def test_the_statements_do_not_grow_with_the_runs(offers, term, django_assert_num_queries):
    offers(now=NOON, term=term)
    job = JobFactory()
    for _ in range(20):
        queued(job=job)

    # Savepoint, proof of the lease, select, update, read with the queues, release.
    with django_assert_num_queries(6):
        offers(now=NOON, term=term)


def test_while_the_broker_is_away_runs_wait_and_it_is_said_once(offers, broker, steady, term, caplog):
    run = queued()
    broker.away = True
    offers(now=NOON, term=term)
    assert JobExecution.objects.get().offered_at is None
    offers(now=NOON + seconds(1), term=term)
    steady.now += PAUSE_S
    offers(now=NOON + seconds(6), term=term)

    broker.away = False
    steady.now += PAUSE_S
    offers(now=NOON + seconds(12), term=term)

    assert broker.told == [run.pk]
    assert caplog.text.count("the broker does not answer") == 1
    assert "the broker answers again" in caplog.text


def test_what_was_not_published_is_taken_back_for_every_queue(offers, broker, term):
    for queue in ("dmz", ""):
        queued(job=JobFactory(pic_team=TeamFactory(send_queue=queue)))
    broker.away = True

    offers(now=NOON, term=term)

    assert list(JobExecution.objects.values_list("offered_at", flat=True)) == [None, None]


def test_what_no_worker_took_within_the_grace_is_missed(offers, broker, steady, term):
    run = ExecutionFactory(queued=True, scheduled_for=NOON, available_at=NOON)
    offers(now=NOON, term=term)
    steady.now += 31

    offers(now=NOON + seconds(31), term=term)

    run.refresh_from_db()
    assert (run.status, run.reason) == ("missed", "misfire")
    assert broker.told == [run.pk]


def test_who_lost_the_lease_offers_nothing(broker, offers):
    queued()

    with pytest.raises(LeaseLost):
        offers(now=NOON, term=Term(holder="gone", number=0))
    assert broker.told == []


def test_a_message_that_comes_twice_is_claimed_once(engine_config):
    run = queued(offered_at=NOON)
    values = {"now": NOON, "config": engine_config, "send_by": 7.0}

    first = claim_offered([run.pk], holder="a:1", **values)
    second = claim_offered([run.pk, uuid.uuid4()], holder="b:2", **values)

    assert ([one.send_by for one in first.deliveries], first.count, second.count) == ([7.0], 1, 0)
    run.refresh_from_db()
    assert (run.status, run.claimed_by) == ("running", "a:1")


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_share_what_they_are_both_told_of(engine_config, close_thread_connections):
    ids = [queued(offered_at=NOON).pk for _ in range(20)]

    values = {"now": NOON, "config": engine_config, "send_by": 9.0}

    claims = at_once(*(partial(claim_offered, ids, holder=f"w:{n}", **values) for n in range(2)))

    sent = [delivery.execution_id for one in claims for delivery in one.deliveries]
    assert sorted(sent) == sorted(ids)


def test_marking_takes_no_more_than_its_limit(term):
    for _ in range(3):
        queued()

    assert sum(len(ids) for ids in take(now=NOON, term=term, limit=2).values()) == 2
