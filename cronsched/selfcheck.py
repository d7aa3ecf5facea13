"""What `manage.py selfcheck` looks at: one function per question, each with the way out.

A check yields findings. `FAILED` is something to mend now and makes the command end non-zero,
`NOTED` is what an operator chose and should know. Nothing here changes anything; with `send`, a test
message goes out by mail and to Slack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final

from croniter import croniter
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min, Model

from accounts.models import User
from cronsched import env
from cronsched.core.clock import now as read_clock
from cronsched.core.crypto import SecretUnreadable, decrypt
from cronsched.core.db import DatabaseNow, database_now
from jobs import schedule
from jobs.choices import CatchUp, Status
from jobs.models import GitHubToken, Job, JobExecution
from jobs.services.status import scheduler_status
from notifications.services.slack_settings import get_slack_settings, readable_webhook_url
from notifications.services.slack_test import send_slack_test

# Seconds.
SKEW_MOST: Final = 2.0
LAG_MOST: Final = 5.0
STUCK_AFTER: Final = 60.0
SLOTS_COMPARED: Final = 4
SECRET_LEAST: Final = 32
# What a run needs, and nobody looks at until it fails; Slack's is a check of its own.
STORED: Final[tuple[tuple[type[Model], str], ...]] = ((Job, "signing_secret"), (GitHubToken, "secret"))


class Grade(StrEnum):
    OK = "ok"
    NOTED = "note"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    what: str
    grade: Grade
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    now: datetime
    send: bool = False


Check = Callable[[Options], Iterator[Finding]]


def run_checks(options: Options) -> Iterator[Finding]:
    """Every finding, as it is made. Without a database the rest has nothing to ask."""
    reached = list(database(options))
    yield from reached
    if any(finding.grade is Grade.FAILED for finding in reached):
        return
    for check in CHECKS:
        try:
            yield from check(options)
        except Exception as error:
            text = f"This check broke off: {type(error).__name__}: {error}"
            yield failed(check.__name__.replace("_", " "), text)


def ok(what: str, text: str) -> Finding:
    return Finding(what=what, grade=Grade.OK, text=text)


def noted(what: str, text: str) -> Finding:
    return Finding(what=what, grade=Grade.NOTED, text=text)


def failed(what: str, text: str) -> Finding:
    return Finding(what=what, grade=Grade.FAILED, text=text)


# ---- the database -----------------------------------------------------------------------------


def database(options: Options) -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        yield failed("database", f"It cannot be reached: {error}. Check DATABASE_URL and the server.")
        return
    if waiting:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in waiting[:3])
        yield failed("database", f"{len(waiting)} migrations are missing ({names}): run manage.py migrate.")
    else:
        yield ok("database", f"{connection.display_name} answers, and is migrated.")


def variables(options: Options) -> Iterator[Finding]:
    """Names that nobody reads: a slip leaves the default in force, silently."""
    lines = env.warnings()
    yield from (noted("environment", line) for line in lines)
    if not lines:
        yield ok("environment", "every variable that looks like ours is read")


def clock_skew(options: Options) -> Iterator[Finding]:
    skew_s = (read_clock() - database_now()).total_seconds()
    if abs(skew_s) > SKEW_MOST:
        yield failed(
            "clock", f"This host's clock is {skew_s:+.1f} s from the database's: let NTP set both hosts."
        )
    else:
        yield ok("clock", f"{skew_s:+.2f} s from the database's.")


# ---- the scheduler ----------------------------------------------------------------------------


def leader(options: Options) -> Iterator[Finding]:
    if not settings.SCHEDULER_ENABLED:
        yield noted("leader", "SCHEDULER_ENABLED=false: this installation fires nothing.")
        return
    status = scheduler_status(now=options.now)
    if not status.scheduler_running:
        last = status.last_heartbeat_at or "never"
        yield failed("leader", f"No scheduler leads (last heartbeat: {last}). Start manage.py runscheduler.")
    else:
        yield ok("leader", f"{status.leader} leads, term {status.term}.")


def overdue_slots(options: Options) -> Iterator[Finding]:
    late = options.now - timedelta(seconds=settings.SCHEDULER_MISFIRE_GRACE_SECONDS)
    # A job that catches up with all of its slots may have some before it.
    overdue = Job.objects.filter(next_run_at__lt=late).exclude(catch_up=CatchUp.ALL)
    count = overdue.count()
    if count:
        earliest = overdue.aggregate(at=Min("next_run_at"))["at"]
        yield failed(
            "due slots",
            f"{count} jobs are due and not planned, since {earliest:%Y-%m-%d %H:%M} UTC: "
            "is the scheduler running, and does its log complain?",
        )
    else:
        yield ok("due slots", "Every due slot has been planned.")


def lag(options: Options) -> Iterator[Finding]:
    oldest = JobExecution.objects.sendable(options.now).aggregate(at=Min("available_at"))["at"]
    lag_s = (options.now - oldest).total_seconds() if oldest else 0.0
    if lag_s > LAG_MOST:
        yield failed(
            "lag",
            f"A run has waited {lag_s:.0f} s to be sent: no leader, or more calls in flight than fit. "
            "Look at slow targets, and at the limit of open files.",
        )
    else:
        yield ok("lag", f"The oldest run has waited {lag_s:.1f} s to be sent.")


def ticks(options: Options) -> Iterator[Finding]:
    """How late the leader's ticks are, as it tells with each renewal of its lease."""
    worst_ms = scheduler_status(now=options.now).tick_lag_worst_ms
    if worst_ms is None:
        return
    if worst_ms > LAG_MOST * 1000:
        yield failed(
            "ticks",
            f"The leader's ticks were up to {worst_ms / 1000:.1f} s late within a minute: its machine is out "
            "of breath, or its database is slow.",
        )
    else:
        yield ok("ticks", f"At most {worst_ms / 1000:.1f} s late within the last minute.")


