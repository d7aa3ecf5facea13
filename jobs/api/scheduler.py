"""/scheduler: who leads, since when, and putting the schedule right by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import may_manage
from cronsched.core.api.fields import ContractSerializer, UtcDateTimeField
from cronsched.core.api.routers import ContractRouter
from cronsched.core.api.schema import envelope, said
from cronsched.core.api.viewsets import ContractViewSet, Keys, Right
from jobs.services.maintenance import resync
from jobs.services.status import SchedulerStatus, scheduler_status

ADMIN = Right(role=may_manage)


class SchedulerStatusSerializer(ContractSerializer):
    scheduler_running = serializers.BooleanField()
    is_leader = serializers.BooleanField(
        source="scheduler_running", help_text="Whether a process of this deployment leads now."
    )
    leader = serializers.SerializerMethodField(help_text="The process that leads; null where none does.")
    leader_since = UtcDateTimeField(allow_null=True)
    term = serializers.IntegerField(help_text="Grows with every new leader.")
    last_heartbeat_at = UtcDateTimeField(allow_null=True)
    lease_expires_at = UtcDateTimeField(allow_null=True)
    scheduled_jobs_count = serializers.IntegerField()
    timezone = serializers.CharField()
    checked_at = UtcDateTimeField()

    def get_leader(self, status: SchedulerStatus) -> str | None:
        return status.leader or None


_COUNT = serializers.IntegerField()


class SchedulerViewSet(ContractViewSet):
    serializer_class = SchedulerStatusSerializer
    keys = Keys.UNLIMITED
    rights = {"status": ADMIN, "resync": ADMIN}

    @extend_schema(responses=SchedulerStatusSerializer)
    @action(detail=False, methods=["get"])
    def status(self, request: Request) -> Response:
        """The same answer from every process: it is the database that knows."""
        return Response(self.show(scheduler_status(now=self.now)))

    @extend_schema(
        request=None,
        responses=envelope(
            "Resync",
            message=said("Scheduler resynced successfully"),
            scheduled=_COUNT,
            paused=_COUNT,
            removed=_COUNT,
        ),
    )
    @action(detail=False, methods=["post"])
    def resync(self, request: Request) -> Response:
        """Recomputes the next run of every active job and pauses expired ones."""
        counts: dict[str, Any] = asdict(resync(now=self.now))
        return self.answer(message="Scheduler resynced successfully", **counts)


router = ContractRouter()
router.register("scheduler", SchedulerViewSet, "scheduler")
urlpatterns = router.urls
