"""What the lists of jobs are narrowed by, where a column alone does not say it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from accounts.models import User
from cronsched.core import clock
from jobs.choices import ExecutionType, PausedReason, Status
from jobs.querysets import between
from jobs.services.dashboard import REPEATEDLY, ends_within
from jobs.services.timeline import due_at

Choices = list[tuple[Any, Any]]
PROBLEM = "problem"
NIGHT_BEGINS, NIGHT_ENDS = time(18), time(8)
IS_GITHUB = ~Q(github_repo="") & ~Q(github_workflow_name="")


class StateFilter(DropdownFilter):  # type: ignore[misc]
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [("active", _("active")), ("paused", _("paused, for any reason")), *PausedReason.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value in PausedReason.values:
            return queryset.filter(is_active=False, paused_reason=value)
        return queryset.filter(is_active=value == "active") if value in {"active", "paused"} else queryset


class OwnerFilter(DropdownFilter):  # type: ignore[misc]
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        owners = User.objects.filter(jobs__isnull=False).distinct().values_list("pk", "username")
        fixed = [("mine", _("mine")), ("nobody", _("nobody")), ("ownerless", _("nobody active"))]
        return [*fixed, *((str(key), name) for key, name in owners)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value not in dict(self.lookup_choices):
            return queryset.none()
        if value == "nobody":
            return queryset.filter(created_by__isnull=True)
        if value == "ownerless":
            return queryset.ownerless()  # type: ignore[attr-defined]
        return queryset.filter(created_by_id=request.user.pk if value == "mine" else value)


class TargetFilter(DropdownFilter):  # type: ignore[misc]
    title = _("target")
    parameter_name = "target"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return list(ExecutionType.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == ExecutionType.GITHUB_ACTIONS:
            return queryset.filter(IS_GITHUB)
        return queryset.exclude(IS_GITHUB) if self.value() == ExecutionType.WEBHOOK else queryset


def last_night(now: datetime) -> tuple[datetime, datetime]:
    """From 18:00 of yesterday to 08:00 of today, in the zone of whoever looks."""
    today = timezone.localtime(now).date()
    begin = datetime.combine(today - timedelta(days=1), NIGHT_BEGINS)
    return timezone.make_aware(begin), timezone.make_aware(datetime.combine(today, NIGHT_ENDS))


def _today(now: datetime) -> tuple[datetime, None]:
    return timezone.make_aware(datetime.combine(timezone.localtime(now).date(), time.min)), None


PERIODS = {
    "night": (_("last night"), last_night),
    "today": (_("today"), _today),
    "24h": (_("last 24 hours"), lambda now: (now - timedelta(hours=24), None)),
    "7d": (_("last 7 days"), lambda now: (now - timedelta(days=7), None)),
}


class WhenFilter(DropdownFilter):  # type: ignore[misc]
    """The periods that people ask for, by name; a range of one's own is the filter beside it."""

    title = _("when")
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [(key, label) for key, (label, _bounds) in PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in PERIODS:
            return queryset
        _label, bounds = PERIODS[self.value()]
        return queryset.filter(between("started_at", *bounds(clock.now())))


class RunStatusFilter(ChoicesDropdownFilter):  # type: ignore[misc]
    """One status, or what somebody has to look at: failed and missed together."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == PROBLEM:
            return queryset.filter(status__in=(Status.FAILED, Status.MISSED))
        return super().queryset(request, queryset)

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        yield {
            "form": self.form_class(
                label=gettext(" By %(filter_title)s ") % {"filter_title": self.title},
                name=self.lookup_kwarg,
                choices=[self.all_option, (PROBLEM, _("failed or missed")), *Status.choices],
                data={self.lookup_kwarg: self.value()},
                multiple=False,
            ),
        }


class EndsFilter(DropdownFilter):  # type: ignore[misc]
    title = _("ends")
    parameter_name = "ends"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [
            ("7", _("within 7 days")),
            ("30", _("within 30 days")),
            ("90", _("within 90 days")),
            ("past", _("has ended")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value, now = self.value(), clock.now()
        if value in ("7", "30", "90"):
            return queryset.filter(ends_within(timedelta(days=int(value)), now=now))
        return queryset.filter(end_date__lt=clock.scheduler_date(now)) if value == "past" else queryset


class FailingFilter(DropdownFilter):  # type: ignore[misc]
    title = _("failing")
    parameter_name = "failing"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [("now", _("the last run failed")), ("repeatedly", _("three times in a row or more"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        least = {"now": 1, "repeatedly": REPEATEDLY}.get(self.value() or "")
        return queryset.filter(consecutive_failures__gte=least) if least else queryset


class RunsAtFilter(DropdownFilter):  # type: ignore[misc]
    """The jobs due in one minute, as the timeline of the home page links it; offered where it is in use."""

    title = _("due at")
    parameter_name = "runs_at"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        minute = _minute(request.GET.get(self.parameter_name, ""))
        return (
            [(request.GET[self.parameter_name], f"{timezone.localtime(minute):%Y-%m-%d %H:%M}")]
            if minute
            else []
        )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        minute = _minute(self.value() or "")
        return queryset.filter(pk__in=due_at(minute)) if minute else queryset


def _minute(text: str) -> datetime | None:
    """The minute of "2026-03-10T02:00Z"; None for what is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    except ValueError:
        return None
