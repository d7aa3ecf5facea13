"""The chores as the scheduler's library keeps them, under names of this product; no tables of their own."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from django_apscheduler.models import DjangoJob, DjangoJobExecution


class ChoreSlot(DjangoJob):
    """When a chore looks for work again."""

    class Meta:
        proxy = True
        verbose_name = _("chore in the timetable")
        verbose_name_plural = _("chore timetable")


class ChoreRun(DjangoJobExecution):
    class Meta:
        proxy = True
        verbose_name = _("chore run")
        verbose_name_plural = _("chore runs")
        ordering = ("-run_time",)
