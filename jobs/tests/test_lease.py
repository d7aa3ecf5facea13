from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from cronsched.core.db import DatabaseNow, database_now
from cronsched.testing.fixtures_engine import Steady
from jobs.engine import lease
from jobs.engine.lease import LeaseKeeper, LeaseLost, Term, acquire, prove, release, renew
from jobs.engine.ticker import Lag
from jobs.models import SchedulerLease, SchedulerStandby
from jobs.services.status import scheduler_status
from jobs.tests.factories import NOON

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def expire() -> None:
    SchedulerLease.objects.update(expires_at=DatabaseNow(-1))


_UTC = {"mysql": "SET time_zone = '+00:00'", "postgresql": "SET TIME ZONE 'UTC'"}


def keeper(holder: str, clock: Steady, lost: list[str] | None = None) -> LeaseKeeper:
    note = lost if lost is not None else []
    return LeaseKeeper(holder=holder, ttl_s=15, on_lost=lambda: note.append(holder), clock=clock)


def test_only_one_of_two_takes_the_lease():
    first, second = acquire(holder="a", ttl_s=15), acquire(holder="b", ttl_s=15)

    assert first == Term(holder="a", number=1)
    assert second is None


def test_an_expired_lease_is_taken_with_a_higher_term():
    acquire(holder="a", ttl_s=15)
    expire()

    assert acquire(holder="b", ttl_s=15) == Term(holder="b", number=2)


def test_expiry_is_the_databases_clock_plus_the_length():
    acquire(holder="a", ttl_s=15)

    row = SchedulerLease.objects.get()
    assert row.renewed_at is not None
    assert abs(row.expires_at - row.renewed_at - timedelta(seconds=15)) < timedelta(seconds=1)
    assert abs(row.renewed_at - database_now()) < timedelta(seconds=5)


def test_a_released_lease_is_free_at_once():
    term = acquire(holder="a", ttl_s=15)
    assert term

    release(term)

    assert acquire(holder="b", ttl_s=15) == Term(holder="b", number=2)


def test_release_of_an_earlier_term_leaves_the_successor_alone():
    term = acquire(holder="a", ttl_s=15)
    assert term
    expire()
    acquire(holder="b", ttl_s=15)

    release(term)

    assert SchedulerLease.objects.get().holder == "b"


def test_renewal_ends_with_the_term():
    term = acquire(holder="a", ttl_s=15)
    assert term
    assert renew(term, ttl_s=15)
    expire()
    assert renew(term, ttl_s=15), "expired, but nobody was between"
    expire()
    acquire(holder="b", ttl_s=15)

    assert not renew(term, ttl_s=15)


def test_prove_refuses_an_expired_and_a_superseded_term():
    term = acquire(holder="a", ttl_s=15)
    assert term
    with transaction.atomic():
        prove(term)
    expire()
    with pytest.raises(LeaseLost), transaction.atomic():
        prove(term)
    acquire(holder="a", ttl_s=15)
    with pytest.raises(LeaseLost), transaction.atomic():
        prove(term)


def test_keeper_trusts_itself_only_until_the_start_of_its_renewal_plus_the_lease():
    clock = Steady()
    leader = keeper("a", clock)
    leader.turn()
    assert leader.is_trusted()

    clock.now += 15 * (1 - lease.MARGIN_SHARE) - 0.1
    assert leader.is_trusted()
    clock.now += 0.2

    assert not leader.is_trusted()


def test_a_slow_renewal_does_not_stretch_the_trust(monkeypatch):
    clock = Steady()
    leader = keeper("a", clock)
    leader.turn()

    def slow_renew(term: Term, **given: Any) -> bool:
        clock.now += 14
        return True

    monkeypatch.setattr(lease, "renew", slow_renew)
    leader.turn()

    assert not leader.is_trusted()


def test_a_silent_database_ends_trust_in_time_and_the_same_term_may_come_back(monkeypatch):
    clock = Steady()
    lost: list[str] = []
    leader = keeper("a", clock, lost)
    leader.turn()
    term = leader.trusted_term()

    def silent(*args: object, **kwargs: object) -> bool:
        raise DatabaseError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(lease, "renew", silent)
        leader.turn()
        clock.now += 20
        assert not leader.is_trusted()
    leader.turn()

    assert leader.trusted_term() == term
    assert lost == []


def test_a_leader_that_finds_a_successor_stands_by():
    clock = Steady()
    lost: list[str] = []
    leader, standby = keeper("a", clock, lost), keeper("b", clock)
    leader.turn()
    standby.turn()
    assert standby.trusted_term() is None

    expire()
    standby.turn()
    leader.turn()

    assert standby.is_trusted()
    assert not leader.is_trusted()
    assert lost == ["a"]


