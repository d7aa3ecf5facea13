"""Notices, read or not, with their links where what they link to was taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from django.db.models import Model

from cronsched.core.db import retry_conflicts
from cronsched.legacy.context import Import, store
from cronsched.legacy.source import PAGE, Row
from cronsched.legacy.values import flag, moment, text, uuid_of
from jobs.models import JobExecution
from notifications.models import Notification, NotificationType

TABLE: Final = "notifications"
_TITLE_MAX: Final = 255


def bring_notices(run: Import) -> None:
    step = _Notices(run)
    for batch in run.batches(step.rows(), PAGE):
        if not run.options.dry_run:
            store(Notification, batch)
            step.store_read()
        run.report.count(TABLE, "new", len(batch))
    if not run.options.dry_run:
        step.store_read()


class _Notices:
    def __init__(self, run: Import) -> None:
        self.run = run
        # Read there since they were taken.
        self.read: list[tuple[Any, ...]] = []

    def rows(self) -> Iterator[Notification]:
        total = self.run.legacy.count(TABLE)
        for page in self.run.legacy.pages(TABLE):
            self.run.report.count(TABLE, "read", len(page))
            yield from self._of_page(page)
            self.run.progress(TABLE, len(page), total)

    def _of_page(self, page: list[Row]) -> Iterator[Notification]:
        here = dict(_found(Notification, page, "id").values_list("pk", "is_read"))
        runs = set(_found(JobExecution, page, "related_execution_id").values_list("pk", flat=True))
        for row in page:
            notice_id = uuid_of(row.get("id"))
            user_id = self.run.users.get(uuid_of(row.get("user_id")) or UUID(int=0))
            if notice_id is None:
                self.run.left_out(TABLE, row, "its id is no UUID", repr(row.get("id")))
            elif user_id is None:
                self.run.without(TABLE, "user", row.get("user_id"))
            elif notice_id in here:
                self._again(row, notice_id, was_read=here[notice_id])
            else:
                yield self._read(row, notice_id, user_id, runs)

    def _again(self, row: Row, notice_id: UUID, *, was_read: bool) -> None:
        if flag(row.get("is_read"), False) and not was_read and self.run.options.update:
            self.read.append((notice_id, moment(row.get("read_at")) or self.run.options.now))
            self.run.report.count(TABLE, "updated")
        else:
            self.run.report.count(TABLE, "already")

    def _read(self, row: Row, notice_id: UUID, user_id: UUID, runs: set[UUID]) -> Notification:
        kind = text(row.get("type")).strip().lower()
        if kind not in NotificationType.values:
            self.run.adjusted(TABLE, row, f'the type "{kind[:20]}" became info')
            kind = NotificationType.INFO.value
        is_read = flag(row.get("is_read"), False)
        job_id, run_id = uuid_of(row.get("related_job_id")), uuid_of(row.get("related_execution_id"))
        created = moment(row.get("created_at")) or self.run.options.now
        return Notification(
            id=notice_id,
            user_id=user_id,
            type=kind,
            title=text(row.get("title"))[:_TITLE_MAX],
            message=text(row.get("message")),
            related_job_id=job_id if job_id in self.run.jobs else None,
            related_execution_id=run_id if run_id in runs else None,
            is_read=is_read,
            read_at=(moment(row.get("read_at")) or created) if is_read else None,
            created_at=created,
        )

    @retry_conflicts
    def store_read(self) -> None:
        """Read stays read; a notice that is unread there, but read here, stays so too."""
        for notice_id, at in self.read:
            unread = Notification.objects.filter(pk=notice_id, is_read=False)
            unread.update(is_read=True, read_at=at, unread_key=None)
        self.read = []


def _found(model: type[Model], page: list[Row], column: str) -> Any:
    """Those rows of ours whose id stands in this column of the page."""
    ids = {found for row in page if (found := uuid_of(row.get(column)))}
    return model._default_manager.filter(pk__in=ids)
