"""The thread that records: it gathers results for a moment and writes them as a batch.

A database that is away does not lose a result: what could not be written is kept, in order, and
tried again with a growing pause; the log says so once per change of state. A batch that the
database refuses for its content is written result by result, so that one cannot hold up the others.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from django.db import close_old_connections, connection

from cronsched.core.db import is_cut_short, is_silence
from jobs.engine import metrics
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.engine.record import BATCH, record

logger = logging.getLogger(__name__)

# A result waits at most this long for others to share its transaction.
GATHER_S = 0.05
RETRY_FIRST_S = 0.5
RETRY_MOST_S = 5.0
UNSTORABLE_TEXT = "The answer could not be stored; the scheduler's log has the reason."


class Recorder:
    """Takes results from any thread (`put`) and records them on its own connection."""

    def __init__(
        self, *, clock: Callable[[], datetime], on_recorded: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._on_recorded = on_recorded
        self._results: queue.SimpleQueue[DeliveryResult | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._give_up_at: float | None = None
        self._is_database_silent = False
        # Never set: a wait on it is a sleep that a clock which is set meanwhile does not break.
        self._pause = threading.Event()
        self._ended = 0
        self._is_busy = False

    @property
    def attempts(self) -> int | None:
        """How many attempts to write a batch have come to their end; None while there is nothing to write."""
        return self._ended if self._is_busy else None

    @property
    def waiting(self) -> int:
        """Results that no batch has taken yet."""
        return self._results.qsize()

    def start(self) -> None:
        self._thread.start()

    def put(self, result: DeliveryResult) -> None:
        self._results.put(result)

    def stop(self, timeout_s: float) -> None:
        """Record what is there; give up on a silent database after `timeout_s`."""
        self._give_up_at = time.monotonic() + timeout_s
        self._results.put(None)
        self._thread.join(timeout_s + RETRY_MOST_S)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._gather()
            if batch:
                self._is_busy = True
                self._record_for_sure(batch)
                self._is_busy = False
        connection.close()

    def _gather(self) -> tuple[list[DeliveryResult], bool]:
        """The next results: at least one, at most a batch, no later than GATHER_S after the first.

        Slept through rather than waited for one by one: each wake-up takes the interpreter from the sender.
        """
        first = self._results.get()
        if first is None:
            return [], False
        batch = [first]
        is_open = self._take_present(batch)
        if is_open and len(batch) < BATCH:
            self._pause.wait(GATHER_S)
            is_open = self._take_present(batch)
        return batch, is_open

    def _take_present(self, batch: list[DeliveryResult]) -> bool:
        """Fill the batch with what is there. False where the end has been asked for."""
        while len(batch) < BATCH:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                break
            if result is None:
                return False
            batch.append(result)
        return True

    def _record_for_sure(self, batch: list[DeliveryResult]) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            try:
                close_old_connections()
                self._record(batch)
            except Exception as error:
                self._ended += 1
                if not is_silence(error):
                    self._record_refused(batch)
                elif len(batch) > 1 and is_cut_short(error):
                    half = len(batch) // 2
                    self._record_for_sure(batch[:half])
                    self._record_for_sure(batch[half:])
                elif self._wait(pause_s, len(batch), error):
                    pause_s = min(pause_s * 2, RETRY_MOST_S)
                    continue
                return
            self._ended += 1
            self._say_answering()
            self._on_recorded()
            return

    def _record(self, batch: list[DeliveryResult]) -> None:
        with metrics.DATABASE.labels("record").time():
            done = record(batch, now=self._clock())
        metrics.RETRIED.inc(done.retried)
        logger.info(
            "recorded success=%d failed=%d retried=%d followed=%d released=%d stale=%d",
            done.success, done.failed, done.retried, done.followed, done.released, done.stale,
        )  # fmt: skip

    def _record_refused(self, batch: list[DeliveryResult]) -> None:
        """Each alone; and what is refused alone, without its texts: whatever was wrong, the run must end."""
        if len(batch) > 1:
            logger.exception("record: a batch was refused, writing one by one count=%d", len(batch))
            for result in batch:
                self._record_for_sure([result])
            return
        (result,) = batch
        if result.error_message == UNSTORABLE_TEXT:
            # RESCUE ends the row by its deadline.
            logger.exception("record: given up execution=%s", result.execution_id)
            return
        logger.exception("record: a result was refused execution=%s", result.execution_id)
        self._record_for_sure([_bare(result)])

    def _wait(self, pause_s: float, waiting: int, error: Exception) -> bool:
        """Pause before the next try; False when it is time to give up."""
        connection.close()
        if not self._is_database_silent:
            logger.warning(
                "record: the database does not answer, results are kept count=%d error=%s", waiting, error
            )
        self._is_database_silent = True
        if self._give_up_at is not None and time.monotonic() > self._give_up_at:
            logger.error(
                "record: results lost at shutdown, their runs will read interrupted count=%d", waiting
            )
            return False
        self._pause.wait(pause_s)
        return True

    def _say_answering(self) -> None:
        if self._is_database_silent:
            logger.info("record: the database answers again")
        self._is_database_silent = False


def _bare(result: DeliveryResult) -> DeliveryResult:
    """The outcome without its texts."""
    reason = Reason.INTERNAL if result.outcome is Outcome.FAILED else Reason.NONE
    return replace(result, output="", error_message=UNSTORABLE_TEXT, reason=reason)
