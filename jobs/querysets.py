"""Selections of jobs and executions. They never write; what a person may touch is decided here."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import Q

from accounts.roles import is_admin, may_create_jobs
from cronsched.core.text import name_key
from jobs.choices import IN_FLIGHT, Status, TriggerType


class JobQuerySet(models.QuerySet[Any]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def due(self, now: datetime) -> Self:
        """Jobs with a slot at or before `now`. A paused job has no next run, so this is one index."""
        return self.filter(next_run_at__lte=now).order_by("next_run_at", "id")

    def scheduled(self) -> Self:
        return self.filter(is_active=True, next_run_at__isnull=False)

    def expired(self, today: date) -> Self:
        """Active jobs whose end date is before `today` (a date of the scheduler's timezone)."""
        return self.filter(is_active=True, end_date__lt=today)

    def visible_to(self, user: Any) -> Self:
        """Every role reads every job; whoever is nobody reads none."""
        return self if getattr(user, "is_active", False) else self.none()

    def changeable_by(self, user: Any) -> Self:
        if is_admin(user):
            return self
        return self.filter(created_by_id=user.pk) if may_create_jobs(user) else self.none()

    def matching(self, text: str) -> Self:
        return self.filter(search_text__contains=name_key(text))

    def without_secrets(self) -> Self:
        """Not even read, where they are not needed."""
        return self.defer("signing_secret", "previous_signing_secret")

    def for_lists(self) -> Self:
        return self.select_related("category", "pic_team")


class ExecutionQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        return self if getattr(user, "is_active", False) else self.none()

    def sendable(self, now: datetime) -> Self:
        return self.filter(status=Status.QUEUED, available_at__lte=now).order_by("available_at", "id")

    def in_flight_of(self, job_ids: list[UUID]) -> Self:
        """Scheduled runs of these jobs that are queued or running; manual runs hold no overlap slot."""
        return self.filter(
            status__in=IN_FLIGHT, trigger_type=TriggerType.SCHEDULED, job_id__in=job_ids
        ).order_by("id")

    def stuck(self, moment: Any) -> Self:
        """Running rows past their deadline: their sender is dead or has forgotten them."""
        return self.filter(Q(status=Status.RUNNING) & Q(deadline_at__lt=moment)).order_by("id")
