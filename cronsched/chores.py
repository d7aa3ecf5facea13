"""The leader's chores: what happens once in the deployment, on a schedule of its own.

APScheduler runs them from `DjangoJobStore`, so that the admin site shows them and their history.
The store alone cannot be trusted with a rare chore (one that falls due while its scheduler is
paused is skipped for a whole period), so each chore decides from data: it looks often, does its
work when its own last success (`ChoreState`) says that it is due, and what is overdue at start runs
at start. Every chore rechecks the lease before it works.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, close_old_connections, connection
from django_apscheduler.jobstores import DjangoJobStore
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from cronsched.core import clock
from cronsched.core.db import is_answering
from jobs.engine.lease import LeaseKeeper, Term
from jobs.engine.rescue import PATIENCE_S, rescue_stuck
from jobs.engine.tally import count_closed_hours, recount
from jobs.engine.tell import sweep_untold
from jobs.models import ChoreState
from jobs.services.history import prune_executions
from jobs.services.maintenance import reconcile
from notifications.digest import daily_edition, send_digests, weekly_edition
from notifications.reminders import send_end_date_reminders
from notifications.services.retention import prune_messages

logger = logging.getLogger(__name__)

# django_apscheduler keeps the text of an exception in a column of 1,000 characters.
ERROR_TEXT_MAX = 900
MONDAY = 0
CHORE_HISTORY = timedelta(days=2)


class ChoreFailed(Exception):
    """What the chore store is told of a failure: cut to its column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chore:
    """`look_every_s`: how often it looks; `is_due(last_success, now)`: whether there is work."""

    name: str
    work: Callable[[Term, datetime], object]
    look_every_s: float
    is_due: Callable[[datetime | None, datetime], bool] = lambda last, now: True


def daily_at(hour: int, minute: int = 0) -> Callable[[datetime | None, datetime], bool]:
    """Due once a day, from that time on in the scheduler's timezone; overdue if it never ran."""

    def is_due(last: datetime | None, now: datetime) -> bool:
        local = now.astimezone(clock.scheduler_zone())
        latest = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if latest > local:
            latest -= timedelta(days=1)
        return last is None or last < latest

    return is_due


def weekly_at(weekday: int, hour: int) -> Callable[[datetime | None, datetime], bool]:
    """Due once a week, from that day (Monday is 0) and hour on in the scheduler's timezone."""

    def is_due(last: datetime | None, now: datetime) -> bool:
        local = now.astimezone(clock.scheduler_zone())
        day = local - timedelta(days=(local.weekday() - weekday) % 7)
        latest = day.replace(hour=hour, minute=0, second=0, microsecond=0)
        if latest > local:
            latest -= timedelta(days=7)
        return last is None or last < latest

    return is_due


def _reconcile(term: Term, now: datetime) -> None:
    done = reconcile(now=now)
    if done.paused or done.removed:
        logger.info("reconciled paused=%d removed=%d", done.paused, done.removed)
    sweep_untold(now=now)


def _rescue(term: Term, now: datetime) -> None:
    # After a silence of the database every sender has results to write: those are better than a guess.
    if _keeper is None or _keeper.steady_s() >= PATIENCE_S:
        rescue_stuck(now=now, term=term)


def _flush(term: Term, now: datetime) -> None:
    """What would only grow: expired tokens, sessions, and the chores' own history."""
    call_command("flushexpiredtokens", verbosity=0)
    call_command("clearsessions", verbosity=0)
    DjangoJobExecution.objects.filter(run_time__lt=now - CHORE_HISTORY).delete()


def _remind(term: Term, now: datetime) -> None:
    logger.info("reminded count=%d", send_end_date_reminders(now=now))


def _daily_digest(term: Term, now: datetime) -> None:
    logger.info("daily digest users=%d", send_digests(daily_edition(now), now=now))


def _weekly_report(term: Term, now: datetime) -> None:
    logger.info("weekly report users=%d", send_digests(weekly_edition(now), now=now))


def _prune(term: Term, now: datetime) -> None:
    """Runs older than EXECUTION_RETENTION_DAYS; what is left when the lead is lost is the successor's."""
    for _ in prune_executions(days=settings.EXECUTION_RETENTION_DAYS, now=now):
        _recheck(term)


def _prune_messages(term: Term, now: datetime) -> None:
    """Notices and messages older than NOTIFICATION_RETENTION_DAYS, likewise."""
    for _ in prune_messages(days=settings.NOTIFICATION_RETENTION_DAYS, now=now):
        _recheck(term)


