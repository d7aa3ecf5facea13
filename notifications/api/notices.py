"""/notifications: what the caller was told, and nobody else's."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import is_own
from cronsched.core.api.fields import ContractModelSerializer, ContractSerializer
from cronsched.core.api.pagination import read_page
from cronsched.core.api.params import read_bool
from cronsched.core.api.ranges import TimeRange, read_range
from cronsched.core.api.schema import RANGE_PARAMETERS, envelope, page_parameters, query, said
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet, Right
from notifications.models import Notification, NotificationQuerySet
from notifications.services.notices import delete_notices, mark_read

_COUNT = serializers.IntegerField()
_UNREAD = query("unread_only", OpenApiTypes.BOOL, "Only what was not read yet.")


class NotificationSerializer(ContractModelSerializer):
    user_id = serializers.UUIDField()
    related_job_id = serializers.UUIDField(allow_null=True)
    related_execution_id = serializers.UUIDField(allow_null=True)
    count = serializers.IntegerField(help_text="How often it happened since it was last read.")

    class Meta:
        model = Notification
        fields = (
            "id",
            "user_id",
            "title",
            "message",
            "type",
            "related_job_id",
            "related_execution_id",
            "is_read",
            "read_at",
            "created_at",
            "count",
        )
        read_only_fields = fields


class NaiveRangeSerializer(ContractSerializer):
    """Bounds in UTC without saying so (`2025-12-01T00:00:00`)."""

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that a class body could have.
        return {name: serializers.CharField(allow_null=True) for name in ("from", "to")}


def _own(doing: str) -> Right:
    return Right(
        role=SIGNED_IN.role,
        owner=lambda user, found: is_own(user, user_id=found.user_id),
        error=f"Forbidden: Cannot {doing} other users notifications",
        message="This notification is another user's.",
    )


class NotificationViewSet(ContractViewSet):
    schema_tag = "notifications"
    queryset = Notification.objects.all()
    serializer_class = NotificationSerializer
    not_found_error = "Notification not found"
    not_found_message = "No notification found with ID: {id}"
    rights = {
        "list": SIGNED_IN,
        "unread_count": SIGNED_IN,
        "read": _own("access"),
        "read_all": SIGNED_IN,
        "destroy": _own("delete"),
        "delete_read": SIGNED_IN,
    }

    @extend_schema(
        parameters=[*page_parameters(), _UNREAD, *RANGE_PARAMETERS],
        responses=envelope(
            "NotificationList",
            notifications=NotificationSerializer(many=True),
            total=_COUNT,
            page=_COUNT,
            per_page=_COUNT,
            total_pages=_COUNT,
            range=NaiveRangeSerializer(),
        ),
    )
    def list(self, request: Request) -> Response:
        """Newest first."""
        page = read_page(self.params)
        period = read_range(self.params)
        notices = self._own(period, unread_only=bool(read_bool(self.params, "unread_only")))
        total = notices.count()
        return self.answer(
            notifications=self.show(page.cut_by_id(notices)),
            total=total,
            page=page.number,
            per_page=page.size,
            total_pages=page.total_pages(total),
            range=period.echo_naive(),
        )

    @extend_schema(
        parameters=RANGE_PARAMETERS,
        responses=envelope("UnreadCount", unread_count=_COUNT, range=NaiveRangeSerializer()),
    )
    @action(detail=False, methods=["get"], url_path="unread-count")
    def unread_count(self, request: Request) -> Response:
        period = read_range(self.params)
        return self.answer(
            unread_count=self._own(period, unread_only=True).count(), range=period.echo_naive()
        )

    @extend_schema(
        request=None,
        responses=envelope(
            "ReadNotification",
            message=said("Notification marked as read"),
            notification=NotificationSerializer(),
        ),
    )
    @action(detail=True, methods=["put"])
    def read(self, request: Request, pk: str) -> Response:  # type: ignore[override]
        """Marks it as read; one that was read before keeps its `read_at`."""
        notice = self.get_object()
        mark_read(user=self.user, ids=[notice.pk], now=self.now)
        notice.refresh_from_db()
        return self.answer(message="Notification marked as read", notification=self.show(notice))

    @extend_schema(
        request=None,
        responses=envelope(
            "ReadNotifications", message=said("All notifications marked as read"), updated_count=_COUNT
        ),
    )
    @action(detail=False, methods=["put"], url_path="read-all")
    def read_all(self, request: Request) -> Response:
        count = mark_read(user=self.user, now=self.now)
        return self.answer(message="All notifications marked as read", updated_count=count)

    @extend_schema(
        responses=envelope("DeletedNotification", message=said("Notification deleted successfully"))
    )
    def destroy(self, request: Request, pk: str) -> Response:
        delete_notices(self.get_queryset().filter(pk=self.get_object().pk))
        return self.answer(message="Notification deleted successfully")

    @extend_schema(
        parameters=RANGE_PARAMETERS, responses=envelope("DeletedNotifications", deleted_count=_COUNT)
    )
    @action(detail=False, methods=["delete"], url_path="delete-read")
    def delete_read(self, request: Request) -> Response:
        """Those of the range that were read; all of them without a range."""
        return self.answer(deleted_count=delete_notices(self._own(read_range(self.params)).read()))

    def _own(self, period: TimeRange, *, unread_only: bool = False) -> NotificationQuerySet:
        rows: NotificationQuerySet = Notification.objects.of(self.user)
        own = rows.filter(**period.lookups("created_at"))
        return own.unread() if unread_only else own
