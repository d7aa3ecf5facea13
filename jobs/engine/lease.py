"""The lease: which process plans and sends.

One row (`SchedulerLease`): a holder, a term and an expiry by the database's clock, so that hosts
whose clocks differ agree. The term is a fencing number: it grows with every new holder, and every
transaction that plans or claims proves it first, under a lock. A leader that was stalled, frozen
or cut off therefore cannot write after its successor has taken over.

Sending is not a transaction, so it is fenced by trust instead: a leader believes in its lease only
until (the start of its last successful renewal + the lease's length - a margin), read from a clock
that counts the time the machine slept. A slow renewal cannot stretch that window.

A leader that is frozen in such a transaction holds the lease's row: `idle_limit_s` is how soon the
server takes it away.

    standby --acquire--> leading --renew ok--> leading
    leading --renew finds another term--> standby
    leading --database silent--> untrusted (sends nothing) --renew ok, same term--> leading
    leading --release at shutdown--> gone: a standby need not wait for the expiry
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.db import Error, close_old_connections, connection, models, transaction
from django.db.models import F, Q

from cronsched.core.db import DatabaseNow, locked
from cronsched.core.uptime import uptime
from jobs.engine.ticker import Lag
from jobs.models.lease import LEASE_ID, SchedulerLease, SchedulerStandby

logger = logging.getLogger(__name__)

# Of the lease's length: how often it is renewed, and how early its holder stops trusting it.
RENEWALS_PER_LEASE = 5
MARGIN_SHARE = 0.15
STANDBY_RETRY_S = 1.0
# How often a standby says that it is there, and for how long it is believed.
STANDBY_NOTE_S = 5.0
STANDBY_SEEN_S = 15.0
# Rows of standbys that died are kept no longer.
STANDBY_KEPT_S = 3600.0
# What giving the lease up may take.
STOP_MOST_S = 5.0
# Of the lease's length: how long a transaction may stand still before the server ends it.
IDLE_SHARE = 0.8
IDLE_LEAST_S = 2


def idle_limit_s(ttl_s: float) -> int:
    """How long, in whole seconds, a transaction of the engine may stand still.

    A leader that is frozen in one holds the lease's row; its locks are gone before the lease runs out
    (its last renewal is a fifth of it old at most), so that its successor need not wait for it to wake
    up. No sooner, for a machine that is out of breath stands still too.
    """
    return max(IDLE_LEAST_S, int(ttl_s * IDLE_SHARE))


class LeaseLost(Exception):
    """Another process holds the lease, or ours ran out: nothing of this transaction may stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    holder: str
    number: int


def is_held(ttl_s: float) -> Q:
    """Whether somebody leads, by the database's clock.

    A heartbeat that lies ahead of that clock by more than a lease was written before the clock was set
    back: it must not keep everybody out until its time comes round again. Its holder, if it lives,
    has renewed since.
    """
    return (
        ~Q(holder="")
        & Q(expires_at__gt=DatabaseNow(), expires_at__isnull=False)
        & Q(renewed_at__lte=DatabaseNow(ttl_s))
    )


def acquire(*, holder: str, ttl_s: float) -> Term | None:
    """Take the lease if nobody holds it or its time has run out; None while another leads."""
    SchedulerLease.objects.get_or_create(pk=LEASE_ID)
    with transaction.atomic():
        taken = SchedulerLease.objects.filter(~is_held(ttl_s), pk=LEASE_ID).update(
            holder=holder,
            term=F("term") + 1,
            acquired_at=DatabaseNow(),
            renewed_at=DatabaseNow(),
            expires_at=DatabaseNow(ttl_s),
            tick_lag_ms=None,
            tick_lag_worst_ms=None,
        )
        if not taken:
            return None
        number = SchedulerLease.objects.values_list("term", flat=True).get(pk=LEASE_ID)
    return Term(holder=holder, number=number)


def renew(term: Term, *, ttl_s: float, lag: Lag | None = None) -> bool:
    """Push the expiry on, and tell how late the ticks are; False when the term is over.

    An expired lease that nobody took may be renewed: the term proves that nobody was between.
    """
    told = {"tick_lag_ms": lag.last_ms, "tick_lag_worst_ms": lag.worst_ms} if lag else {}
    return _held(term).update(renewed_at=DatabaseNow(), expires_at=DatabaseNow(ttl_s), **told) == 1


def release(term: Term) -> None:
    """Give the lease up, only if it is still ours."""
    _held(term).update(holder="", expires_at=DatabaseNow())


def prove(term: Term) -> None:
    """Lock the lease row for this transaction, or raise LeaseLost. Call it first in the transaction."""
    if not locked(_held(term).filter(expires_at__gt=DatabaseNow())).values_list("term", flat=True):
        raise LeaseLost(f"term {term.number} of {term.holder} is over")


def note_standby(holder: str) -> None:
    """Say that this process is there and would lead."""
    if not SchedulerStandby.objects.filter(pk=holder).update(seen_at=DatabaseNow()):
        SchedulerStandby.objects.create(holder=holder, seen_at=DatabaseNow())


