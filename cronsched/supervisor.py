"""Keeps a few programs running: starts them, starts again what dies, stops all of it together.

Standard library only, one thread, and asleep until a signal, a child's end or a deadline wakes it.

What goes wrong, and what happens then:

- A child dies: what is left of its process group is killed (an orphaned worker would hold the
  port), and it starts again after a back-off that doubles with each death. A child that stayed up
  for `healthy_s` starts from the beginning of the back-off.
- SIGINT, SIGTERM or SIGHUP: every child gets SIGTERM and its own `stop_s` to finish what is in
  flight; then its whole group is killed. A second signal leaves five seconds, a third none.
- The supervisor itself is killed with -9: on Linux the kernel sends its children SIGTERM
  (PR_SET_PDEATHSIG); elsewhere a small watchdog process does, when its pipe to us closes.

Children lead process groups of their own, so that Ctrl-C in a terminal reaches the supervisor
alone and every child hears of it once, as SIGTERM.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROBE_EVERY_S = 0.1
# What a second Ctrl-C leaves every child before it is killed.
HASTENED_STOP_S = 5.0
# How long the watchdog lets orphans finish after their SIGTERM.
WATCHDOG_STOP_S = 60.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. `stop_s` is the time between SIGTERM and SIGKILL; `hasten` asks for a quicker end."""

    name: str
    argv: Sequence[str]
    stop_s: float = 10.0
    hasten: signal.Signals = signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class Backoff:
    first_s: float = 1.0
    most_s: float = 30.0
    healthy_s: float = 60.0

    def wait_s(self, deaths: int) -> float:
        """The pause after the `deaths`-th death in a row (1 and up)."""
        return min(self.first_s * 2.0 ** min(deaths - 1, 30), self.most_s)


