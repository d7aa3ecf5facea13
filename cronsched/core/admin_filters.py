"""A range of time in the scheduler's zone, for the lists of the admin site."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateTimeFilter


class PeriodFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From inclusive, to exclusive. A day without a time is the whole day, as in the API.

    Unfold's own passes over a day without a time, and asks the database with times of no zone.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            start, _ = self._bounds("from")
            _, end = self._bounds("to")
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error
        if start:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": start})
        return queryset.filter(**{f"{self.parameter_name}__lt": end}) if end else queryset

    def _bounds(self, side: str) -> tuple[datetime | None, datetime | None]:
        """When what was chosen on this side begins and ends; Nones where nothing was."""
        day, at = (self.used_parameters.get(f"{self.parameter_name}_{side}_{part}") for part in (0, 1))
        if not day:
            return None, None
        begin = datetime.combine(date.fromisoformat(day), time.fromisoformat(at) if at else time.min)
        end = begin if at else begin + timedelta(days=1)
        # In UTC here, where a time at the very ends of the calendar can still be refused.
        return timezone.make_aware(begin).astimezone(UTC), timezone.make_aware(end).astimezone(UTC)