def leave_standby(holder: str) -> None:
    """This process stands by no more; what others left behind long ago goes too."""
    SchedulerStandby.objects.filter(Q(pk=holder) | Q(seen_at__lt=DatabaseNow(-STANDBY_KEPT_S))).delete()


def standbys() -> models.QuerySet[SchedulerStandby]:
    """Who stands by now."""
    return SchedulerStandby.objects.filter(seen_at__gt=DatabaseNow(-STANDBY_SEEN_S))


def _held(term: Term) -> models.QuerySet[SchedulerLease]:
    return SchedulerLease.objects.filter(pk=LEASE_ID, holder=term.holder, term=term.number)


class LeaseKeeper:
    """Takes and renews the lease in a thread and on a connection of its own.

    `on_lost()`, and `on_trust(until)` with each change of how long it may be trusted (by `clock`), are
    called in that thread, so they must be quick.
    """

    def __init__(
        self,
        *,
        holder: str,
        ttl_s: float,
        on_lost: Callable[[], None],
        on_trust: Callable[[float], None] = lambda until: None,
        clock: Callable[[], float] = uptime,
        lag: Callable[[], Lag | None] = lambda: None,
    ) -> None:
        self.holder = holder
        self._lag = lag
        # By `clock`: when this standby last said that it is there; None while it has not.
        self._noted_at: float | None = None
        self._ttl_s = ttl_s
        self._on_lost = on_lost
        self._on_trust = on_trust
        self._clock = clock
        self._term: Term | None = None
        self._trusted_until = self._renewed_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._is_database_silent = False
        self.turns = 0
        # By `clock`: the last answer of the database, and since when they have come without a gap.
        self._answered_at = self._steady_since = clock()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing and give the lease up; without a database that answers, it runs out by itself."""
        self._stop.set()
        self._thread.join(timeout=min(self._ttl_s, STOP_MOST_S))
        if self._thread.is_alive():
            logger.warning("lease not released, it runs out by itself holder=%s", self.holder)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def trusted_term(self) -> Term | None:
        """The term, while this process may act on it; None for a standby or a lapsed trust."""
        term = self._term
        return term if term is not None and self._clock() < self._trusted_until else None

    def is_trusted(self) -> bool:
        return self.trusted_term() is not None

    def lease_age_s(self) -> float:
        """Seconds since this process last renewed the lease; 0 where it does not lead."""
        return max(0.0, self._clock() - self._renewed_at) if self._term else 0.0

    def steady_s(self) -> float:
        """For how long this process has led, and the database answered, without a gap."""
        return self._clock() - self._steady_since

    def turn(self) -> None:
        """One renewal, or one attempt to take the lead. `turns` counts those that came to their end."""
        self._turn()
        self.turns += 1

    def _turn(self) -> None:
        started = self._clock()
        try:
            self._renew(started) if self._term else self._acquire(started)
        except Error as error:
            if not self._is_database_silent:
                logger.warning(
                    "lease: the database does not answer, nothing is sent meanwhile error=%s", error
                )
            self._is_database_silent = True
            return
        self._note_answer()
        if self._is_database_silent:
            logger.info("lease: the database answers again")
        self._is_database_silent = False

    def _note_answer(self) -> None:
        now = self._clock()
        # Longer than a lease: the database was away, or this process stood still.
        if now - self._answered_at > self._ttl_s:
            self._steady_since = now
        self._answered_at = now

    def _acquire(self, started: float) -> None:
        term = acquire(holder=self.holder, ttl_s=self._ttl_s)
        if term is not None:
            self._term = term
            self._steady_since = self._clock()
            self._trust_from(started)
            self._leave_standby()
            logger.info("lease gained holder=%s term=%d", term.holder, term.number)
        elif self._noted_at is None or started - self._noted_at >= STANDBY_NOTE_S:
            note_standby(self.holder)
            self._noted_at = started

    def _leave_standby(self) -> None:
        leave_standby(self.holder)
        self._noted_at = None

    def _renew(self, started: float) -> None:
        assert self._term is not None  # noqa: S101 - for the type checker
        if renew(self._term, ttl_s=self._ttl_s, lag=self._lag()):
            self._trust_from(started)
            return
        logger.warning("lease lost holder=%s term=%d", self._term.holder, self._term.number)
        self._term = None
        self._on_trust(0.0)
        self._on_lost()

    def _trust_from(self, started: float) -> None:
        self._renewed_at = started
        self._trusted_until = started + self._ttl_s * (1 - MARGIN_SHARE)
        self._on_trust(self._trusted_until)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                close_old_connections()
                self.turn()
            except Exception:
                # This thread has no successor: whatever it was, the next turn follows.
                logger.exception("lease: a turn failed")
            pause_s = self._ttl_s / RENEWALS_PER_LEASE if self._term else STANDBY_RETRY_S
            self._stop.wait(min(pause_s, self._ttl_s / RENEWALS_PER_LEASE))
        self._give_up()
        connection.close()

    def _give_up(self) -> None:
        term, self._term = self._term, None
        self._on_trust(0.0)
        try:
            if term is not None:
                release(term)
            elif self._noted_at is not None:
                self._leave_standby()
        except Error:
            logger.warning("lease not released, it runs out by itself term=%d", term.number if term else 0)