@dataclass(kw_only=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0  # monotonic, as all times here
    start_at: float | None = 0.0  # None: running, or not to be started again
    kill_at: float | None = None
    deaths: int = 0


def _print(line: str) -> None:
    # A closed terminal must not end the supervision.
    with contextlib.suppress(OSError, ValueError):
        print(f"cronsched: {line}", flush=True)  # noqa: T201


class Supervisor:
    """Runs `programs` until it is told to stop.

    `probe` is called every PROBE_EVERY_S until it returns True, to say when the whole is ready; it
    must answer quickly, since nothing else happens meanwhile.
    """

    def __init__(
        self,
        programs: Iterable[Program],
        *,
        backoff: Backoff | None = None,
        probe: Callable[[], bool] | None = None,
        say: Callable[[str], None] = _print,
        kernel_kills_orphans: bool = sys.platform == "linux",
    ) -> None:
        self._children = [_Child(program=program) for program in programs]
        self._backoff = backoff or Backoff()
        self._probe = probe
        self._say = say
        self._tie = _tie_to_parent() if kernel_kills_orphans else None
        self._watchdog = None if kernel_kills_orphans else _Watchdog()
        self._stops = 0  # stop signals so far
        self._killed = False
        self.turns = 0  # of the loop: a test counts them, a busy loop would show

    def run(self) -> int:
        """Block until everything has stopped; 0, or 1 where something had to be killed.

        Must run in the main thread: signal handlers and PR_SET_PDEATHSIG both belong to it.
        """
        with _SignalPipe() as signals:
            while not self._finished():
                self.turns += 1
                self._start_due(time.monotonic())
                self._call_probe()
                signals.wait(self._sleep_s(time.monotonic()))
                for name in signals.taken():
                    self._stop(name, time.monotonic())
                self._reap(time.monotonic())
                self._kill_overdue(time.monotonic())
        if self._watchdog:
            self._watchdog.close()
        return 1 if self._killed else 0

    def _finished(self) -> bool:
        return self._stops > 0 and not any(child.process for child in self._children)

    def _sleep_s(self, now: float) -> float | None:
        """Seconds until the next deadline; None sleeps until a signal (SIGCHLD included)."""
        deadlines = [
            at for child in self._children for at in (child.start_at, child.kill_at) if at is not None
        ]
        if self._probe:
            deadlines.append(now + PROBE_EVERY_S)
        return max(min(deadlines) - now, 0.0) if deadlines else None

    def _call_probe(self) -> None:
        if self._stops:
            self._probe = None
        if self._probe and self._probe():
            self._probe = None

    # ---- starting ---------------------------------------------------------------------------

    def _start_due(self, now: float) -> None:
        for child in self._children:
            if child.start_at is not None and child.start_at <= now:
                self._start(child, now)

    def _start(self, child: _Child, now: float) -> None:
        child.started_at = now
        try:
            child.process = subprocess.Popen(  # noqa: S603, our own programs
                child.program.argv, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=self._tie
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._schedule_restart(child, f"cannot be started ({error})", now)
            return
        child.start_at = None
        self._watch("+", child.process.pid)
        self._say(f"{child.program.name} started (process {child.process.pid})")

    def _schedule_restart(self, child: _Child, what: str, now: float) -> None:
        if now - child.started_at >= self._backoff.healthy_s:
            child.deaths = 0
        child.deaths += 1
        wait_s = self._backoff.wait_s(child.deaths)
        child.start_at = now + wait_s
        self._say(f"{child.program.name} {what}; starting it again in {wait_s:g} s")

    # ---- ending -----------------------------------------------------------------------------

    def _reap(self, now: float) -> None:
        for child in self._children:
            process = child.process
            code = process.poll() if process else None
            if process is None or code is None:
                continue
            # The leader's end does not end its group: what is left of it would hold the port.
            _signal_group(process.pid, signal.SIGKILL)
            self._watch("-", process.pid)
            child.process, child.kill_at = None, None
            if self._stops:
                self._say(f"{child.program.name} stopped")
            else:
                self._schedule_restart(child, _describe_exit(code), now)

    def _stop(self, signal_name: str, now: float) -> None:
        """Ask every child to end; asked again, more and more firmly."""
        self._stops += 1
        if self._stops == 1:
            self._say(f"stopping ({signal_name}); once more to hurry")
        for child in self._children:
            child.start_at = None
            if child.process is None:
                continue
            if self._stops == 1:
                child.kill_at = now + child.program.stop_s
                child.process.send_signal(signal.SIGTERM)
            elif self._stops == 2:
                child.kill_at = min(child.kill_at or now, now + HASTENED_STOP_S)
                child.process.send_signal(child.program.hasten)
            else:
                child.kill_at = now

    def _kill_overdue(self, now: float) -> None:
        for child in self._children:
            if child.process and child.kill_at is not None and child.kill_at <= now:
                self._say(f"{child.program.name} did not stop in time: killed")
                child.kill_at = None
                self._killed = True
                _signal_group(child.process.pid, signal.SIGKILL)

    def _watch(self, mark: str, group: int) -> None:
        if self._watchdog:
            self._watchdog.tell(f"{mark}{group}\n")


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS answers EPERM where only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _tie_to_parent() -> Callable[[], None]:
    """What a child calls between fork and exec, so that it gets SIGTERM when this process ends.

    libc is loaded here, before any fork: after it, only the plain call is safe.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def tie() -> None:
        # Our own handler is still in place here and would swallow the signal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        # The parent may have gone before the call; no signal comes any more.
        if os.getppid() != parent:
            os._exit(1)

    return tie


@dataclass
class _SignalPipe:
    """Turns signals into something one can sleep on; restores the handlers at the end."""

    _names: list[str] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> _SignalPipe:
        self._reader, writer = socket.socketpair()
        self._stack.enter_context(self._reader)
        self._stack.enter_context(writer)
        for end in (self._reader, writer):
            end.setblocking(False)
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._selector.register(self._reader, selectors.EVENT_READ)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._stack.callback(signal.set_wakeup_fd, before)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # nohup ignores SIGHUP for us: leave it so.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._stack.callback(signal.signal, number, signal.signal(number, self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._names.append(signal.Signals(number).name)

    def wait(self, timeout_s: float | None) -> None:
        self._selector.select(timeout_s)
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def taken(self) -> Iterator[str]:
        """The stop signals since the last call."""
        while self._names:
            yield self._names.pop(0)


class _Watchdog:
    """A process that ends our children's groups once our end of its pipe closes, however we ended."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cronsched.supervisor"],
            stdin=reader,
            # A session of its own: a terminal's Ctrl-C or hang-up does not reach it.
            start_new_session=True,
        )
        os.close(reader)

    def tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._writer, line.encode())

    def close(self) -> None:
        os.close(self._writer)
        self._process.wait()


def watch_over(lines: IO[str]) -> None:
    """The watchdog's life: read `+group` and `-group` until the pipe closes, then end what is left."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        _signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + WATCHDOG_STOP_S
    while groups and time.monotonic() < deadline:
        time.sleep(0.2)
        groups = {group for group in groups if _group_lives(group)}
    for group in groups:
        _signal_group(group, signal.SIGKILL)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    watch_over(sys.stdin)
