"""The sending half without the lease: it takes what a leader offers, sends it and records the answers.

It never plans. What it claims it begins within SEND_WITHIN_S or not at all, as a leader does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import close_old_connections

from cronsched.core import clock
from cronsched.core.uptime import uptime
from jobs.engine import metrics
from jobs.engine.claim import SEND_WITHIN_S, claim_offered
from jobs.engine.config import EngineConfig
from jobs.engine.loop import RECORD_STOP_S, hand_over, make_holder
from jobs.engine.recorder import Recorder
from jobs.engine.send import SenderConfig, Sending
from jobs.engine.send_process import SenderProcess

logger = logging.getLogger(__name__)

# How long one look for room lasts.
ROOM_S = 1.0
# A call may take an hour at most: where all places are taken for longer, a thread hangs.
STUCK_S = 3900.0


class SenderDied(Exception):
    """A thread of this process has died: only a fresh process can go on."""


class Worker:
    """One sending process. `take` is called from one thread."""

    def __init__(
        self,
        config: EngineConfig,
        sender_config: SenderConfig,
        *,
        now: Callable[[], datetime] = clock.now,
        steady: Callable[[], float] = uptime,
        make_sender: Callable[..., Sending] = SenderProcess,
    ) -> None:
        self.holder = make_holder()
        self._config = config
        self._now = now
        self._steady = steady
        self._freed = threading.Event()
        self.recorder = Recorder(clock=now, on_recorded=self._freed.set)
        self.sender = make_sender(sender_config, on_result=self.recorder.put)
        metrics.IN_FLIGHT.set_function(lambda: self.sender.in_flight)

    def start(self) -> None:
        self.recorder.start()
        self.sender.start()

    def stop(self, drain_s: float) -> None:
        """Wait `drain_s` seconds for what is in flight, then cut it off; record all of it."""
        logger.info("stopping, waiting for runs in flight count=%d", self.sender.in_flight)
        self.sender.stop(drain_s)
        self.recorder.stop(RECORD_STOP_S)

    def take(self, ids: Sequence[UUID]) -> int:
        """Claim those of `ids` that are still to be sent, and send them. How many it claimed.

        Waits for room, never for an answer. Raises SenderDied, and what the database raises: the message
        is then another worker's, or the row is offered again.
        """
        close_old_connections()
        claimed, rest = 0, list(ids)
        while rest:
            room = self._wait_for_room()
            page, rest = rest[:room], rest[room:]
            claimed += self._send(page)
        return claimed

    def _wait_for_room(self) -> int:
        give_up_at = self._steady() + STUCK_S
        while True:
            if not (self.sender.is_alive() and self.recorder.is_alive()):
                raise SenderDied("the sender or the recorder has died")
            self._freed.clear()
            if free := self.sender.free:
                return free
            if self._steady() > give_up_at:
                raise SenderDied(f"no call has come to its end for {STUCK_S:.0f} s")
            self._freed.wait(ROOM_S)

    def _send(self, ids: Sequence[UUID]) -> int:
        send_by = self._steady() + SEND_WITHIN_S
        with metrics.DATABASE.labels("claim").time():
            claimed = claim_offered(
                ids, now=self._now(), holder=self.holder, config=self._config, send_by=send_by
            )
        hand_over(claimed, sender=self.sender, recorder=self.recorder)
        return claimed.count
