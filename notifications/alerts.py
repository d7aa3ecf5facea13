"""Which runs are worth a message: quiet while a job keeps failing, and a word when it has recovered.

The `alert_after`-th consecutive failure is told, then at most one in 24 h while it keeps failing;
missed runs likewise, with 24 h of their own. A success after a failure that was told is told to those
who were. In-app notices are not ours: they are brought up to date instead of kept quiet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cronsched.core.db import locked, update_each
from cronsched.core.text import name_key
from jobs.choices import Status
from jobs.models import JobExecution
from notifications.audience import FAILURES, SUCCESSES, Audience
from notifications.models import Event, JobAlert

REPEAT_AFTER = timedelta(hours=24)
_COLUMNS = ("failed_told_at", "missed_told_at", "emails", "slack")
_TROUBLES = {
    Status.FAILED: (Event.RUN_FAILED, "failed_told_at"),
    Status.MISSED: (Event.RUN_MISSED, "missed_told_at"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunNews:
    """One run to be told of: to these addresses, and to Slack."""

    run: JobExecution
    event: Event
    emails: Sequence[str]
    slack: bool


def choose(runs: Sequence[JobExecution], *, audience: Audience, now: datetime) -> list[RunNews]:
    """What of a batch is told, in the order in which it ended; notes what was."""
    chosen = _Choice(runs, audience=audience, now=now)
    for run in sorted(runs, key=lambda run: run.completed_at or run.started_at):
        chosen.take(run)
    chosen.store()
    return chosen.news


class _Choice:
    """One batch. The alerts of its jobs are read, changed in memory, and written back."""

    def __init__(self, runs: Sequence[JobExecution], *, audience: Audience, now: datetime) -> None:
        self.audience = audience
        self.now = now
        self.news: list[RunNews] = []
        rows = locked(JobAlert.objects.filter(job_id__in={run.job_id for run in runs}).order_by("pk"))
        self.alerts: dict[UUID, JobAlert] = {row.job_id: row for row in rows}
        self.stored = set(self.alerts)
        self.changed: set[UUID] = set()

    def take(self, run: JobExecution) -> None:
        if run.status == Status.SUCCESS:
            self._succeeded(run)
        else:
            self._in_trouble(run)

    def _succeeded(self, run: JobExecution) -> None:
        alert = self.alerts.pop(run.job_id, None)
        told: Sequence[str] = ()
        if alert is not None and alert.failed_told_at is not None:
            told = self.audience.willing(alert.emails, FAILURES) if self.audience.is_mail_on else ()
            self._tell(run, Event.JOB_RECOVERED, told, alert.slack)
        if run.job.notify_on_success:
            emails = self.audience.addresses(run.job, SUCCESSES)
            self._tell(run, Event.RUN_SUCCEEDED, [each for each in emails if each not in told], False)

    def _in_trouble(self, run: JobExecution) -> None:
        event, column = _TROUBLES[Status(run.status)]
        if event is Event.RUN_FAILED and run.job.consecutive_failures < run.job.alert_after:
            return
        alert = self.alerts.get(run.job_id) or JobAlert(job_id=run.job_id)
        told_at = getattr(alert, column)
        if told_at is not None and self.now - told_at < REPEAT_AFTER:
            return
        emails = self.audience.addresses(run.job, FAILURES)
        if not (emails or self.audience.is_slack_on):
            # Nobody hears of it, so that nobody is spared the next one.
            return
        setattr(alert, column, self.now)
        if event is Event.RUN_FAILED:
            known = {name_key(address) for address in alert.emails}
            alert.emails += [address for address in emails if name_key(address) not in known]
            alert.slack = alert.slack or self.audience.is_slack_on
        self.alerts[run.job_id] = alert
        self.changed.add(run.job_id)
        self._tell(run, event, emails, self.audience.is_slack_on)

    def _tell(self, run: JobExecution, event: Event, emails: Sequence[str], slack: bool) -> None:
        slack = slack and self.audience.is_slack_on
        self.news.append(RunNews(run=run, event=event, emails=emails, slack=slack))

    def store(self) -> None:
        gone = self.stored - set(self.alerts)
        if gone:
            JobAlert.objects.filter(pk__in=gone).delete()
        changed = [self.alerts[job_id] for job_id in self.changed if job_id in self.alerts]
        JobAlert.objects.bulk_create([alert for alert in changed if alert.job_id not in self.stored])
        update_each(
            JobAlert,
            _COLUMNS,
            ("job",),
            [
                (*(getattr(alert, column) for column in _COLUMNS), alert.job_id)
                for alert in changed
                if alert.job_id in self.stored
            ],
        )
