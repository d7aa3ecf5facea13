"""The engine: who does what, in which thread.

    lease     takes and renews the lead                      (LeaseKeeper)
    ticker    each second: plan what is due, claim, submit   (Ticker -> Engine.tick)
    sender    a process of its own: an event loop with       (SenderProcess, no
              thousands of calls in flight                    database)
    recorder  gathers results and writes them in batches     (Recorder)
    follower  looks how GitHub's runs end                    (Follower)

A standby runs the lease thread alone. A slow target holds a socket, never a thread of ours. On
SIGTERM: no more planning, what is in flight is waited for within a bound, results are recorded,
what was claimed but not begun goes back to the queue, and the lease is given up.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime

from django.db import Error, close_old_connections

from cronsched.core import clock
from cronsched.core.uptime import uptime
from jobs.engine import metrics
from jobs.engine.backoff import Backoff
from jobs.engine.claim import SEND_WITHIN_S, Claim, claim
from jobs.engine.config import EngineConfig
from jobs.engine.follow.follower import Follower
from jobs.engine.lease import LeaseKeeper, LeaseLost, Term
from jobs.engine.plan import plan_due
from jobs.engine.recorder import Recorder
from jobs.engine.rescue import miss_stale_queue
from jobs.engine.send import SenderConfig, Sending
from jobs.engine.send_process import SenderProcess
from jobs.engine.tally import reopen
from jobs.engine.ticker import Ticker
from jobs.models import JobExecution

logger = logging.getLogger(__name__)

CLAIM_BATCH = 500
# Answers that may wait to be recorded; beyond it no more calls are made. They are lost with the process, and
# the last ones of a herd would be seen seconds after they came.
UNRECORDED_MOST = 1000
# A tick that still has rows to send stops here, so that the next one can plan.
TICK_BUDGET_S = 0.9
RECORD_STOP_S = 10.0
FOLLOW_STOP_S = 5.0
TICK_STOP_S = 5.0
# How often `fault` is asked; and how long no tick need come to its end before the process is at fault:
# several leases, and longer than a database may be away.
WATCH_S = 1.0
STUCK_LEASES = 8
STUCK_LEAST_S = 120.0


def make_holder() -> str:
    """Names this process in the lease: host, process, and a part that no restart repeats."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(3)}"


def hand_over(claimed: Claim, *, sender: Sending, recorder: Recorder) -> None:
    """Send what was claimed, and record what failed before it could be sent."""
    for result in claimed.refused:
        recorder.put(result)
    if claimed.deliveries:
        metrics.note_sent(claimed.deliveries)
        sender.submit(claimed.deliveries)


