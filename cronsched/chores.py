"""The leader's chores: what happens once in the deployment, on a schedule of its own.

APScheduler runs them from `DjangoJobStore`, so that the admin site shows them and their history.
The store alone cannot be trusted with a rare chore (one that falls due while its scheduler is
paused is skipped for a whole period), so each chore decides from data: it looks often, does its
work when its own last success (`ChoreState`) says that it is due, and what is overdue at start runs
at start. Every chore rechecks the lease before it works.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers import SchedulerNotRunningError
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.interval import IntervalTrigger
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, close_old_connections, connection
from django_apscheduler.jobstores import DjangoJobStore
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from cronsched.core import clock
from cronsched.core.db import is_answering
from jobs.engine.follow.rows import forget_namings
from jobs.engine.lease import LeaseKeeper, Term
from jobs.engine.rescue import PATIENCE_S, rescue_stuck
from jobs.engine.tally import count_closed_hours, recount
from jobs.engine.tell import sweep_untold
from jobs.models import ChoreState
from jobs.services.bulk_upload.staged import delete_old_uploads
from jobs.services.github_check import look_for_expiry
from jobs.services.history import prune_executions
from jobs.services.maintenance import pull_back, reconcile
from notifications.digest import daily_edition, send_digests, weekly_edition
from notifications.github_tokens import announce_expiring
from notifications.handlers import tell_changed_jobs
from notifications.reminders import send_end_date_reminders
from notifications.services.outbox import give_up_what_waited
from notifications.services.retention import prune_messages
from notifications.untold import sweep_changes

logger = logging.getLogger(__name__)

# django_apscheduler keeps the text of an exception in a column of 1,000 characters.
ERROR_TEXT_MAX = 900
MONDAY = 0
CHORE_HISTORY = timedelta(days=2)
PULL_BACK_EVERY = timedelta(hours=1)
# How soon a scheduler that died is built anew, and how soon its death is seen.
REBUILD_S = 5.0
LOOK_S = 0.2


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
        return last is None or last < clock.last_at(now, hour, minute)

    return is_due


def at_start_and_hourly(last: datetime | None, now: datetime) -> bool:
    """Due once in this process's lead, and then each hour."""
    return last is None or now - last >= PULL_BACK_EVERY or (_led_since is not None and last < _led_since)


def _pull_back(term: Term, now: datetime) -> None:
    pull_back(now=now)


def weekly_at(weekday: int, hour: int, minute: int = 0) -> Callable[[datetime | None, datetime], bool]:
    """Due once a week, from that day (Monday is 0) and hour on in the scheduler's timezone."""

    def is_due(last: datetime | None, now: datetime) -> bool:
        return last is None or last < clock.last_at(now, hour, minute, weekday=weekday)

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
    """What would only grow: expired tokens, sessions, uploads, names of runs, and the chores' own history."""
    call_command("flushexpiredtokens", verbosity=0)
    call_command("clearsessions", verbosity=0)
    DjangoJobExecution.objects.filter(run_time__lt=now - CHORE_HISTORY).delete()
    delete_old_uploads(now=now)
    forget_namings(now=now)


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


def _tend_messages(term: Term, now: datetime) -> None:
    """What handlers could not tell is told; what no channel took for a day is given up."""
    sweep_changes(tell_changed_jobs, now=now)
    give_up_what_waited(now=now)


def _recheck(term: Term) -> None:
    if _keeper is not None and _keeper.trusted_term() != term:
        raise ChoreFailed("The lead was lost before all that is old was pruned.")


def _tally(term: Term, now: datetime) -> None:
    count_closed_hours(now=now, term=term)


def _recount(term: Term, now: datetime) -> None:
    recount(now=now, term=term)


def _github_tokens(term: Term, now: datetime) -> None:
    """Until when tokens are good, as GitHub tells it; admins hear of it in advance."""
    announce_expiring(look_for_expiry(now=now), now=now)


def all_chores() -> tuple[Chore, ...]:
    return (
        Chore(name="pull_back", work=_pull_back, look_every_s=60, is_due=at_start_and_hourly),
        Chore(name="reconcile", work=_reconcile, look_every_s=settings.SCHEDULER_POLL_SECONDS),
        Chore(name="rescue", work=_rescue, look_every_s=15),
        Chore(name="reminders", work=_remind, look_every_s=60, is_due=weekly_at(MONDAY, 9)),
        Chore(name="messages", work=_tend_messages, look_every_s=60),
        # For the time up to 08:00; a minute later the runs that ended before are all recorded.
        Chore(name="daily_digest", work=_daily_digest, look_every_s=30, is_due=daily_at(8, 1)),
        Chore(name="weekly_report", work=_weekly_report, look_every_s=30, is_due=weekly_at(MONDAY, 8, 1)),
        Chore(name="prune_messages", work=_prune_messages, look_every_s=600, is_due=daily_at(3, 45)),
        Chore(name="flush", work=_flush, look_every_s=600, is_due=daily_at(3, 30)),
        Chore(name="prune", work=_prune, look_every_s=600, is_due=daily_at(3, 45)),
        Chore(name="tally", work=_tally, look_every_s=60),
        Chore(name="github_tokens", work=_github_tokens, look_every_s=600, is_due=daily_at(9)),
        Chore(name="recount", work=_recount, look_every_s=600, is_due=daily_at(4, 30)),
    )


# The store pickles a reference to `run_chore` and the chore's name, nothing else; the process that
# leads says here how it knows that it leads.
_keeper: LeaseKeeper | None = None
_led_since: datetime | None = None


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
    last = state.last_success_at
    # A success that lies ahead is of a clock that has been set back since.
    if not chore.is_due(None if last and last > now else last, now):
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
    """APScheduler on Django's store, in threads of its own; started with the lead, ended with it.

    Its loop ends for good when the store fails it once (a locked file, a server that fails over), at
    start or later: it is watched, and built anew. Neither `start` nor `stop` touches the database.
    """

    def __init__(self, *, rebuild_s: float = REBUILD_S) -> None:
        self._rebuild_s = rebuild_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, keeper: LeaseKeeper) -> None:
        global _keeper, _led_since
        _keeper, _led_since = keeper, clock.now()
        self.stop()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._ended,), name="chores", daemon=True)
        self._thread.start()

    def stop(self, *, wait_s: float = 0.0) -> None:
        """No further chore. One that is under way finds the lease gone at its next step."""
        self._ended.set()
        if self._thread is not None and wait_s:
            self._thread.join(wait_s)

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                self._run_once(ended)
            except Exception:
                logger.exception("chores could not be started, they are started anew")
            finally:
                connection.close()
            ended.wait(self._rebuild_s)

    def _run_once(self, ended: threading.Event) -> None:
        """Build the scheduler and keep it until the lead is lost, or until its loop dies."""
        scheduler = _build()
        loop = threading.Thread(target=_serve, args=(scheduler,), name="chores-loop", daemon=True)
        loop.start()
        while loop.is_alive() and not ended.wait(LOOK_S):
            pass
        while True:
            # Not running yet, or not any more. A chore under way is waited for, here and nowhere else.
            with contextlib.suppress(SchedulerNotRunningError):
                scheduler.shutdown(wait=True)
            loop.join(LOOK_S)
            if not loop.is_alive():
                return


def _serve(scheduler: Any) -> None:
    try:
        scheduler.start()
    except Exception:
        logger.exception("chores have stopped, they are started anew")
    finally:
        connection.close()


def _build() -> Any:
    scheduler: Any = BlockingScheduler(
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
