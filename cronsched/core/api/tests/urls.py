"""Paths of these tests alone: a viewset with one action of every kind, and views that break."""

from __future__ import annotations

from typing import Any, NoReturn

from django.contrib import admin
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.urls import include, path
from rest_framework import exceptions, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.roles import may_create_jobs
from cronsched.core.api.fields import ContractSerializer, FlagField, TextField
from cronsched.core.api.routers import ContractRouter, route
from cronsched.core.api.viewsets import ANYONE, SIGNED_IN, ContractViewSet, Right
from cronsched.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Throttled

REFUSALS: dict[str, Exception] = {
    "invalid": InvalidInput("Name is taken.", field="name"),
    "forbidden": Forbidden("Not yours."),
    "not-found": NotFound("No job 7.", error="Job not found"),
    "conflict": Conflict("Slug x exists.", error="Duplicate slug"),
    "throttled": Throttled("Wait.", retry_after_s=0),
    "serializer": exceptions.ValidationError({"emails": [[], ["Not an address."]], "name": ["Required."]}),
    "serializer-plain": exceptions.ValidationError("Both at once make no sense."),
    "parse": exceptions.ParseError("Malformed."),
    "drf-throttled": exceptions.Throttled(wait=12.3),
    "model": ModelValidationError({"name": ["Too long."]}),
    "model-plain": ModelValidationError("Odd."),
    "http404": Http404("secret path"),
    "django-forbidden": PermissionDenied("secret"),
    "too-big": RequestDataTooBig("secret"),
}


class ThingSerializer(ContractSerializer):
    name = TextField()
    flag = FlagField(required=False)
    child = serializers.DictField(child=TextField(), required=False)


class ThingViewSet(ContractViewSet):
    queryset = User.objects.all()
    serializer_class = ThingSerializer
    not_found_error = "Thing not found"
    not_found_message = "No thing has the ID {id}."
    rights = {
        "list": SIGNED_IN,
        "retrieve": SIGNED_IN,
        "update": Right(
            role=may_create_jobs,
            owner=lambda user, found: user.pk == found.pk,
            error="Not your thing",
            message="Ask its owner.",
        ),
        "open": ANYONE,
        "refuse": ANYONE,
        "broken": ANYONE,
    }

    def list(self, request: Request) -> Response:
        return self.answer(params=dict(self.params), same_now=self.now is self.now)

    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answer(name=self.get_object().username)

    def update(self, request: Request, pk: str) -> Response:
        self.get_object()
        return self.answer(read=self.read(ThingSerializer))

    @action(detail=False, methods=["get", "post"])
    def open(self, request: Request) -> Response:
        return self.answer(body=dict(self.body))

    @action(detail=False, url_path="refuse/(?P<kind>[^/]+)")
    def refuse(self, request: Request, kind: str) -> Response:
        raise REFUSALS[kind]

    @action(detail=False)
    def broken(self, request: Request) -> NoReturn:
        raise RuntimeError("the secret is 42")


def html_error(request: HttpRequest) -> HttpResponse:
    return HttpResponseBadRequest("<h1>No</h1>", headers={"Retry-After": "7", "Content-Length": "11"})


def broken_page(request: HttpRequest, **kwargs: Any) -> NoReturn:
    raise RuntimeError("the secret is 42")


router = ContractRouter()
router.register("things", ThingViewSet, "things")

urlpatterns = [
    path("api/v2/", include(router.urls)),
    path(
        "api/v2/", include([route("html", html_error, "html"), route("broken-page", broken_page, "broken")])
    ),
    path("page", broken_page),
    path("admin/", admin.site.urls),
]
