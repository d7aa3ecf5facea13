"""Jobs that end soon: who owns one is reminded of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from cronsched.core.clock import scheduler_date
from jobs.models import Job
from notifications.inapp import Notice, post
from notifications.models import NotificationType

ENDS_WITHIN: Final = timedelta(days=30)


@transaction.atomic
def send_end_date_reminders(*, now: datetime) -> int:
    """Remind active owners of their active jobs that end within 30 days. The count of reminders.

    Repeated, it brings the unread reminder of a job up to date.
    """
    today = scheduler_date(now)
    soon = Job.objects.active().filter(end_date__range=(today, today + ENDS_WITHIN))
    jobs = soon.filter(created_by__is_active=True).order_by("end_date", "name_key")
    reminders = [_reminder(*values) for values in jobs.values_list("pk", "name", "end_date", "created_by_id")]
    post(reminders, now=now)
    return len(reminders)


def _reminder(job_id: UUID, name: str, end_date: date, owner_id: UUID) -> Notice:
    return Notice(
        user_id=owner_id,
        type=NotificationType.WARNING,
        topic=f"end_date_near:{job_id}",
        title=f"{name} ends on {end_date}",
        message="It is paused after that day. To keep it running, give it a later end date.",
        job_id=job_id,
    )