def stuck_runs(options: Options) -> Iterator[Finding]:
    stuck = JobExecution.objects.filter(status=Status.RUNNING, deadline_at__lt=DatabaseNow(-STUCK_AFTER))
    if count := stuck.count():
        yield failed(
            "stuck runs",
            f"{count} runs are past their deadline; a leader ends them within a minute. Is one there?",
        )
    else:
        yield ok("stuck runs", "None.")


def evaluators(options: Options) -> Iterator[Finding]:
    """Ours against croniter, in UTC: far from clock changes, where croniter departs from Debian's cron."""
    compared, apart, unlike = 0, 0, []
    for expression in Job.objects.active().order_by().values_list("cron_expression", flat=True).distinct():
        if _has_known_difference(expression):
            apart += 1
            continue
        compared += 1
        if not _agree(expression, options.now):
            unlike.append(expression)
    if unlike:
        shown = ", ".join(repr(expression) for expression in unlike[:5])
        yield failed(
            "cron", f"The two evaluators disagree on {shown}: please report it, with cronsim's version."
        )
    else:
        known = f"; {apart} with rules for days that croniter reads differently" if apart else ""
        yield ok("cron", f"Both evaluators agree on {compared} expressions{known}.")


def _has_known_difference(expression: str) -> bool:
    """A star with more beside it in one day field, and a restriction in the other."""
    fields = expression.split()
    days = (fields[2], fields[4]) if len(fields) == 5 else ("*", "*")
    return "*" not in days and any("*" in field for field in days)


def _agree(expression: str, now: datetime) -> bool:
    zone = schedule.load_zone("UTC")
    try:
        ours = schedule.next_runs(expression, zone=zone, after=now, count=SLOTS_COMPARED)
        second = croniter(expression, now)
        theirs = list(islice((second.get_next(datetime) for _ in iter(int, 1)), len(ours)))
    except (schedule.CronError, ValueError, KeyError):
        return False
    return ours == theirs


# ---- secrets and the outside ------------------------------------------------------------------


