"""GET /health: for probes and for people who wonder. JSON whatever happens, and cheap to ask."""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cronsched import __version__
from cronsched.core.api.exceptions import error_body
from cronsched.core.api.schema import envelope
from cronsched.core.api.viewsets import ANYONE, ContractViewSet
from jobs.services.status import scheduler_status

logger = logging.getLogger(__name__)

_FIELDS = {
    "status": serializers.ChoiceField(choices=["healthy", "unhealthy"]),
    "scheduler_running": serializers.BooleanField(),
    "scheduled_jobs_count": serializers.IntegerField(allow_null=True),
    "version": serializers.CharField(
        help_text="The version that answers: while one replaces another, both do."
    ),
}


class HealthViewSet(ContractViewSet):
    schema_tag = "health"
    # A probe is answered whatever it says that it accepts.
    negotiates = False
    rights = {"health": ANYONE}

    @extend_schema(
        responses={
            200: envelope("Health", **_FIELDS),
            503: envelope(
                "Unhealthy", error=serializers.CharField(), message=serializers.CharField(), **_FIELDS
            ),
        }
    )
    def health(self, request: Request) -> Response:
        try:
            status = scheduler_status(now=self.now)
        except Error:
            logger.exception("health check: the database cannot be asked")
            body = error_body(503, "The database cannot be reached.")
            return Response({**body, **_figures("unhealthy", False, None)}, status=503)
        return Response(_figures("healthy", status.scheduler_running, status.scheduled_jobs_count))


def _figures(status: str, is_running: bool, scheduled: int | None) -> dict[str, Any]:
    return {
        "status": status,
        "scheduler_running": is_running,
        "scheduled_jobs_count": scheduled,
        "version": __version__,
    }
