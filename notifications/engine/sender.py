"""The senders: one thread for each channel, beside the engine, in the process that leads.

A slow mail server so delays neither a run nor Slack. No transaction is open while a message is on
its way, and each outcome is written at once, so that a crash repeats one message at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import close_old_connections, connection

from cronsched.core import clock
from cronsched.core.uptime import uptime
from notifications.engine.claim import CLAIM_LEASE, RETRY_AFTER_MOST_S, Outcome, claim, record, release, wake
from notifications.engine.mail import MailTransport
from notifications.engine.slack import SlackTransport
from notifications.models import Channel, Message

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
RECORD_AGAIN_S = 1.0
PAUSE_FIRST_S = 10.0
PAUSE_MOST_S = 60.0
# Leaves the last message of a batch the time that one may take.
BATCH_TIME_S = CLAIM_LEASE.total_seconds() / 2


class Transport(Protocol):
    """Sends messages of one channel; entered for a batch. What `send` raises is the message's own fault."""

    def send(self, message: Message) -> Outcome: ...


class Sender:
    """One channel. `run_once` does one batch; the thread calls it while this process leads."""

    def __init__(
        self,
        channel: Channel,
        open_transport: Callable[[], AbstractContextManager[Transport]],
        *,
        is_leading: Callable[[], bool],
        now: Callable[[], datetime] = clock.now,
        steady: Callable[[], float] = uptime,
    ) -> None:
        self.channel = channel
        self._open_transport = open_transport
        self._is_leading = is_leading
        self._now = now
        self._steady = steady
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{channel.value} sender", daemon=True)
        self.pause_s = 0.0
        self._is_database_silent = False

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """No further message after the one on its way."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def run_once(self) -> bool:
        """Send one batch. True: there may be more, call again at once."""
        messages = claim(self.channel, now=self._now())
        if messages:
            self._send_all(messages)
        return bool(messages) and not self.pause_s

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            wait_s = self._turn()
        connection.close()

    def _turn(self) -> float:
        """One turn of the loop; how long to wait before the next."""
        try:
            close_old_connections()
            is_more = self._is_leading() and self.run_once()
            self._is_database_silent = False
            if is_more:
                return 0.0
        except DatabaseFault as error:
            if not self._is_database_silent:
                logger.warning(
                    "messages: the database does not answer channel=%s error=%s", self.channel, error
                )
            self._is_database_silent = True
            connection.close()
        except Exception:
            logger.exception("messages: a batch failed channel=%s", self.channel)
            return PAUSE_FIRST_S
        return self.pause_s or LOOK_EVERY_S

    def _send_all(self, messages: list[Message]) -> None:
        until = self._steady() + BATCH_TIME_S
        with self._open_transport() as transport:
            for position, message in enumerate(messages):
                if not self._may_send(until):
                    release(messages[position:], now=self._now())
                    return
                outcome = self._send(transport, message)
                self._record(message, outcome, until)
                self._note(outcome)
                if outcome.is_down:
                    rest = messages[position + 1 :]
                    release(rest, now=self._now(), pause_s=self.pause_s, held_by=outcome.error)
                    return

    def _may_send(self, until: float) -> bool:
        """Asked before each message: without the lead, or after a suspension, the rest is another's."""
        return not self._stopping.is_set() and self._steady() <= until and self._is_leading()

    def _send(self, transport: Transport, message: Message) -> Outcome:
        """A message that breaks its own sending is given up with its error, and holds up no other."""
        try:
            return transport.send(message)
        except DatabaseFault:
            # Not the message's fault: its claim runs out, and it is sent then.
            raise
        except Exception as error:
            logger.exception("messages: one cannot be sent channel=%s message=%s", self.channel, message.pk)
            return Outcome(error=f"It could not be built: {type(error).__name__}.", is_final=True)

    def _record(self, message: Message, outcome: Outcome, until: float) -> None:
        """Write the outcome; a database that is silent for a moment must not make it a second mail."""
        while True:
            try:
                return record(message, outcome, now=self._now())
            except DatabaseFault:
                connection.close()
                if self._steady() > until or self._stopping.wait(RECORD_AGAIN_S):
                    raise

    def _note(self, outcome: Outcome) -> None:
        """One line per change of state; and when the channel is back, all that waits goes."""
        if outcome.is_down:
            if not self.pause_s:
                logger.warning("messages: channel down channel=%s error=%s", self.channel, outcome.error)
            pause_s = min(max(self.pause_s * 2, PAUSE_FIRST_S), PAUSE_MOST_S)
            self.pause_s = max(pause_s, min(outcome.retry_after_s or 0.0, RETRY_AFTER_MOST_S))
        elif self.pause_s:
            self.pause_s = 0.0
            count = wake(self.channel, now=self._now())
            logger.info("messages: channel answers again channel=%s waiting=%d", self.channel, count)


class Senders:
    """All channels of this process."""

    def __init__(self, *, is_leading: Callable[[], bool]) -> None:
        self._senders = [Sender(Channel.SLACK, SlackTransport, is_leading=is_leading)]
        if settings.MAIL_ENABLED:
            self._senders.append(Sender(Channel.EMAIL, MailTransport, is_leading=is_leading))

    def start(self) -> None:
        for sender in self._senders:
            sender.start()

    def stop(self, timeout_s: float) -> None:
        """Both at once: a mail server that hangs must not keep Slack's thread from ending."""
        for sender in self._senders:
            sender.ask_to_stop()
        until = time.monotonic() + timeout_s
        for sender in self._senders:
            sender.join(max(0.0, until - time.monotonic()))
