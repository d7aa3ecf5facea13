"""What the lists of jobs are narrowed by, where a column alone does not say it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import MAXYEAR, MINYEAR, UTC, datetime, time, timedelta
from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter

from accounts.models import User
from cronsched.core import clock
from jobs.choices import IN_FLIGHT, TROUBLE, ExecutionType, PausedReason, Status
from jobs.models import Job
from jobs.querysets import between
from jobs.services.dashboard import REPEATEDLY, ends_within
from jobs.services.timeline import due_between

Choices = list[tuple[Any, Any]]
PROBLEM, UNDER_WAY = "problem", "in_flight"
GROUPS: dict[str, tuple[str, ...]] = {PROBLEM: TROUBLE, UNDER_WAY: IN_FLIGHT}
GROUP_LABELS = ((PROBLEM, _("failed or missed")), (UNDER_WAY, _("queued or running")))
# What narrows the list of runs to those of some jobs.
TEAM, CATEGORY = "job__pic_team__id__exact", "job__category__id__exact"
BY_JOB = (TEAM, CATEGORY, "job__id__exact", "q")
# As links have a minute; and the longest span of them.
MINUTE, LONGEST_SPAN = "%Y-%m-%dT%H:%MZ", timedelta(hours=24)
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


class OfJobsFilter(RelatedDropdownFilter):  # type: ignore[misc]
    """What a run's job has, a team say: by the jobs that have it."""

    used_parameters: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        of_run = self.used_parameters
        self.used_parameters = {name.removeprefix("job__"): value for name, value in of_run.items()}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.of_jobs(super().queryset(request, Job.objects.all()))  # type: ignore[attr-defined]


class RunStatusFilter(ChoicesDropdownFilter):  # type: ignore[misc]
    """One status, what somebody has to look at (failed and missed), or what is under way."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        values = filter(None, self.lookup_val or ())
        statuses = [status for value in values for status in GROUPS.get(value, (value,))]
        if any(request.GET.get(name) for name in BY_JOB):
            return queryset.in_status(statuses)  # type: ignore[attr-defined]
        return queryset.filter(status__in=statuses) if statuses else queryset

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        yield {
            "form": self.form_class(
                label=gettext(" By %(filter_title)s ") % {"filter_title": self.title},
                name=self.lookup_kwarg,
                choices=[self.all_option, *GROUP_LABELS, *Status.choices],
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
    """The jobs due in a minute or a span, as the home page links them; offered where it is in use."""

    title = _("due at")
    parameter_name = "runs_at"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        value = request.GET.get(self.parameter_name, "")
        span = _span(value)
        return [(value, _span_words(*span))] if span else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = _span(self.value() or "")
        return queryset.filter(pk__in=due_between(*span)) if span else queryset


def span_text(first: datetime, until: datetime) -> str:
    """As RunsAtFilter reads it; `until` is exclusive."""
    return f"{first:{MINUTE}}/{until:{MINUTE}}"


def _span(text: str) -> tuple[datetime, datetime] | None:
    """The first and the last minute of "2026-03-10T02:00Z" (one minute) or two of them with a slash between.

    None for what is neither, or too long.
    """
    try:
        first, *until = (datetime.strptime(part, MINUTE).replace(tzinfo=UTC) for part in text.split("/", 1))
    except ValueError:
        return None
    if not MINYEAR < first.year < MAXYEAR:
        return None
    last = until[0] - timedelta(minutes=1) if until else first
    return (first, last) if first <= last < first + LONGEST_SPAN else None


def _span_words(first: datetime, last: datetime) -> str:
    words = f"{timezone.localtime(first):%Y-%m-%d %H:%M}"
    return words if first == last else f"{words} – {timezone.localtime(last):%H:%M}"
