"""SEND in a process of its own: making calls and writing rows each have an interpreter, and a core.

    leader or worker                                  its child, without Django
    submit ── ("submit", deliveries) ──────────────▶  Sender (jobs.engine.send)
    trust, stop, hurry ── their name and value ────▶
    on_result, begun, log ◀── a list of what came ──  results, counts of begun ones, log records

A pair of sockets is between them, and nobody else has an end of it. What happens when things go wrong:

- The child dies: whatever has no result yet ends as FAILED/INTERRUPTED, since the receiver may have
  acted; `is_alive` says so, and who runs this process starts it anew.
- This process dies, however: the child reads the end of its socket and is gone at once, as a thread
  would be. No result could be recorded any more.
- This process stands still: what has been submitted goes on, while the lease may be trusted.
- The child stands still: nothing here waits for it but `stop`, within its bound.

A signal to the whole group of processes, as of a terminal or of systemd, is for the parent alone.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final
from uuid import UUID

from cronsched.garbage import collect_rarely
from jobs.engine.messages import Delivery, DeliveryResult, Outcome, Reason
from jobs.engine.send import CANCEL_S, INTERNAL_TEXT, OnResult, Sender, SenderConfig, room, utc_now

logger = logging.getLogger(__name__)

DIED_TEXT: Final = (
    "Interrupted: the process that makes the calls has died. Whether the request arrived is unknown. Look at "
    "the receiver, then run the job by hand if needed."
)
_ROOT: Final = Path(__file__).resolve().parents[2]
# What starts the child: for tests, which give it less than it needs.
_COMMAND: Final[tuple[str, ...]] = ()
# An interpreter with its modules is there in a quarter of a second; on a machine out of breath, later.
_START_S: Final = 60.0
# The child gathers what has come for so long before it tells: each message wakes both sides.
_GATHER_S: Final = 0.01
_TOLD_AT_ONCE: Final = 500
# Never set: a wait on it is a sleep that a clock which is set meanwhile does not break.
_PAUSE: Final = threading.Event()
# How often it looks whether its own sender lives.
_LOOK_S: Final = 1.0

# What the child tells: a result, how many more were begun, a line for the log; None is the end.
_News = DeliveryResult | int | logging.LogRecord | None
_Key = tuple[UUID, UUID]


class SenderProcess:
    """The parent's side. Thread-safe; started and stopped once. `on_result` is as `Sender`'s."""

    def __init__(
        self, config: SenderConfig, *, on_result: OnResult, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._config = config
        self._on_result = on_result
        self._clock = clock
        self._lock = threading.Lock()
        self._is_open = False
        # Written by a thread of its own: who submits or renews the lease never waits for the child.
        self._orders: SimpleQueue[tuple[str, Any] | None] = SimpleQueue()
        # What has no result yet; and of all that was submitted, how many wait to be begun, and have been.
        self._sent: dict[_Key, Delivery] = {}
        self._waiting = self._begun = 0
        self._reader = threading.Thread(target=self._read, name="sender", daemon=True)

    @property
    def in_flight(self) -> int:
        """Deliveries submitted and without a result."""
        return len(self._sent)

    @property
    def free(self) -> int:
        """How many more to claim; none while enough wait to be begun."""
        return room(len(self._sent), waiting=self._waiting, most=self._max_in_flight)

    @property
    def begun(self) -> int | None:
        """As of `Sender`: how many have been begun, while others wait to be."""
        return self._begun if self._waiting else None

    def start(self) -> None:
        """Start the child and return when it can send. Raises RuntimeError; why, its standard error says."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _start(theirs.fileno())
        self._pipe = Connection(ours.detach())
        try:
            self._pipe.send(self._config)
            if not self._pipe.poll(_START_S):
                raise TimeoutError
            self._max_in_flight: int = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.kill()
            self._process.wait()
            raise RuntimeError("the process that makes the calls did not start") from error
        self._reader.start()
        threading.Thread(target=self._write, name="sender-orders", daemon=True).start()
        with self._lock:
            self._is_open = True

    def submit(self, deliveries: Sequence[Delivery]) -> None:
        """Take over these deliveries. On a sender that is not running, each is NOT_SENT at once."""
        with self._lock:
            is_open = self._is_open
            if is_open:
                self._sent |= {_key(delivery): delivery for delivery in deliveries}
                self._waiting += len(deliveries)
                self._orders.put(("submit", tuple(deliveries)))
        if not is_open:
            self._end(deliveries, Outcome.NOT_SENT)

    def trust(self, until_s: float) -> None:
        """As of `Sender`, by the machine's uptime."""
        self._orders.put(("trust", until_s))

    def stop(self, drain_s: float) -> None:
        """Refuse new deliveries, wait `drain_s` seconds for those in flight, then cut them off."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if not was_open:
            return
        self._orders.put(("stop", drain_s))
        self._reader.join(drain_s + 2 * CANCEL_S)
        if self._reader.is_alive():
            logger.error("the process that makes the calls did not stop in_flight=%d", self.in_flight)
            self._process.kill()
            self._reader.join(CANCEL_S)

    def hurry(self) -> None:
        """Cut off at once what a stop is still waiting for."""
        if not self._is_open:
            self._orders.put(("hurry", None))

    def is_alive(self) -> bool:
        return self._reader.is_alive()

    # Below: in threads of its own.

    def _write(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                self._order(*order)
        except OSError:
            # It has died: the reader sees the end, and settles what is left.
            return
        except Exception:
            logger.exception("the process that makes the calls cannot be told what to do, it is ended")
            self._process.kill()

    def _order(self, name: str, value: Any) -> None:
        try:
            self._pipe.send((name, value))
        except OSError:
            raise
        except Exception:
            if name != "submit":
                raise
            # One of them cannot be written down, nested too deeply say: it must not stop the others.
            if len(value) == 1:
                self._refuse(value[0])
                return
            for delivery in value:
                self._order(name, (delivery,))

    def _refuse(self, delivery: Delivery) -> None:
        logger.exception("delivery cannot be handed over execution=%s", delivery.execution_id)
        with self._lock:
            is_here = self._sent.pop(_key(delivery), None) is not None
            self._waiting -= 1
        if is_here:
            self._end([delivery], Outcome.FAILED, reason=Reason.INTERNAL, error_message=INTERNAL_TEXT)

    def _read(self) -> None:
        try:
            while True:
                self._take(self._pipe.recv())
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("the process that makes the calls is not understood, it is ended")
            self._process.kill()
        finally:
            self._orders.put(None)
            self._process.wait()
            self._lose_rest()

    def _take(self, news: Iterable[_News]) -> None:
        results = [one for one in news if isinstance(one, DeliveryResult)]
        begun = sum(one for one in news if isinstance(one, int))
        with self._lock:
            self._waiting -= begun
            self._begun += begun
            for result in results:
                del self._sent[result.execution_id, result.claim_token]
        for result in results:
            self._report(result)
        for one in news:
            if isinstance(one, logging.LogRecord):
                _log(one)

    def _lose_rest(self) -> None:
        """Give a result to whatever still has none: the child is gone."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
            rest, self._sent = list(self._sent.values()), {}
        if was_open or rest:
            logger.error("the process that makes the calls has died in_flight=%d", len(rest))
        self._end(rest, Outcome.FAILED, reason=Reason.INTERRUPTED, error_message=DIED_TEXT)

    def _end(self, deliveries: Iterable[Delivery], outcome: Outcome, **more: Any) -> None:
        now = self._clock()
        for delivery in deliveries:
            self._report(
                DeliveryResult(
                    execution_id=delivery.execution_id,
                    claim_token=delivery.claim_token,
                    outcome=outcome,
                    started_at=now,
                    completed_at=now,
                    duration_s=0.0,
                    attempt=delivery.attempt,
                    **more,
                )
            )

    def _report(self, result: DeliveryResult) -> None:
        try:
            self._on_result(result)
        except Exception:
            # The result is lost to the caller; RESCUE finds its row by the deadline.
            logger.exception("on_result failed execution=%s", result.execution_id)


