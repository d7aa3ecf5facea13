"""Selections of jobs and executions. They never write; what a person may touch is decided here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Coalesce

from accounts.roles import team_limit
from cronsched.core.text import name_key
from jobs.choices import IN_FLIGHT, Status, TriggerType

# Up to so many jobs, their runs are looked up job by job; beyond, along the whole history.
LOOKED_UP = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """What lists and figures of runs are narrowed by; what is left out asks for everything.

    `start` is inclusive, `end` exclusive; both are of `started_at`.
    """

    job_id: UUID | None = None
    statuses: tuple[str, ...] = ()
    trigger_type: str = ""
    execution_type: str = ""
    start: datetime | None = None
    end: datetime | None = None

    @property
    def traits(self) -> dict[str, Any]:
        """The lookups that runs and their tallies have in common."""
        traits = {
            "status__in": self.statuses,
            "trigger_type": self.trigger_type,
            "execution_type": self.execution_type,
        }
        return {name: value for name, value in traits.items() if value}

    @property
    def period(self) -> Q:
        return between("started_at", self.start, self.end)


def between(column: str, start: datetime | None, end: datetime | None) -> Q:
    """From `start` until before `end`; None is open."""
    bounds = {f"{column}__gte": start, f"{column}__lt": end}
    return Q(**{name: bound for name, bound in bounds.items() if bound is not None})


class JobQuerySet(models.QuerySet[Any]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def due(self, now: datetime) -> Self:
        """Jobs with a slot at or before `now`. A paused job has no next run, so this is one index."""
        return self.filter(next_run_at__lte=now).order_by("next_run_at", "id")

    def scheduled(self) -> Self:
        """Active jobs with a next run. A paused job has none, so that they are counted in one index."""
        return self.filter(next_run_at__isnull=False)

    def expired(self, today: date) -> Self:
        """Active jobs whose end date is before `today` (a date of the scheduler's timezone)."""
        # `is_active=True` is no comparison on SQLite, and so finds no index.
        return self.filter(is_active__in=[True], end_date__lt=today)

    def ownerless(self) -> Self:
        """Jobs that nobody has, or somebody who was deactivated."""
        return self.filter(Q(created_by__isnull=True) | Q(created_by__is_active=False))

    def visible_to(self, user: Any) -> Self:
        """Every role reads every job; whoever is nobody reads none, an API key of a team that team's."""
        if not getattr(user, "is_active", False):
            return self.none()
        team = team_limit(user)
        return self.filter(pic_team__slug=team) if team else self

    def matching(self, text: str) -> Self:
        return self.filter(search_text__contains=name_key(text))

    def without_secrets(self) -> Self:
        """Not even read, where they are not needed."""
        return self.defer("signing_secret", "previous_signing_secret")

    def for_lists(self) -> Self:
        return self.select_related("category", "pic_team")


class ExecutionQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        if not getattr(user, "is_active", False):
            return self.none()
        team = team_limit(user)
        return self.filter(job__pic_team__slug=team) if team else self

    def matching(self, wanted: RunFilter) -> Self:
        """Newest first, in the order of the indexes."""
        runs = self.filter(wanted.period).order_by("-started_at", "-id")
        if wanted.job_id is None:
            return runs.filter(**wanted.traits)
        traits = {name: value for name, value in wanted.traits.items() if name != "status__in"}
        return runs.filter(job_id=wanted.job_id, **traits).in_status(wanted.statuses)

    def of_jobs(self, jobs: models.QuerySet[Any]) -> Self:
        """Runs of these jobs: found job by job along the index, not by a join over the whole history."""
        ids = jobs.order_by().values_list("pk", flat=True)
        few = list(ids[: LOOKED_UP + 1])
        return self.filter(job_id__in=few if len(few) <= LOOKED_UP else ids)

    def in_status(self, statuses: Sequence[str]) -> Self:
        """For runs that are looked up by their jobs; no statuses, all of them.

        As an expression, no index by status fits: databases would look up all runs of that status,
        although the index by job holds it.
        """
        if not statuses:
            return self
        return self.alias(plain_status=Coalesce("status", Value(""))).filter(plain_status__in=statuses)

    def listed(self, ids: list[UUID]) -> Self:
        """These runs, newest first."""
        return self.filter(pk__in=ids).order_by("-started_at", "-id")

    def sendable(self, now: datetime) -> Self:
        return self.filter(status=Status.QUEUED, available_at__lte=now).order_by("available_at", "id")

    def offered(self) -> Self:
        """Queued runs that the leader has said are to be sent: its clock has judged that they are due."""
        return self.filter(status=Status.QUEUED, offered_at__isnull=False).order_by("available_at", "id")

    def in_flight_of(self, job_ids: list[UUID]) -> Self:
        """Scheduled runs of these jobs that are queued or running; manual runs hold no overlap slot.

        Neither does a run that GitHub has taken and that is only followed.
        """
        return self.filter(
            status__in=IN_FLIGHT,
            trigger_type=TriggerType.SCHEDULED,
            job_id__in=job_ids,
            github_run__isnull=True,
        ).order_by("id")

    def stuck(self, moment: Any) -> Self:
        """Running rows past their deadline: their sender is dead or has forgotten them."""
        return self.filter(Q(status=Status.RUNNING) & Q(deadline_at__lt=moment)).order_by("id")


class GitHubRunQuerySet(models.QuerySet[Any]):
    def due(self, now: datetime) -> Self:
        """Runs to look at, the longest waiting first."""
        return self.filter(next_look_at__lte=now).order_by("next_look_at", "execution_id")

    def of_run(self, run_id: int, *, owner: str, repo: str) -> Self:
        return self.filter(run_id=run_id, owner=owner, repo=repo)
