"""What a batch of jobs is judged with and written by: an upload's rows and a bulk edit alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from cronsched.core.db import update_each
from jobs.models import Job
from jobs.services.edits import Edit
from jobs.services.overtaken import record_overtaken
from jobs.services.validation import Lookups
from taxonomy.models import JobCategory, PicTeam
from taxonomy.services import choose


class KnownJobs(Lookups):
    """What validation asks, read once for a batch, the disabled categories and teams too."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs: dict[str, Job] = {job.name_key: job for job in jobs}
        self._categories: list[JobCategory] = list(JobCategory.objects.all())
        self._teams: list[PicTeam] = list(PicTeam.objects.all())
        self._found: dict[tuple[type, str], Any] = {}
        self._active_users: dict[UUID, bool] = {}
        self._attach()

    def _attach(self) -> None:
        """Give the jobs their category and team, without a join that would lock those too."""
        categories = {category.pk: category for category in self._categories}
        teams = {team.pk: team for team in self._teams}
        for job in self.jobs.values():
            if job.category_id in categories:
                job.category = categories[job.category_id]
            if job.pic_team_id in teams:
                job.pic_team = teams[job.pic_team_id]

    def category(self, text: str) -> JobCategory:
        category: JobCategory = self._choose(JobCategory, text, self._categories)
        return category

    def team(self, text: str) -> PicTeam:
        team: PicTeam = self._choose(PicTeam, text, self._teams)
        return team

    def _choose(self, model: Any, text: str, rows: Any) -> Any:
        key = (model, text)
        if key not in self._found:
            self._found[key] = choose(model, text, rows)
        return self._found[key]

    def is_name_taken(self, key: str, *, except_for: UUID | None) -> bool:
        job = self.jobs.get(key)
        return job is not None and job.pk != except_for

    def is_active_user(self, user_id: UUID) -> bool:
        if user_id not in self._active_users:
            self._active_users[user_id] = super().is_active_user(user_id)
        return self._active_users[user_id]


def store_edits(edits: Sequence[Edit], *, now: datetime) -> None:
    """What the edits overtook, and one prepared statement for all of them.

    A row, locked since it was read, gets back what it did not change.
    """
    for edit in edits:
        edit.job.refresh_keys()
    record_overtaken([edit.overtaken for edit in edits if edit.overtaken], now=now)
    columns = sorted({column for edit in edits for column in edit.columns})
    attributes = [Job._meta.get_field(column).attname for column in columns]  # type: ignore[union-attr]
    rows = [(*(getattr(edit.job, attribute) for attribute in attributes), edit.job.pk) for edit in edits]
    update_each(Job, columns, ("id",), rows)
