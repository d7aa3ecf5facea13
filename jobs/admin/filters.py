"""What the lists of jobs are narrowed by, where a column alone does not say it."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from accounts.models import User
from jobs.choices import ExecutionType, PausedReason

Choices = list[tuple[Any, Any]]
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