def _recheck(term: Term) -> None:
    if _keeper is not None and _keeper.trusted_term() != term:
        raise ChoreFailed("The lead was lost before all that is old was pruned.")


def _tally(term: Term, now: datetime) -> None:
    count_closed_hours(now=now, term=term)


def _recount(term: Term, now: datetime) -> None:
    recount(now=now, term=term)


def all_chores() -> tuple[Chore, ...]:
    return (
        Chore(name="reconcile", work=_reconcile, look_every_s=settings.SCHEDULER_POLL_SECONDS),
        Chore(name="rescue", work=_rescue, look_every_s=15),
        Chore(name="reminders", work=_remind, look_every_s=60, is_due=weekly_at(MONDAY, 9)),
        Chore(name="daily_digest", work=_daily_digest, look_every_s=60, is_due=daily_at(8)),
        Chore(name="weekly_report", work=_weekly_report, look_every_s=60, is_due=weekly_at(MONDAY, 8)),
        Chore(name="prune_messages", work=_prune_messages, look_every_s=600, is_due=daily_at(3, 45)),
        Chore(name="flush", work=_flush, look_every_s=600, is_due=daily_at(3, 30)),
        Chore(name="prune", work=_prune, look_every_s=600, is_due=daily_at(3, 45)),
        Chore(name="tally", work=_tally, look_every_s=60),
        Chore(name="recount", work=_recount, look_every_s=600, is_due=daily_at(4, 30)),
    )


# The store pickles a reference to `run_chore` and the chore's name, nothing else; the process that
# leads says here how it knows that it leads.
_keeper: LeaseKeeper | None = None


def run_chore(name: str) -> None:
    """What the chore scheduler calls. Raises ChoreFailed, with the whole story in the log."""
    close_old_connections()
    term = _keeper.trusted_term() if _keeper else None
    chore = next((chore for chore in all_chores() if chore.name == name), None)
    if term is None or chore is None:
        return
    try:
        run_if_due(chore, term=term, now=clock.now())
    except Exception as error:
        if isinstance(error, DatabaseError) and not is_answering():
            # Said by the lease; the chore is done at its next look.
            return
        logger.exception("chore failed name=%s", name)
        raise ChoreFailed(f"{type(error).__name__}: {error}"[:ERROR_TEXT_MAX]) from None
    finally:
        connection.close()


def run_if_due(chore: Chore, *, term: Term, now: datetime) -> bool:
    """Do the chore's work when its last success says it is due, and note how it went."""
    state, _ = ChoreState.objects.get_or_create(name=chore.name)
    if not chore.is_due(state.last_success_at, now):
        return False
    noted = ChoreState.objects.filter(name=chore.name)
    try:
        chore.work(term, now)
    except Exception as error:
        noted.update(last_started_at=now, last_error=f"{type(error).__name__}: {error}"[:ERROR_TEXT_MAX])
        raise
    noted.update(last_started_at=now, last_success_at=now, last_error="")
    return True


class ChoreScheduler:
    """APScheduler on Django's store; built when the lead is gained, shut down when it is lost."""

    def __init__(self) -> None:
        self._scheduler: Any = None
        # Started in the ticker's thread, stopped in the lease's.
        self._lock = threading.Lock()

    def start(self, keeper: LeaseKeeper) -> None:
        global _keeper
        _keeper = keeper
        self.stop()
        with self._lock:
            self._scheduler = self._build()
            self._scheduler.start()

    def stop(self, *, wait: bool = False) -> None:
        """No further chore; with `wait`, one that is under way is waited for."""
        with self._lock:
            if self._scheduler is not None:
                self._scheduler.shutdown(wait=wait)
                self._scheduler = None

    def _build(self) -> Any:
        scheduler: Any = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        scheduler.add_jobstore(DjangoJobStore(), "default")
        chores = all_chores()
        DjangoJob.objects.exclude(id__in=[chore.name for chore in chores]).delete()
        for number, chore in enumerate(chores):
            scheduler.add_job(
                "cronsched.chores:run_chore",
                IntervalTrigger(seconds=int(chore.look_every_s), timezone=UTC),
                args=[chore.name],
                id=chore.name,
                name=chore.name,
                # What is overdue runs at start, one after another.
                next_run_time=clock.now() + timedelta(seconds=1 + number),
                replace_existing=True,
            )
        return scheduler
