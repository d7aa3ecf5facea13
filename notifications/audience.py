"""Who may be told of a batch of jobs: read once for all of them, so that nothing is asked per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from accounts.models import User
from accounts.roles import Role
from cronsched.core.text import name_key
from jobs.models import Job, JobExecution
from jobs.models.job import TOLD
from notifications.models import EmailOptOut, NotificationPreferences, SlackSettings
from taxonomy.models import PicTeam

# What mail can be unsubscribed from: fields of NotificationPreferences.
FAILURES: Final = "email_on_job_failure"
SUCCESSES: Final = "email_on_job_success"
DISABLED: Final = "email_on_job_disabled"


# Addresses that mail goes to: for each the id of the user whom it reaches as the job's owner, "" where the
# job lists it.
Readers = dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Audience:
    """`users` are the active owners, admins and earlier readers, `wishes` the preferences of those who
    have any."""

    users: Mapping[UUID, User]
    wishes: Mapping[UUID, NotificationPreferences]
    teams: Mapping[UUID, PicTeam]
    opted_out: frozenset[tuple[str, str]]
    is_mail_on: bool
    is_slack_on: bool

    @classmethod
    def of(cls, jobs: Iterable[Job], *, told: Readers | None = None) -> Audience:
        """`told` are those who heard of something before, and are to hear more."""
        jobs, told = list(jobs), told or {}
        owners = {job.created_by_id for job in jobs if job.created_by_id}
        readers = owners | {UUID(user_id) for user_id in told.values() if user_id}
        users = User.objects.filter(Q(pk__in=readers) | Q(role=Role.ADMIN), is_active=True)
        teams = PicTeam.objects.filter(pk__in={job.pic_team_id for job in jobs})
        by_id = {user.pk: user for user in users.order_by("username_key")}
        audience = cls(
            users=by_id,
            wishes={row.user_id: row for row in NotificationPreferences.objects.filter(user__in=list(by_id))},
            teams={team.pk: team for team in teams},
            opted_out=frozenset(),
            is_mail_on=settings.MAIL_ENABLED,
            is_slack_on=SlackSettings.objects.filter(is_enabled=True).exists(),
        )
        return audience._without_opt_outs(jobs, told) if settings.MAIL_ENABLED else audience

    def _without_opt_outs(self, jobs: Sequence[Job], told: Readers) -> Audience:
        listed = {name_key(address) for job in jobs for address in job.notification_emails}
        people = {user.email_key for user in self.users.values()} | {name_key(address) for address in told}
        rows = EmailOptOut.objects.filter(address_key__in=listed | people)
        return replace(self, opted_out=frozenset(rows.values_list("address_key", "topic")))

    @property
    def admins(self) -> list[UUID]:
        return [pk for pk, user in self.users.items() if user.role == Role.ADMIN]

    def owner(self, job: Job) -> User | None:
        """None where nobody has it, or somebody who was deactivated."""
        return self.users.get(job.created_by_id) if job.created_by_id else None

    def owner_and_admins(self, job: Job) -> list[UUID]:
        """The owner first, nobody twice."""
        owner = self.owner(job)
        return list(dict.fromkeys([*([owner.pk] if owner else []), *self.admins]))

    def readers(self, job: Job, topic: str) -> Readers:
        """Whom mail of a run of this job reaches: its list, and its owner unless they wish otherwise."""
        if not job.enable_email_notifications:
            return {}
        listed = [(address, "") for address in job.notification_emails]
        return self._willing([*listed, *self._as_owner(self.owner(job), topic)], topic)

    def owner_alone(self, job: Job, topic: str) -> Readers:
        """The owner, where they want mail of this topic."""
        return self._willing(self._as_owner(self.owner(job), topic), topic)

    def admin_readers(self, topic: str) -> Readers:
        """The admins who want mail of this topic."""
        admins = [self.users[pk] for pk in self.admins]
        return self._willing([pair for user in admins for pair in self._as_owner(user, topic)], topic)

    def still_willing(self, job: Job, told: Readers, topic: str) -> Readers:
        """Those of `told` whom mail of this job may still reach: an account, at its present address."""
        if not job.enable_email_notifications:
            return {}
        pairs = []
        for address, user_id in told.items():
            user = self.users.get(UUID(user_id)) if user_id else None
            pairs += self._as_owner(user, topic) if user_id else [(address, "")]
        return self._willing(pairs, topic)

    def _as_owner(self, user: User | None, topic: str) -> list[tuple[str, str]]:
        if user is None:
            return []
        wishes = self.wishes.get(user.pk) or NotificationPreferences()
        return [(user.email, str(user.pk))] if getattr(wishes, topic) else []

    def _willing(self, pairs: Iterable[tuple[str, str]], topic: str) -> Readers:
        """Each address once, without those that unsubscribed. One that is listed is not the owner's alone."""
        if not self.is_mail_on:
            return {}
        by_key: dict[str, tuple[str, str]] = {}
        for address, user_id in pairs:
            key = name_key(address)
            by_key[key] = (address, "" if key in by_key else user_id)
        return dict(pair for key, pair in by_key.items() if (key, topic) not in self.opted_out)


def load_jobs(runs: Sequence[JobExecution]) -> None:
    """Give runs all of their jobs that may be told: PLAN reads only what planning needs."""
    partial = {run.job_id for run in runs if not run.job.__dict__.keys() >= TOLD}
    if not partial:
        return
    whole = Job.objects.in_bulk(partial)
    for run in runs:
        run.job = whole.get(run.job_id, run.job)
