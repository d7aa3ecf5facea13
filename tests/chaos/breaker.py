"""The breaker: schedulers as processes on one database, jobs due continually, everything failing at random.

It kills, freezes and stops schedulers, disturbs the database, and calls targets that are slow, dead,
failing or silent. Afterwards the accountant (tests.chaos.accountant) compares the slots that were due,
the rows, and the calls that a receiver saw.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import DatabaseError, connection

from cronsched.core import clock
from cronsched.testing.http_sink import Call, HttpSink, Reply
from jobs.models import Job, JobExecution, SchedulerLease
from tests.chaos.harness import (
    STALE_S,
    START_S,
    YEARLY,
    SchedulerProcess,
    Schedulers,
    all_ended,
    make_jobs,
    wait_until,
)

# Seconds. Shorter than the grace, so that only what nobody could have sent is missed.
TIMEOUT_S = 2
LOOK_S = 0.05
RETRIES = 3
# Beyond the deadline of the last run (its timeout and 15 s) and the look of the rescue chore (15 s).
SETTLE_S = 90

Disturb = Callable[[float], None]


@dataclass
class Chaos:
    """How hard: `every_s` is the mean pause between two actions."""

    seconds: float
    schedulers: int = 3
    slots_per_s: float = 8
    every_s: float = 2.5
    least_kills: int = 0
    seed: int = 0
    # Longest disturbance of the database; below the grace, so that a successor can still send.
    outage_s: float = 8.0


@dataclass
class Leads:
    """What the lease showed while it was watched."""

    changes: int = 0
    longest_s: float = 0.0
    measured: int = 0
    # What happened from the death of the leader to its succession, in the longest one.
    longest_story: str = ""
    # Since when the leader is known to be gone; None while nobody is waited for.
    gone_at: float | None = None
    holder: str = ""


@dataclass
class Breaker:
    chaos: Chaos
    schedulers: Schedulers
    sink: HttpSink
    disturbances: Mapping[str, Disturb] = field(default_factory=dict)
    # Where the schedulers find the database; empty: where we do.
    database_url: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    leads: Leads = field(default_factory=Leads)

    def __post_init__(self) -> None:
        self.random = random.Random(self.chaos.seed)
        self.alive: list[SchedulerProcess] = []
        self._restarts: list[float] = []
        self._frozen: list[tuple[float, SchedulerProcess]] = []
        self._disturbing: threading.Thread | None = None
        self.jobs: list[Job] = []
        # What was done, and when.
        self._events: list[tuple[float, str]] = []

    # ---- the run

    def run(self) -> None:
        """Break things for `chaos.seconds`, then let everything come to rest."""
        self._script_targets()
        self._add_scheduler()
        wait_until(self.alive[0].leads, 60, self.schedulers.logs)
        for _ in range(self.chaos.schedulers - 1):
            self._add_scheduler()
        self.jobs = self._make_jobs()
        until = time.monotonic() + self.chaos.seconds
        next_action = time.monotonic() + self.random.expovariate(1 / self.chaos.every_s)
        while (now := time.monotonic()) < until:
            self._look_after(now)
            share = 1 - (until - now) / self.chaos.seconds
            if self.counts["kills"] + 1 < share * (self.chaos.least_kills + 1):
                self._kill(now)
            if now >= next_action:
                self._act(now)
                next_action = now + self.random.expovariate(1 / self.chaos.every_s)
            time.sleep(LOOK_S)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        if self._disturbing is not None:
            self._disturbing.join()
        for _, frozen in self._frozen:
            self._signal(frozen, signal.SIGCONT)
        while len(self.alive) < 2:
            self._add_scheduler()
        wait_until(self._has_leader, START_S, self._story)
        wait_until(self._is_at_rest, SETTLE_S, self._story)

    def _has_leader(self) -> bool:
        self._watch_lease(time.monotonic())
        return any(f":{one.pid}:" in self.leads.holder for one in self.alive)

    def _is_at_rest(self) -> bool:
        try:
            # What is due now was not planned yet; retries may be waiting.
            return all_ended() and not Job.objects.due(clock.now()).exists()
        except DatabaseError:
            connection.close()
            return False

    def _story(self) -> str:
        left = JobExecution.objects.filter(status__in=("queued", "running")).values(
            "id", "status", "attempt", "scheduled_for", "available_at", "deadline_at"
        )
        return f"{list(left)[:10]}\n{self.schedulers.logs()[-4000:]}"

    # ---- jobs and targets

    def _make_jobs(self) -> list[Job]:
        """One-slot jobs spread over the whole time, and some that fire each minute."""
        start = clock.now() + timedelta(seconds=2)
        slots = int(self.chaos.seconds * self.chaos.slots_per_s)
        step = max(self.chaos.seconds - 3, 1) / slots
        kinds = self.random.choices(list(TARGETS), [weight for weight, _ in TARGETS.values()], k=slots)
        urls = [self.sink.url(f"/{kind}/{number}") for number, kind in enumerate(kinds)]
        # Whole seconds, as a due minute is.
        due = [(start + timedelta(seconds=n * step)).replace(microsecond=0) for n in range(slots)]
        jobs = make_jobs(urls, due, expression=YEARLY)
        minute = clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
        every = [self.sink.url(f"/plain/every-{number}") for number in range(20)]
        jobs += make_jobs(every, [minute] * len(every), expression="* * * * *", first_number=slots)
        flaky = [job.pk for job in jobs if "/flaky/" in job.target_url]
        for begin in range(0, len(flaky), 500):
            Job.objects.filter(pk__in=flaky[begin : begin + 500]).update(max_retries=RETRIES)
        return jobs

    def _script_targets(self) -> None:
        seen: Counter[str] = Counter()

        def answer(call: Call) -> Reply:
            kind = call.path.split("/")[1]
            seen[call.path] += 1
            return TARGETS[kind][1](seen[call.path]) if kind in TARGETS else Reply()

        self.sink.by_default(answer)

    # ---- breaking

    def _act(self, now: float) -> None:
        actions: list[tuple[float, Callable[[float], None]]] = [
            (5, self._kill), (2, self._freeze), (1, self._terminate),
        ]  # fmt: skip
        if self.disturbances:
            actions.append((2, self._disturb))
        ((_, act),) = self.random.choices(actions, [weight for weight, _ in actions])
        act(now)

    def _victim(self) -> SchedulerProcess | None:
        """The leader two times of three: the others only stand by."""
        frozen = [process for _, process in self._frozen]
        # One that has not started yet does nothing that could be broken.
        able = [process for process in self.alive if process not in frozen and process.has_started()]
        if not able:
            return None
        leading = [process for process in able if f":{process.pid}:" in self.leads.holder]
        return self.random.choice(leading if leading and self.random.random() < 0.67 else able)

    def _kill(self, now: float) -> None:
        if (victim := self._victim()) is None:
            return
        victim.kill()
        self._note(now, "kills", victim)
        self._has_gone(victim, now)

    def _terminate(self, now: float) -> None:
        if (victim := self._victim()) is None:
            return
        self._signal(victim, signal.SIGTERM)
        self._note(now, "terminations", victim)
        # It drains meanwhile; its place is taken as after a kill.
        self._has_gone(victim, now, is_measured=False)

    def _freeze(self, now: float) -> None:
        if (victim := self._victim()) is None:
            return
        self._signal(victim, signal.SIGSTOP)
        self._note(now, "freezes", victim)
        self._frozen.append((now + self.random.uniform(0.5, 3 * STALE_S), victim))
        # It may have been the one to take over.
        self.leads.gone_at = None

    def _disturb(self, now: float) -> None:
        if self._disturbing is not None and self._disturbing.is_alive():
            return
        name = self.random.choice(list(self.disturbances))
        seconds = self.random.uniform(0.5, self.chaos.outage_s)
        self._note(now, f"database {name}")
        self.leads.gone_at = None
        self._disturbing = threading.Thread(target=self.disturbances[name], args=(seconds,))
        self._disturbing.start()

    def _has_gone(self, victim: SchedulerProcess, now: float, *, is_measured: bool = True) -> None:
        self.alive.remove(victim)
        self._restarts.append(now + self.random.uniform(0.2, 3.0))
        # One that stood by may have been the one to take over: then nobody's time is taken.
        was_leading = f":{victim.pid}:" in self.leads.holder
        is_measured = is_measured and was_leading and self._is_calm() and self._standbys() > 0
        self.leads.gone_at = now if is_measured else None

    def _is_calm(self) -> bool:
        """Whether nothing but the leader's death keeps a standby waiting.

        A process that is frozen while it writes to a file keeps everybody out: docs/promises.md says so.
        """
        is_disturbed = self._disturbing is not None and self._disturbing.is_alive()
        return not is_disturbed and not (self._frozen and connection.vendor == "sqlite")

    def _note(self, now: float, what: str, who: SchedulerProcess | None = None) -> None:
        self.counts[what] += 1
        self._events.append((now, f"{what} {who.log.stem}" if who else what))

    def _standbys(self) -> int:
        frozen = [process for _, process in self._frozen]
        return sum(one not in frozen and one.has_started() for one in self.alive)

    # ---- looking after

    def _look_after(self, now: float) -> None:
        for at, process in list(self._frozen):
            if now >= at:
                self._frozen.remove((at, process))
                self._signal(process, signal.SIGCONT)
        while self._restarts and min(self._restarts) <= now:
            self._restarts.remove(min(self._restarts))
            self._add_scheduler()
        self._watch_lease(now)

    def _watch_lease(self, now: float) -> None:
        if self._disturbing is not None and self._disturbing.is_alive():
            return
        try:
            holder = SchedulerLease.objects.values_list("holder", flat=True).first() or ""
        except DatabaseError:
            connection.close()
            return
        if not holder or holder == self.leads.holder:
            return
        self.leads.holder = holder
        self.leads.changes += 1
        if self.leads.gone_at is not None:
            self._measure(now, since=self.leads.gone_at)
            self.leads.gone_at = None

    def _measure(self, now: float, *, since: float) -> None:
        self.leads.measured += 1
        if now - since > self.leads.longest_s:
            self.leads.longest_s = now - since
            around = [f"{at - since:+.1f} s {what}" for at, what in self._events if since - 10 < at <= now]
            self.leads.longest_story = f"{', '.join(around)}; then {self.leads.holder}"

    def _add_scheduler(self) -> None:
        env = {"WEBHOOK_TIMEOUT_SECONDS": str(TIMEOUT_S)}
        if self.database_url:
            env["DATABASE_URL"] = self.database_url
        self.alive.append(self.schedulers.start(**env))

    def _signal(self, process: SchedulerProcess, number: int) -> None:
        if process.process.poll() is None:
            process.process.send_signal(number)


def _always(**values: object) -> Callable[[int], Reply]:
    return lambda count: Reply(**values)  # type: ignore[arg-type]


# Path → (weight, the answer to the n-th call of one path).
TARGETS: Mapping[str, tuple[float, Callable[[int], Reply]]] = {
    "plain": (10, _always()),
    "slow": (3, _always(delay_s=TIMEOUT_S * 0.6)),
    "silent": (1, _always(delay_s=TIMEOUT_S * 5)),
    "dead": (1, _always(reset=True)),
    "refusing": (1, _always(status=404)),
    "flaky": (3, lambda count: Reply(status=503) if count < RETRIES else Reply()),
}