def test_a_session_at_plus_nine_hours_changes_nothing():
    statement = {"mysql": "SET time_zone = '+09:00'", "postgresql": "SET TIME ZONE 'Asia/Tokyo'"}.get(
        connection.vendor
    )
    if statement is None:
        pytest.skip("SQLite knows no session time zone")
    before = database_now()
    with connection.cursor() as cursor:
        cursor.execute(statement)
    try:
        term = acquire(holder="a", ttl_s=15)
        assert term is not None
        with transaction.atomic():
            prove(term)
        assert abs(database_now() - before) < timedelta(seconds=10)
        assert acquire(holder="b", ttl_s=15) is None
    finally:
        with connection.cursor() as cursor:
            cursor.execute(_UTC[connection.vendor])


def test_a_leader_is_steady_from_its_beginning_and_anew_after_each_long_silence(monkeypatch):
    clock = Steady()
    leader = keeper("a", clock)
    leader.turn()
    clock.now += 10
    leader.turn()
    assert leader.steady_s() == 10

    clock.now += 5
    with monkeypatch.context() as away:
        away.setattr(lease, "renew", refuse)
        leader.turn()
    assert leader.steady_s() == 15, "a short silence is none"

    clock.now += 60
    leader.turn()
    clock.now += 3
    assert leader.steady_s() == 3


def test_a_connection_that_the_driver_has_closed_is_a_silent_database(monkeypatch):
    """Its error is no DatabaseError."""
    leader = keeper("a", Steady())

    def fail(*args, **options):
        raise InterfaceError(0, "")

    with monkeypatch.context() as away:
        away.setattr(lease, "acquire", fail)
        leader.turn()
    leader.turn()

    assert leader.is_trusted()


def test_a_heartbeat_of_a_clock_that_was_set_back_since_keeps_nobody_out():
    """Killed while the machine's clock was an hour ahead; the clock is right again."""
    acquire(holder="a", ttl_s=15)
    SchedulerLease.objects.update(renewed_at=DatabaseNow(3600), expires_at=DatabaseNow(3615))

    assert not scheduler_status(now=NOON).scheduler_running
    assert acquire(holder="b", ttl_s=15) == Term(holder="b", number=2)


def test_a_lease_may_be_longer_than_ones_own():
    """Two processes, configured differently: the one with the longer lease is alive all the same."""
    acquire(holder="a", ttl_s=3600)

    assert acquire(holder="b", ttl_s=15) is None


def refuse(*args, **options):
    raise OperationalError("gone away")


# ---- what the home page shows of it --------------------------------------------------------------


def test_a_renewal_tells_how_late_the_ticks_are_without_a_further_statement(django_assert_num_queries: Any):
    clock = Steady()
    leader = LeaseKeeper(
        holder="a", ttl_s=15, on_lost=lambda: None, clock=clock, lag=lambda: Lag(last_ms=3, worst_ms=250)
    )
    leader.turn()
    assert scheduler_status(now=NOON).tick_lag_ms is None

    with django_assert_num_queries(1):
        leader.turn()

    status = scheduler_status(now=NOON)
    assert (status.tick_lag_ms, status.tick_lag_worst_ms) == (3, 250)


def test_a_standby_says_now_and_then_that_it_is_there():
    clock = Steady()
    first, second = keeper("a", clock), keeper("b", clock)
    first.turn()
    second.turn()
    assert [row.holder for row in lease.standbys()] == ["b"]

    SchedulerStandby.objects.update(seen_at=DatabaseNow(-lease.STANDBY_SEEN_S))
    second.turn()
    assert not lease.standbys(), "it has said so a moment ago"
    clock.now += lease.STANDBY_NOTE_S
    second.turn()
    assert [row.holder for row in lease.standbys()] == ["b"]


def test_who_leads_or_ends_stands_by_no_more():
    clock = Steady()
    first, second, third = keeper("a", clock), keeper("b", clock), keeper("c", clock)
    for each in (first, second, third):
        each.turn()
    expire()

    second.turn()
    assert [row.holder for row in SchedulerStandby.objects.all()] == ["c"]
    third._give_up()
    assert not SchedulerStandby.objects.exists()


def test_standbys_that_died_long_ago_are_forgotten():
    lease.note_standby("dead")
    SchedulerStandby.objects.update(seen_at=DatabaseNow(-lease.STANDBY_KEPT_S - 1))

    lease.leave_standby("a")

    assert not SchedulerStandby.objects.exists()
