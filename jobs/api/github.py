"""/github/webhook: GitHub tells how runs stand, so that nobody has to wait for the next look."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from cronsched.core.api.routers import ContractRouter
from cronsched.core.api.schema import envelope, refusal, said
from cronsched.core.api.viewsets import ANYONE, ContractViewSet
from cronsched.core.errors import Forbidden, NotFound
from jobs.api.serializers import WorkflowRunEventSerializer
from jobs.services.github_webhook import EVENT, is_genuine, take_event

_NOT_SET_UP: Final = "GitHub's webhook is not set up here: set GITHUB_WEBHOOK_SECRET."
_NOT_GENUINE: Final = "X-Hub-Signature-256 is not that of this body under GITHUB_WEBHOOK_SECRET."
_TAKEN: Final = "Event taken"


class GitHubViewSet(ContractViewSet):
    serializer_class = WorkflowRunEventSerializer
    rights = {"webhook": ANYONE}

    @extend_schema(
        request=WorkflowRunEventSerializer,
        parameters=[
            OpenApiParameter(
                "X-Hub-Signature-256", str, OpenApiParameter.HEADER, description="HMAC-SHA256 of the body."
            ),
            OpenApiParameter("X-GitHub-Event", str, OpenApiParameter.HEADER, description="`workflow_run`."),
        ],
        responses={
            200: envelope(
                "WebhookTaken",
                message=said(_TAKEN),
                matched=serializers.IntegerField(help_text="Executions that the event is about."),
            ),
            **refusal(403, "Forbidden", _NOT_GENUINE),
            **refusal(404, "Not found", _NOT_SET_UP),
        },
    )
    @action(detail=False, methods=["post"])
    def webhook(self, request: Request) -> Response:
        """For GitHub: `workflow_run` events, signed with GITHUB_WEBHOOK_SECRET.

        Other events are taken and left aside.
        """
        if not settings.GITHUB_WEBHOOK_SECRET:
            raise NotFound(_NOT_SET_UP)
        signature = request.headers.get("X-Hub-Signature-256", "")
        # The body as it came, before anything is believed of it; Django bounds its size (413).
        if not is_genuine(request._request.body, signature, secret=settings.GITHUB_WEBHOOK_SECRET):
            raise Forbidden(_NOT_GENUINE)
        is_ours = request.headers.get("X-GitHub-Event", "") == EVENT
        matched = take_event(self.body, now=self.now) if is_ours else 0
        return self.answer(message=_TAKEN, matched=matched)


router = ContractRouter()
router.register("github", GitHubViewSet, "github")
urlpatterns = router.urls