class Engine:
    """One scheduler process.

    `resync(now=…)` sets every next run right; it is called when the clock was set.
    `offer(now=…, term=…)`, where it is given, tells other processes what is to be sent, in place of this
    one's own sender; it says whether there is more. `make_sender(config, on_result=…)` makes that sender.
    `on_lead` (in the ticker's thread) and `on_lead_lost` (in the lease's, so it must be quick) frame
    what else only a leader does: the chores.
    """

    def __init__(
        self,
        config: EngineConfig,
        sender_config: SenderConfig,
        *,
        lease_s: float,
        resync: Callable[..., object],
        now: Callable[[], datetime] = clock.now,
        steady: Callable[[], float] = uptime,
        offer: Callable[..., bool] | None = None,
        make_sender: Callable[..., Sending] = SenderProcess,
        on_lead: Callable[[], None] = lambda: None,
        on_lead_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._now = now
        self._steady = steady
        self._resync = resync
        self._offer = offer
        self._on_lead = on_lead
        self._on_lead_lost = on_lead_lost
        self._freed = threading.Event()
        self._started_term: Term | None = None
        self._wants_resync = threading.Event()
        self._wants_reopen = False
        self.ticker = Ticker(tick=self.tick, on_jump=lambda jump: self._wants_resync.set())
        self.keeper = LeaseKeeper(
            holder=make_holder(),
            ttl_s=lease_s,
            on_lost=on_lead_lost,
            on_trust=lambda until: self.sender.trust(until),
            lag=self.ticker.lag,
        )
        self.recorder = Recorder(clock=now, on_recorded=self._freed.set)
        self.sender = make_sender(sender_config, on_result=self.recorder.put)
        self.follower = Follower(
            config, sender_config, term=self.keeper.trusted_term, clock=now, steady=steady
        )
        self._is_failing = False
        self._backoff = Backoff()
        self._stuck_s = max(STUCK_LEAST_S, STUCK_LEASES * lease_s)
        self._ticks = 0
        # What ends again and again → its count, and how many looks have not seen it grow.
        self._pulses: dict[str, tuple[int | None, int]] = {}
        metrics.IN_FLIGHT.set_function(lambda: self.sender.in_flight)
        metrics.LEADING.set_function(self.keeper.is_trusted)
        metrics.LEASE_AGE.set_function(self.keeper.lease_age_s)

    def start(self) -> None:
        self.recorder.start()
        self.sender.start()
        self.keeper.start()
        self.follower.start()
        self.ticker.start()

    def stop(self, drain_s: float) -> None:
        """Drain within `drain_s` seconds, then cut off, record, and give up the lease.

        Every step has its bound: whatever hangs is left behind.
        """
        self.ticker.stop(TICK_STOP_S)
        logger.info("stopping, waiting for runs in flight count=%d", self.sender.in_flight)
        self.sender.stop(drain_s)
        self.recorder.stop(RECORD_STOP_S)
        self.follower.stop(FOLLOW_STOP_S)
        self._on_lead_lost()
        self.keeper.stop()

    def hurry(self) -> None:
        """Let a stop that is under way wait for no answer any more."""
        self.sender.hurry()

    def fault(self) -> str:
        """Why this process should end and be started anew; "" while it is well. Asked every WATCH_S.

        It counts how often it was asked, not the time: a machine that was suspended is not at fault.
        """
        alive = {
            "lease": self.keeper.is_alive(),
            "clock": self.ticker.is_alive(),
            "sender": self.sender.is_alive(),
            "recorder": self.recorder.is_alive(),
            "follower": self.follower.is_alive(),
        }
        dead = [name for name, is_alive in alive.items() if not is_alive]
        if dead:
            return f"a thread has died: {', '.join(dead)}"
        counts = {
            "tick": self._ticks,
            "turn of the lease": self.keeper.turns,
            "attempt to record": self.recorder.attempts,
            "beginning of a call": self.sender.begun,
        }
        for name, count in counts.items():
            stuck_s = self._looks_without(name, count) * WATCH_S
            if stuck_s >= self._stuck_s:
                return f"no {name} has come to its end for {stuck_s:.0f} s"
        return ""

    def _looks_without(self, name: str, count: int | None) -> int:
        """How many looks have not seen this count grow; None: there was nothing to do."""
        seen, looks = self._pulses.get(name, (0, 0))
        looks = looks + 1 if count is not None and count == seen else 0
        self._pulses[name] = (count, looks)
        return looks

    def tick(self) -> None:
        """One second's work, if this process leads. Never raises: the next tick sees it anew."""
        try:
            close_old_connections()
            term = self.keeper.trusted_term()
            if term is not None:
                with metrics.TICK.time():
                    self._work(term)
                self._say_working()
        except LeaseLost as error:
            logger.warning("tick: %s", error)
        except Error as error:
            if not self._is_failing:
                logger.warning("tick: the database refuses, not all is planned error=%s", error)
            self._is_failing = True
        except Exception:
            # Not counted: where no tick does its work any more, another process may.
            logger.exception("tick failed")
            return
        self._ticks += 1

    def _say_working(self) -> None:
        if self._is_failing:
            logger.info("tick: the database answers again")
        self._is_failing = False

    def _work(self, term: Term) -> None:
        began, until = self._now(), time.monotonic() + TICK_BUDGET_S
        if self._started_term != term:
            self._begin_term(term)
        try:
            self._plan(term)
        finally:
            # Whatever kept PLAN from its end, what is queued leaves.
            self._dispatch_all(term, until)
        self._set_right(began)

    def _plan(self, term: Term) -> None:
        for planned in plan_due(now=self._now(), term=term, config=self._config, backoff=self._backoff):
            metrics.DUE.inc(planned.slots)
            metrics.BROKEN.inc(planned.broken)
            logger.info(
                "planned jobs=%d queued=%d missed=%d broken=%d",
                planned.due, planned.queued, planned.missed, planned.broken,
            )  # fmt: skip
            # The first request leaves before the last job is planned.
            self._dispatch(term)

    def _set_right(self, now: datetime) -> None:
        """What a clock that was set, or another host's clock, has left wrong. It keeps no run waiting."""
        if self._wants_resync.is_set():
            # Cleared first, for the clock may be set again meanwhile.
            self._wants_resync.clear()
            self._wants_reopen = True
            try:
                self._resync(now=now)
            except BaseException:
                self._wants_resync.set()
                raise
        if self._wants_reopen:
            # Set back, it lets runs start in hours that were counted.
            reopen(now)
            self._wants_reopen = False

    def _begin_term(self, term: Term) -> None:
        """What a new leader does first, and no more: what came due in between is waiting."""
        self._wants_reopen = True
        self._on_lead()
        self._started_term = term
        miss_stale_queue(now=self._now(), term=term, grace_s=self._config.grace_s)

    def _dispatch_all(self, term: Term, until: float) -> None:
        """Send all that is queued, waiting for room, until this tick's time is up."""
        if self._offer is None and not JobExecution.objects.sendable(self._now()).exists():
            # As in most seconds: no transaction for nothing.
            return
        while self._dispatch(term) and time.monotonic() < until:
            if self._offer is None and not self._room():
                self._freed.clear()
                self._freed.wait(max(0.0, min(0.1, until - time.monotonic())))

    def _dispatch(self, term: Term) -> bool:
        """Claim one batch, no more than can be sent now. Whether there may be more."""
        if self._offer is not None:
            return self._offer(now=self._now(), term=term)
        limit = self._room()
        if not limit:
            return True
        with metrics.DATABASE.labels("claim").time():
            send_by = self._steady() + SEND_WITHIN_S
            claimed = claim(now=self._now(), term=term, limit=limit, config=self._config, send_by=send_by)
        hand_over(claimed, sender=self.sender, recorder=self.recorder)
        return claimed.count == limit

    def _room(self) -> int:
        """How many runs to claim: what can be sent now, while the recorder keeps up with the answers."""
        return 0 if self.recorder.waiting > UNRECORDED_MOST else min(CLAIM_BATCH, self.sender.free)
