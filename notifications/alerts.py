"""Which runs are worth a message: quiet while a job keeps failing, and a word when it has recovered.

The `alert_after`-th consecutive failure is told, then at most one in 24 h while it keeps failing;
missed runs likewise, with 24 h of their own, which no success ends: a job that misses every other
slot is not news each time. Each channel has its own 24 h, so that one that was off is not taken for
told. A success after a failure that was told is told to those who were. In-app notices are not ours:
they are brought up to date instead of kept quiet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cronsched.core.db import locked, update_each
from jobs.choices import Status
from jobs.models import JobExecution
from notifications.audience import FAILURES, SUCCESSES, Audience, Readers
from notifications.models import Event, JobAlert

REPEAT_AFTER = timedelta(hours=24)
_TOLD_AT = ("failed_mail_at", "failed_slack_at", "missed_mail_at", "missed_slack_at")
_COLUMNS = (*_TOLD_AT, "readers")
# The event of a status, and the columns that say when mail and Slack told it.
_TROUBLES = {
    Status.FAILED: (Event.RUN_FAILED, "failed_mail_at", "failed_slack_at"),
    Status.MISSED: (Event.RUN_MISSED, "missed_mail_at", "missed_slack_at"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunNews:
    """One run to be told of: to these readers of mail, and to Slack."""

    run: JobExecution
    event: Event
    readers: Readers
    slack: bool


def lock_alerts(runs: Iterable[JobExecution]) -> dict[UUID, JobAlert]:
    """What was told of these runs' jobs before, held until the transaction ends."""
    rows = locked(JobAlert.objects.filter(job_id__in={run.job_id for run in runs}).order_by("pk"))
    return {row.job_id: row for row in rows}


def choose(
    runs: Sequence[JobExecution], *, alerts: dict[UUID, JobAlert], audience: Audience, now: datetime
) -> list[RunNews]:
    """What of a batch is told, in the order in which it ended; notes what was."""
    chosen = _Choice(alerts, audience=audience, now=now)
    for run in sorted(runs, key=lambda run: run.completed_at or run.started_at):
        chosen.take(run)
    chosen.store()
    return chosen.news


class _Choice:
    """One batch. The alerts of its jobs are changed in memory, and written back."""

    def __init__(self, alerts: dict[UUID, JobAlert], *, audience: Audience, now: datetime) -> None:
        self.alerts = alerts
        self.audience = audience
        self.now = now
        self.news: list[RunNews] = []
        self.stored = set(alerts)
        self.changed: set[UUID] = set()

    def take(self, run: JobExecution) -> None:
        if run.status == Status.SUCCESS:
            self._succeeded(run)
        else:
            self._in_trouble(run)

    def _succeeded(self, run: JobExecution) -> None:
        alert = self.alerts.get(run.job_id)
        told: Readers = {}
        if alert is not None and (alert.failed_mail_at or alert.failed_slack_at):
            told = self.audience.still_willing(run.job, alert.readers, FAILURES)
            self._tell(run, Event.JOB_RECOVERED, told, slack=alert.failed_slack_at is not None)
            alert.failed_mail_at = alert.failed_slack_at = None
            alert.readers = {}
            self.changed.add(run.job_id)
        if run.job.notify_on_success:
            readers = self.audience.readers(run.job, SUCCESSES)
            others = {address: reader for address, reader in readers.items() if address not in told}
            self._tell(run, Event.RUN_SUCCEEDED, others, slack=False)

    def _in_trouble(self, run: JobExecution) -> None:
        event, mail_at, slack_at = _TROUBLES[Status(run.status)]
        if event is Event.RUN_FAILED and run.job.consecutive_failures < run.job.alert_after:
            return
        alert = self.alerts.get(run.job_id) or JobAlert(job_id=run.job_id)
        is_slack = self.audience.is_slack_on and self._is_over(getattr(alert, slack_at))
        is_mail = self._is_over(getattr(alert, mail_at))
        readers = self.audience.readers(run.job, FAILURES) if is_mail else {}
        if readers:
            setattr(alert, mail_at, self.now)
        if is_slack:
            setattr(alert, slack_at, self.now)
        if not (readers or is_slack):
            # Nobody hears of it, so that nobody is spared the next one.
            return
        if event is Event.RUN_FAILED:
            alert.readers = alert.readers | readers
        self.alerts[run.job_id] = alert
        self.changed.add(run.job_id)
        self._tell(run, event, readers, slack=is_slack)

    def _is_over(self, told_at: datetime | None) -> bool:
        """Whether the quiet after a message is over."""
        return told_at is None or self.now - told_at >= REPEAT_AFTER

    def _tell(self, run: JobExecution, event: Event, readers: Readers, *, slack: bool) -> None:
        slack = slack and self.audience.is_slack_on
        self.news.append(RunNews(run=run, event=event, readers=readers, slack=slack))

    def store(self) -> None:
        changed = {job_id: self.alerts[job_id] for job_id in self.changed}
        # Of some nothing is left that would keep anybody quiet.
        spent = {
            job_id
            for job_id, alert in changed.items()
            if all(self._is_over(getattr(alert, column)) for column in _TOLD_AT)
        }
        JobAlert.objects.filter(pk__in=spent & self.stored).delete()
        kept = [alert for job_id, alert in changed.items() if job_id not in spent]
        JobAlert.objects.bulk_create([alert for alert in kept if alert.job_id not in self.stored])
        update_each(
            JobAlert, _COLUMNS, ("job",), _rows(alert for alert in kept if alert.job_id in self.stored)
        )


def _rows(alerts: Iterable[JobAlert]) -> list[tuple[object, ...]]:
    return [(*(getattr(alert, column) for column in _COLUMNS), alert.job_id) for alert in alerts]


def readers_of(alerts: Mapping[UUID, JobAlert]) -> Readers:
    """All whom these alerts name."""
    return {address: reader for alert in alerts.values() for address, reader in alert.readers.items()}
