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
from notifications.models import EmailOptOut, NotificationPreferences, SlackSettings
from taxonomy.models import PicTeam

# What mail can be unsubscribed from: fields of NotificationPreferences.
FAILURES: Final = "email_on_job_failure"
SUCCESSES: Final = "email_on_job_success"
DISABLED: Final = "email_on_job_disabled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Audience:
    """`users` are the active owners and admins, `wishes` the preferences of those who have any."""

    users: Mapping[UUID, User]
    wishes: Mapping[UUID, NotificationPreferences]
    teams: Mapping[UUID, PicTeam]
    opted_out: frozenset[tuple[str, str]]
    is_mail_on: bool
    is_slack_on: bool

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> Audience:
        jobs = list(jobs)
        owners = {job.created_by_id for job in jobs if job.created_by_id}
        users = User.objects.filter(Q(pk__in=owners) | Q(role=Role.ADMIN), is_active=True)
        teams = PicTeam.objects.filter(pk__in={job.pic_team_id for job in jobs})
        by_id = {user.pk: user for user in users.order_by("username_key")}
        audience = cls(
            users=by_id,
            wishes={row.user_id: row for row in NotificationPreferences.objects.filter(user_id__in=owners)},
            teams={team.pk: team for team in teams},
            opted_out=frozenset(),
            is_mail_on=settings.MAIL_ENABLED,
            is_slack_on=SlackSettings.objects.filter(is_enabled=True).exists(),
        )
        return audience.without_opt_outs(jobs) if settings.MAIL_ENABLED else audience

    def without_opt_outs(self, jobs: Sequence[Job]) -> Audience:
        listed = {name_key(address) for job in jobs for address in job.notification_emails}
        rows = EmailOptOut.objects.filter(
            address_key__in=listed | {user.email_key for user in self.users.values()}
        )
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

    def addresses(self, job: Job, topic: str) -> list[str]:
        """Whom mail of a run of this job reaches: its list, and its owner unless they wish otherwise."""
        if not (self.is_mail_on and job.enable_email_notifications):
            return []
        return self.willing([*job.notification_emails, *self.owner_address(job, topic)], topic)

    def owner_address(self, job: Job, topic: str) -> list[str]:
        """The owner's address, where they want mail of this topic."""
        owner = self.owner(job)
        if owner is None or not self.is_mail_on:
            return []
        wishes = self.wishes.get(owner.pk) or NotificationPreferences()
        return [owner.email] if getattr(wishes, topic) else []

    def willing(self, addresses: Iterable[str], topic: str) -> list[str]:
        """Each address once, without those that unsubscribed."""
        by_key = {name_key(address): address for address in addresses}
        return [address for key, address in by_key.items() if (key, topic) not in self.opted_out]


def load_jobs(runs: Sequence[JobExecution]) -> None:
    """Give runs their whole jobs: PLAN reads only what planning needs."""
    partial = {run.job_id for run in runs if run.job.get_deferred_fields()}
    if not partial:
        return
    whole = Job.objects.in_bulk(partial)
    for run in runs:
        run.job = whole.get(run.job_id, run.job)
