"""Who leads, and when each chore last did its work."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from cronsched.core.models import KeyField

LEASE_ID = 1


class SchedulerLease(models.Model):
    """One row. `term` is the fencing number: it grows with every holder, and PLAN proves it.

    Times are the database's clock, compared in SQL; see jobs.engine.lease.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=LEASE_ID, editable=False)
    holder = KeyField(_("leader"), max_length=255, blank=True, default="")
    term = models.PositiveBigIntegerField(_("term"), default=0)
    acquired_at = models.DateTimeField(_("leads since"), null=True)
    renewed_at = models.DateTimeField(_("last heartbeat"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    # How late the leader's ticks began (jobs.engine.ticker.Lag); null until it has told. Written by the
    # renewal that is due anyway.
    tick_lag_ms = models.PositiveIntegerField(_("lag of the last tick"), null=True)
    tick_lag_worst_ms = models.PositiveIntegerField(_("worst lag of the last minute"), null=True)

    class Meta:
        verbose_name = _("scheduler lease")
        verbose_name_plural = _("scheduler lease")

    def __str__(self) -> str:
        return f"term {self.term}: {self.holder or 'nobody'}"


class SchedulerStandby(models.Model):
    """A process that would lead if it could; `seen_at` is by the database's clock."""

    holder = KeyField(_("process"), max_length=255, primary_key=True)
    seen_at = models.DateTimeField(_("last seen"))

    class Meta:
        verbose_name = _("standby")
        verbose_name_plural = _("standbys")
        ordering = ("holder",)

    def __str__(self) -> str:
        return str(self.holder)


class ChoreState(models.Model):
    """The last success of one chore: chores decide by it, so that overdue work runs at start."""

    name = KeyField(_("chore"), max_length=100, primary_key=True)
    last_started_at = models.DateTimeField(_("last started"), null=True)
    last_success_at = models.DateTimeField(_("last success"), null=True)
    last_error = models.TextField(_("last error"), blank=True, default="")

    class Meta:
        verbose_name = _("chore")
        verbose_name_plural = _("chores")
        ordering = ("name",)

    def __str__(self) -> str:
        return str(self.name)