def _start(end: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    # -P: a file that lies in the directory where it is started is no module of ours.
    return subprocess.Popen(  # noqa: S603 - ourselves
        [*_COMMAND, sys.executable, "-P", "-m", __name__, str(end)],
        pass_fds=[end],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


def _key(delivery: Delivery) -> _Key:
    return delivery.execution_id, delivery.claim_token


def _log(record: logging.LogRecord) -> None:
    log = logging.getLogger(record.name)
    if log.isEnabledFor(record.levelno):
        log.handle(record)


# ---- the child --------------------------------------------------------------------------------


def main(end: int) -> None:
    """Send what comes from the parent, until it says that it is over, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipe: Any = Connection(end)
    news: SimpleQueue[_News] = SimpleQueue()
    logging.basicConfig(level=logging.INFO, handlers=[QueueHandler(news)])
    sender = Sender(pipe.recv(), on_result=news.put, on_begun=news.put)
    sender.start()
    collect_rarely()
    pipe.send(sender.max_in_flight)
    teller = threading.Thread(target=_tell, args=(sender, news, pipe), daemon=True)
    teller.start()
    try:
        while True:
            _obey(pipe.recv(), sender, news)
    except (EOFError, OSError):
        # The parent is gone. What is under way would be told to nobody.
        os._exit(0)
    except Exception:
        traceback.print_exc()
        # What has come so far is told; the parent settles the rest.
        news.put(None)
        teller.join()


def _obey(order: tuple[str, Any], sender: Sender, news: SimpleQueue[_News]) -> None:
    match order:
        case "submit", deliveries:
            sender.submit(deliveries)
        case "trust", until_s:
            sender.trust(until_s)
        case "stop", drain_s:
            # Not waited for here: it may be told to hurry.
            threading.Thread(target=_stop, args=(sender, drain_s, news), daemon=True).start()
        case "hurry", _:
            sender.hurry()


def _stop(sender: Sender, drain_s: float, news: SimpleQueue[_News]) -> None:
    sender.stop(drain_s)
    news.put(None)


def _tell(sender: Sender, news: SimpleQueue[_News], pipe: Any) -> None:
    """Tell the parent what comes, until the sender has stopped, or is dead. The process ends with it."""
    code = 1
    try:
        while code and ((batch := _gather(news)) or sender.is_alive()):
            if told := [one for one in batch if one is not None]:
                pipe.send(told)
            code = 0 if None in batch else 1
    except Exception:
        traceback.print_exc()
    os._exit(code)


def _gather(news: SimpleQueue[_News]) -> list[_News]:
    """What has come, and comes within a moment after; nothing in a second without news."""
    batch: list[_News] = []
    try:
        batch.append(news.get(timeout=_LOOK_S))
        _PAUSE.wait(_GATHER_S)
        while len(batch) < _TOLD_AT_ONCE:
            batch.append(news.get_nowait())
    except Empty:
        pass
    return batch


if __name__ == "__main__":
    main(int(sys.argv[1]))
