"""SEND: deliveries in, results out, thousands at once, without a database.

One asyncio loop in a thread of its own. Every delivery is a task of its own, so that a slow or dead
target delays nobody; the number of tasks is bounded, and what was submitted beyond it waits its turn.

What happens when things go wrong:

- Every submitted delivery yields exactly one result, whatever raises: an unexpected exception is
  logged once and becomes FAILED/INTERNAL.
- How long the lease may be trusted (`trust`) is asked when the connection stands, immediately before
  the first byte. A leader that lost it meanwhile sends nothing: NOT_SENT, and the row is queued again.
- `stop` hands back at once what has not begun, waits for what is in flight, then cancels. Cancelled
  before the first byte: NOT_SENT. After it: FAILED/INTERRUPTED, since the receiver may have acted.
- Were the loop to hang, `stop` returns after its bound, and RESCUE finds the rows by their deadline.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from cronsched import __version__
from cronsched.core.http.client import AddressPolicy, HttpClient
from cronsched.core.uptime import uptime
from jobs.engine.messages import Delivery, DeliveryResult, Outcome, Reason
from jobs.engine.transports import Line, Verdict, deliver
from jobs.engine.transports.base import redact

try:
    from uvloop import new_event_loop
except ImportError:  # pragma: no cover - not for Windows
    from asyncio import new_event_loop  # type: ignore[assignment]

try:
    import resource
except ImportError:  # pragma: no cover - not on Windows, which has no such limit
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

USER_AGENT: Final = f"cronsched/{__version__} (scheduled automation)"

Clock = Callable[[], datetime]
OnResult = Callable[[DeliveryResult], None]

# Open files wanted per delivery in flight, and for the rest of the process.
_FILES_PER_DELIVERY: Final = 2
_OTHER_FILES: Final = 1024
# Deliveries begun in one turn of the loop: between two turns it serves those under way, so that a herd
# passes through instead of piling up in memory.
_BEGUN_AT_ONCE: Final = 50
# Deliveries that may wait to be begun: beyond it nothing is claimed, for what is queued is safe.
_BACKLOG: Final = 500
# What a cancelled delivery may take to close its connection.
CANCEL_S: Final = 5.0

_NOT_SENT: Final = Verdict(outcome=Outcome.NOT_SENT)
_INTERRUPTED: Final = Verdict(
    outcome=Outcome.FAILED,
    reason=Reason.INTERRUPTED,
    error_message="Interrupted by shutdown, the outcome is unknown.",
)
INTERNAL_TEXT: Final = "An internal error kept this run from being sent; the scheduler's log has the details."
_INTERNAL: Final = Verdict(outcome=Outcome.FAILED, reason=Reason.INTERNAL, error_message=INTERNAL_TEXT)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderConfig:
    """What the operator decided; built from the settings by whoever starts a sender."""

    policy: AddressPolicy = field(default_factory=AddressPolicy)
    allow_http: bool = False
    user_agent: str = USER_AGENT
    # Deliveries under way at once: what as many hanging targets may hold before others have to wait.
    # Each may hold a socket; a lower limit of open files lowers it.
    max_in_flight: int = 4000

    def client(self) -> HttpClient:
        return HttpClient(policy=self.policy, allow_http=self.allow_http, limit=self.max_in_flight)


class _Attempt:
    """One delivery on its way. Settles once, whoever comes first: its task, or the shutdown."""

    __slots__ = ("_clock", "_may_send", "_started_s", "delivery", "is_begun", "is_settled", "started_at")

    def __init__(
        self, delivery: Delivery, *, clock: Clock, may_send: Callable[[Delivery, float], bool]
    ) -> None:
        self.delivery = delivery
        self.is_begun = False
        self.is_settled = False
        self._clock = clock
        self._may_send = may_send
        self.started_at = clock()
        self._started_s = time.monotonic()

    async def run(self, client: HttpClient, *, user_agent: str) -> DeliveryResult:
        """Send and judge. Whatever raises becomes a result, cancellation too."""
        try:
            return self.result(await self._send(client, user_agent))
        except asyncio.CancelledError:
            return self.unclocked_result(self.cancelled())
        except Exception as error:
            _log_unexpected(error, self.delivery)
            return self.unclocked_result(_INTERNAL)

    async def _send(self, client: HttpClient, user_agent: str) -> Verdict:
        # Asked again by the client when the connection stands; this spares opening one in vain.
        if not self._may_send(self.delivery, 0.0):
            return _NOT_SENT
        line = Line(
            send=client.send,
            gate=self._begin,
            clock=self._clock,
            started_at=self.started_at,
            user_agent=user_agent,
        )
        return await deliver(self.delivery, line)

    def _begin(self) -> bool:
        self.is_begun = self._may_send(self.delivery, self.delivery.timeout_s)
        return self.is_begun

    def cancelled(self) -> Verdict:
        return _INTERRUPTED if self.is_begun else _NOT_SENT

    def result(self, verdict: Verdict) -> DeliveryResult:
        # A clock set back meanwhile must not end a run before it began.
        return self._result(verdict, completed_at=max(self.started_at, self._clock()))

    def unclocked_result(self, verdict: Verdict) -> DeliveryResult:
        """A result without reading the clock, which may be what failed."""
        elapsed = timedelta(seconds=time.monotonic() - self._started_s)
        return self._result(verdict, completed_at=self.started_at + elapsed)

    def _result(self, verdict: Verdict, *, completed_at: datetime) -> DeliveryResult:
        return DeliveryResult(
            execution_id=self.delivery.execution_id,
            claim_token=self.delivery.claim_token,
            outcome=verdict.outcome,
            started_at=self.started_at,
            completed_at=completed_at,
            duration_s=time.monotonic() - self._started_s,
            attempt=self.delivery.attempt,
            reason=verdict.reason,
            response_status=verdict.response_status,
            error_message=verdict.error_message,
            output=verdict.output,
            is_retryable=verdict.is_retryable,
            retry_after_s=verdict.retry_after_s,
            github_run=verdict.github_run,
        )


class Sending(Protocol):
    """What takes deliveries: a Sender here, or the one of a process of its own (SenderProcess)."""

    @property
    def in_flight(self) -> int: ...

    @property
    def free(self) -> int: ...

    @property
    def begun(self) -> int | None: ...

    def start(self) -> None: ...

    def submit(self, deliveries: Sequence[Delivery]) -> None: ...

    def trust(self, until_s: float) -> None: ...

    def stop(self, drain_s: float) -> None: ...

    def hurry(self) -> None: ...

    def is_alive(self) -> bool: ...


class Sender:
    """Sends deliveries from a thread of its own. Thread-safe; started and stopped once.

    `on_result` is called once per delivery, from the sender's thread, and must be cheap (a queue's
    `put`); after `stop` it is called from the thread that submits. `on_begun` is told, in the sender's
    thread, how many more were begun. `clock` gives aware UTC times, `steady` the seconds that
    `Delivery.send_by` and `trust` are of.
    """

    def __init__(
        self,
        config: SenderConfig,
        *,
        on_result: OnResult,
        on_begun: Callable[[int], None] = lambda count: None,
        clock: Clock = utc_now,
        steady: Callable[[], float] = uptime,
    ) -> None:
        self._config = config
        self._on_result = on_result
        self._on_begun = on_begun
        self._trusted_until = math.inf
        self._steady = steady
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = self._begun = 0
        self._is_open = False
        self._thread: threading.Thread | None = None
        # Only the loop's thread touches these.
        self._waiting: deque[Delivery] = deque()
        self._running: dict[asyncio.Task[None], _Attempt] = {}
        self._is_beginning = False

    @property
    def in_flight(self) -> int:
        """Deliveries submitted and without a result."""
        return self._in_flight

    @property
    def max_in_flight(self) -> int:
        """What may be in flight at once: after `start`, no more than open files allow."""
        return self._config.max_in_flight

    @property
    def free(self) -> int:
        """How many more to claim; none while enough wait here to be begun."""
        in_flight = self._in_flight
        return room(in_flight, waiting=in_flight - len(self._running), most=self.max_in_flight)

    @property
    def begun(self) -> int | None:
        """How many have been begun; None while none waits to be, which is for long where something hangs."""
        return self._begun if self._in_flight > len(self._running) else None

    def trust(self, until_s: float) -> None:
        """Begin nothing, and send no first byte, from `until_s` (of `steady`) on: the lease ends then."""
        self._trusted_until = until_s

    def start(self) -> None:
        """Start the thread and return when it can send. Raises what kept it from starting."""
        self._config = fit_to_open_files(self._config)
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="sender", daemon=True)
        self._thread.start()
        ready.result()
        with self._lock:
            self._is_open = True

    def submit(self, deliveries: Sequence[Delivery]) -> None:
        """Take over these deliveries. On a sender that is not running, each is NOT_SENT at once."""
        with self._lock:
            is_open = self._is_open
            if is_open:
                self._in_flight += len(deliveries)
                self._loop.call_soon_threadsafe(self._accept, tuple(deliveries))
        if not is_open:
            for delivery in deliveries:
                self._report(self._attempt(delivery).result(_NOT_SENT))

    def stop(self, drain_s: float) -> None:
        """Refuse new deliveries, wait `drain_s` seconds for those in flight, then cut them off."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if not was_open or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._stop_asked.set_result, drain_s)
        self._thread.join(drain_s + 2 * CANCEL_S)
        if self._thread.is_alive():
            logger.error("sender did not stop in_flight=%d", self._in_flight)

    def hurry(self) -> None:
        """Cut off at once what a stop is still waiting for."""
        if self._thread is not None and not self._is_open:
            # Its loop may have ended meanwhile.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cut_off)

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    # Below: in the loop's thread.

    def _serve(self, ready: Future[None]) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._main(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _main(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_asked: asyncio.Future[float] = self._loop.create_future()
        async with self._config.client() as self._client:
            ready.set_result(None)
            try:
                await self._drain(await self._stop_asked)
            finally:
                self._settle_rest()

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        # Never after a stop: `submit` and `stop` post here in the order in which they took the lock.
        self._waiting.extend(deliveries)
        self._begin_soon()

    def _begin_soon(self) -> None:
        if self._waiting and not self._is_beginning:
            self._is_beginning = True
            self._loop.call_soon(self._begin_some)

    def _begin_some(self) -> None:
        self._is_beginning = False
        count = min(_BEGUN_AT_ONCE, len(self._waiting), self._config.max_in_flight - len(self._running))
        for _ in range(count):
            attempt = self._attempt(self._waiting.popleft())
            task = self._loop.create_task(self._deliver(attempt))
            self._running[task] = attempt
            task.add_done_callback(self._end)
        if count:
            self._begun += count
            self._on_begun(count)
            self._begin_soon()

    async def _deliver(self, attempt: _Attempt) -> None:
        self._settle(attempt, await attempt.run(self._client, user_agent=self._config.user_agent))

    def _end(self, task: asyncio.Task[None]) -> None:
        attempt = self._running.pop(task)
        # A task that was cancelled before its first step has run no line, and so reported nothing.
        if not attempt.is_settled:
            self._settle(attempt, attempt.unclocked_result(attempt.cancelled()))
        self._begin_soon()

    async def _drain(self, drain_s: float) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._hand_back(waiting)
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, drain_s))
        self._cut_off()
        if self._running:
            logger.warning("deliveries cut off by shutdown count=%d", len(self._running))
            await asyncio.wait(self._running, timeout=CANCEL_S)

    def _cut_off(self) -> None:
        for task in self._running:
            task.cancel()

    def _settle_rest(self) -> None:
        """Give a result to whatever still has none, when the loop is about to end."""
        with self._lock:
            self._is_open = False
        waiting, self._waiting = self._waiting, deque()
        self._hand_back(waiting)
        for attempt in self._running.values():
            self._settle(attempt, attempt.unclocked_result(attempt.cancelled()))

    def _hand_back(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            attempt = self._attempt(delivery)
            self._settle(attempt, attempt.result(_NOT_SENT))

    def _attempt(self, delivery: Delivery) -> _Attempt:
        return _Attempt(delivery, clock=self._clock, may_send=self._may_send)

    def _may_send(self, delivery: Delivery, under_way_s: float) -> bool:
        """Whether it may go on, `under_way_s` seconds at most after its beginning."""
        now_s = self._steady()
        is_in_time = delivery.send_by is None or now_s < delivery.send_by + under_way_s
        return is_in_time and now_s < self._trusted_until

    def _settle(self, attempt: _Attempt, result: DeliveryResult) -> None:
        if attempt.is_settled:
            return
        attempt.is_settled = True
        with self._lock:
            self._in_flight -= 1
        self._report(result)

    def _report(self, result: DeliveryResult) -> None:
        try:
            self._on_result(result)
        except Exception:
            # The result is lost to the caller; RESCUE finds its row by the deadline.
            logger.exception("on_result failed execution=%s", result.execution_id)


def room(in_flight: int, *, waiting: int, most: int) -> int:
    """How many more deliveries a sender should get that may have `most`, and has some not begun yet."""
    return 0 if waiting >= _BACKLOG else max(0, most - in_flight)


def send_now(
    delivery: Delivery,
    *,
    config: SenderConfig,
    clock: Clock = utc_now,
) -> DeliveryResult:
    """Send one delivery and wait for its result: a test run.

    Blocks up to the delivery's timeout. Not to be called from a running event loop.
    """

    async def send() -> DeliveryResult:
        async with config.client() as client:
            attempt = _Attempt(delivery, clock=clock, may_send=lambda delivery, under_way_s: True)
            return await attempt.run(client, user_agent=config.user_agent)

    return asyncio.run(send())


def fit_to_open_files(config: SenderConfig) -> SenderConfig:
    """Raise the limit of open files for `config`, and lower what may be in flight to what it gives."""
    limit = raise_fd_limit(config.max_in_flight * _FILES_PER_DELIVERY + _OTHER_FILES)
    room = (limit - min(_OTHER_FILES, limit // 2)) // _FILES_PER_DELIVERY
    return replace(config, max_in_flight=min(config.max_in_flight, room))


def raise_fd_limit(wanted: int) -> int:
    """Raise the soft limit of open files towards `wanted`, as far as the hard one lets; return it.

    Distributions start processes with 1,024, which a full minute of deliveries exceeds.
    """
    if resource is None:  # pragma: no cover
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if target < wanted:
        logger.warning("few open files allowed limit=%d wanted=%d", target, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):
        logger.warning("open file limit not raised limit=%d wanted=%d", soft, wanted)
        return soft
    return target


def _log_unexpected(error: Exception, delivery: Delivery) -> None:
    """Log a traceback without the secrets that an exception's text may quote."""
    token = delivery.github.token if delivery.github else ""
    secrets = [secret for secret in (*delivery.signing_secrets, token) if secret]
    trace = "".join(traceback.format_exception(error))
    logger.error(
        "delivery failed execution=%s job=%s\n%s",
        delivery.execution_id,
        delivery.job_id,
        redact(trace, secrets),
    )
