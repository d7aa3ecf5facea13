"""/job-categories and /pic-teams."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import may_manage
from cronsched.core.api.fields import ContractModelSerializer, ContractSerializer, FlagField, TextField
from cronsched.core.api.params import read_bool
from cronsched.core.api.schema import at_least_one, envelope, query, refusal, said
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet, Keys, Right
from taxonomy import services
from taxonomy.models import JobCategory, PicTeam
from taxonomy.services import NAME_MAX, QUEUE_MAX, TEAM_FIELDS
from taxonomy.slugs import SLUG_MAX

ADMIN = Right(role=may_manage)
_JOBS_UPDATED = serializers.IntegerField(help_text="How many jobs show a new slug now.")
_INACTIVE = query("include_inactive", OpenApiTypes.BOOL, "Disabled ones, too: honoured for admins only.")


def _taken(label: str, slug: str) -> dict[int, OpenApiResponse]:
    return refusal(409, "Duplicate slug", f'{label} slug "{slug}" already exists.', field="slug")


class CategorySerializer(ContractModelSerializer):
    class Meta:
        model = JobCategory
        fields = ("id", "slug", "name", "is_active", "created_at", "updated_at")
        read_only_fields = fields


class TeamSerializer(ContractModelSerializer):
    class Meta:
        model = PicTeam
        fields = ("id", "slug", "name", "slack_handle", "send_queue", "is_active", "created_at", "updated_at")
        read_only_fields = fields


class CategoryInputSerializer(ContractSerializer):
    name = TextField(max_length=NAME_MAX)
    slug = TextField(
        required=False,
        allow_null=True,
        help_text=f"From the name where absent; cut to {SLUG_MAX} characters.",
    )


class TeamInputSerializer(CategoryInputSerializer):
    slack_handle = TextField(max_length=NAME_MAX, help_text="@name, <!subteam^ID> or <@U…>.")


class CategoryChangesSerializer(ContractSerializer):
    request_schema: ClassVar[dict[str, Any]] = at_least_one("name", "is_active")

    name = TextField(required=False, max_length=NAME_MAX, help_text="A new name moves the slug.")
    is_active = FlagField(required=False)


class TeamChangesSerializer(CategoryChangesSerializer):
    request_schema: ClassVar[dict[str, Any]] = at_least_one(*TEAM_FIELDS)

    slack_handle = TextField(required=False, max_length=NAME_MAX)
    send_queue = TextField(
        required=False,
        max_length=QUEUE_MAX,
        help_text="Whose workers send its runs, where SEND_BACKEND=celery; empty: the default queue.",
    )


class _TaxonViewSet(ContractViewSet):
    # Writes take an admin; a key of one team reads.
    keys = {
        "list": Keys.ALL,
        "create": Keys.UNLIMITED,
        "update": Keys.UNLIMITED,
        "destroy": Keys.UNLIMITED,
    }
    rights = {"list": SIGNED_IN, "create": ADMIN, "update": ADMIN, "destroy": ADMIN}

    def listed(self) -> QuerySet[Any]:
        """The active ones; all of them for an admin who asks."""
        rows: Any = self.get_queryset()
        asked = read_bool(self.params, "include_inactive", default=False)
        shown: QuerySet[Any] = rows if asked and may_manage(self.user) else rows.active()
        return shown


class CategoryViewSet(_TaxonViewSet):
    schema_tag = "categories"
    queryset = JobCategory.objects.all()
    serializer_class = CategorySerializer
    not_found_message = "No category found with ID: {id}"

    @extend_schema(
        parameters=[_INACTIVE], responses=envelope("CategoryList", categories=CategorySerializer(many=True))
    )
    def list(self, request: Request) -> Response:
        return self.answer(categories=self.show(self.listed()))

    @extend_schema(
        request=CategoryInputSerializer,
        responses={
            201: envelope("CreatedCategory", message=said("Category created"), category=CategorySerializer()),
            **_taken("Category", "month-end"),
        },
        examples=[OpenApiExample("By name", {"name": "Month end"}, request_only=True)],
    )
    def create(self, request: Request) -> Response:
        body = self.body
        category = services.create_category(
            name=body.get("name"), slug=body.get("slug"), by=self.user, now=self.now
        )
        return self.answer(message="Category created", category=self.show(category), status=201)

    @extend_schema(
        request=CategoryChangesSerializer,
        responses={
            200: envelope(
                "UpdatedCategory",
                message=said("Category updated"),
                category=CategorySerializer(),
                jobs_updated=_JOBS_UPDATED,
            ),
            **_taken("Category", "quarter-end"),
        },
        examples=[OpenApiExample("Rename", {"name": "Quarter end"}, request_only=True)],
    )
    def update(self, request: Request, pk: str) -> Response:
        """A new name moves the slug, and every job follows."""
        done = services.update_category(self.get_object(), data=self.body, by=self.user, now=self.now)
        return self.answer(
            message="Category updated", category=self.show(done.category), jobs_updated=done.jobs_updated
        )

    @extend_schema(
        responses={
            200: envelope(
                "DisabledCategory", message=said("Category disabled"), category=CategorySerializer()
            ),
            **refusal(400, "Invalid category", 'The "General" category cannot be disabled.'),
        }
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Disables it; jobs that have it keep it."""
        category = services.disable_category(self.get_object(), by=self.user, now=self.now)
        return self.answer(message="Category disabled", category=self.show(category))


class TeamViewSet(_TaxonViewSet):
    schema_tag = "teams"
    queryset = PicTeam.objects.all()
    serializer_class = TeamSerializer
    not_found_message = "No PIC team found with ID: {id}"

    @extend_schema(
        parameters=[_INACTIVE], responses=envelope("TeamList", pic_teams=TeamSerializer(many=True))
    )
    def list(self, request: Request) -> Response:
        return self.answer(pic_teams=self.show(self.listed()))

    @extend_schema(
        request=TeamInputSerializer,
        responses={
            201: envelope("CreatedTeam", message=said("PIC team created"), pic_team=TeamSerializer()),
            **_taken("PIC team", "devops"),
        },
        examples=[
            OpenApiExample("By name", {"name": "DevOps", "slack_handle": "@devops"}, request_only=True)
        ],
    )
    def create(self, request: Request) -> Response:
        body = self.body
        team = services.create_team(
            name=body.get("name"),
            slack_handle=body.get("slack_handle"),
            slug=body.get("slug"),
            by=self.user,
            now=self.now,
        )
        return self.answer(message="PIC team created", pic_team=self.show(team), status=201)

    @extend_schema(
        request=TeamChangesSerializer,
        responses={
            200: envelope(
                "UpdatedTeam",
                message=said("PIC team updated"),
                pic_team=TeamSerializer(),
                jobs_updated=_JOBS_UPDATED,
            ),
            **_taken("PIC team", "platform"),
        },
        examples=[OpenApiExample("Another handle", {"slack_handle": "@platform"}, request_only=True)],
    )
    def update(self, request: Request, pk: str) -> Response:
        """A new name moves the slug, and every job follows."""
        done = services.update_team(self.get_object(), data=self.body, by=self.user, now=self.now)
        return self.answer(
            message="PIC team updated", pic_team=self.show(done.pic_team), jobs_updated=done.jobs_updated
        )

    @extend_schema(
        responses=envelope("DisabledTeam", message=said("PIC team disabled"), pic_team=TeamSerializer())
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Disables it; jobs that have it keep it."""
        team = services.disable_team(self.get_object(), by=self.user, now=self.now)
        return self.answer(message="PIC team disabled", pic_team=self.show(team))