def secrets(options: Options) -> Iterator[Finding]:
    weak = [name for name in ("SECRET_KEY", "JWT_SECRET_KEY") if len(getattr(settings, name)) < SECRET_LEAST]
    default = [
        name for name in ("SECRET_KEY", "JWT_SECRET_KEY") if getattr(settings, name).startswith("insecure-")
    ]
    if default:
        yield failed("secrets", f"{', '.join(default)} is the one for debugging: set it, at random.")
    elif weak:
        yield failed("secrets", f"{', '.join(weak)} is shorter than {SECRET_LEAST} characters.")
    elif not settings.ENCRYPTION_KEYS:
        yield failed("secrets", "ENCRYPTION_KEYS is not set: manage.py generate_key makes one.")
    else:
        yield ok("secrets", "None is a default.")
    yield from _default_password()
    yield from _stored_secrets()


def _default_password() -> Iterator[Finding]:
    password = settings.DEFAULT_ADMIN_PASSWORD
    admin = User.objects.active().filter(username=settings.DEFAULT_ADMIN_USERNAME).first()
    if password and admin is not None and admin.check_password(password):
        yield failed(
            "first admin",
            f"{admin.username} still has the password of DEFAULT_ADMIN_PASSWORD: change it.",
        )


def _stored_secrets() -> Iterator[Finding]:
    unreadable = 0
    for model, column in STORED:
        stored = model._default_manager.exclude(**{column: ""}).order_by().values_list(column, flat=True)
        for secret in stored.iterator():
            try:
                decrypt(secret)
            except SecretUnreadable:
                unreadable += 1
    if unreadable:
        yield failed(
            "stored secrets",
            f"{unreadable} cannot be read: put the earlier key behind the new one in ENCRYPTION_KEYS.",
        )


def address_guard(options: Options) -> Iterator[Finding]:
    if settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS:
        text = (
            "Off: jobs may call loopback and private addresses (WEBHOOK_ALLOW_PRIVATE_NETWORKS). Right on "
            "one's own machine; elsewhere list the networks in WEBHOOK_ALLOWED_NETWORKS instead."
        )
        yield noted("address guard", text)
    elif settings.WEBHOOK_ALLOWED_NETWORKS:
        names = ", ".join(map(str, settings.WEBHOOK_ALLOWED_NETWORKS))
        yield ok("address guard", f"On, but for {names}.")
    else:
        yield ok("address guard", "On.")


def mail(options: Options) -> Iterator[Finding]:
    if not settings.MAIL_ENABLED:
        yield noted("mail", "Off (MAIL_ENABLED).")
        return
    try:
        with get_connection(fail_silently=False) as server:
            said = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} answers."
            if options.send:
                to = list(User.objects.admins().values_list("email", flat=True)[:1])
                EmailMessage("cronsched: a test", _TEST_TEXT, to=to, connection=server).send()
                said = f"A test message went to {', '.join(to)}."
    except Exception as error:
        yield failed(
            "mail", f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}: {error}. Check the MAIL_ variables."
        )
        return
    yield ok("mail", said)


def slack(options: Options) -> Iterator[Finding]:
    row = get_slack_settings()
    if not row.is_enabled:
        yield noted("slack", "Off (Slack settings).")
        return
    if not readable_webhook_url(row):
        yield failed("slack", "Its webhook URL cannot be read: enter it again, or mend ENCRYPTION_KEYS.")
    elif not options.send:
        yield noted("slack", "On; only --send tries it, because every call posts a message.")
    else:
        test = send_slack_test(by=User.objects.admins().first() or User(username="selfcheck"))
        yield ok("slack", test.message) if test.ok else failed("slack", test.message)


_TEST_TEXT: Final = "This is a test by manage.py selfcheck: messages from cronsched arrive here."

CHECKS: Final[tuple[Check, ...]] = (
    variables,
    clock_skew, leader, overdue_slots, lag, ticks, stuck_runs, evaluators, secrets, address_guard,
    mail, slack,
)  # fmt: skip
