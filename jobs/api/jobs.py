"""/jobs: reading, changing and running them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import may_change_job, may_create_jobs
from cronsched.core.api.pagination import read_page
from cronsched.core.api.schema import envelope, page_parameters, query, refusal, said
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet, Keys, Right
from jobs.api.filters import ORDERING_WORDS, filter_jobs
from jobs.api.serializers import (
    EXTEND_EXAMPLE,
    GITHUB_EXAMPLE,
    PAUSE_EXAMPLE,
    RUN_EXAMPLE,
    WEBHOOK_EXAMPLE,
    ExecutionSerializer,
    JobChangesSerializer,
    JobInputSerializer,
    JobSerializer,
    NamedJobSerializer,
    RunInputSerializer,
)
from jobs.api.shapes import execution_answer, job_answer, job_list
from jobs.models import Job
from jobs.services.lifecycle import create_job, delete_job, update_job
from jobs.services.manual import run_job_now
from jobs.services.validation import DUPLICATE_NAME

PER_PAGE = 20
PER_PAGE_MAX = 1000

MAY_CREATE = Right(role=may_create_jobs)
_COUNT = serializers.IntegerField()
_DUPLICATE = refusal(400, DUPLICATE_NAME, 'A job named "Daily backup" already exists.', field="name")
_CHANGE: dict[str, Any] = {
    "request": JobChangesSerializer,
    "responses": {
        200: envelope("UpdatedJob", message=said("Job updated successfully"), job=JobSerializer()),
        **_DUPLICATE,
    },
    "examples": [PAUSE_EXAMPLE, EXTEND_EXAMPLE],
}


def _own(what: str) -> Right:
    """An admin any job, a user their own."""
    return Right(
        role=may_create_jobs,
        owner=lambda user, job: may_change_job(user, created_by_id=job.created_by_id),
        message=f"You can only {what} your own jobs.",
    )


class JobViewSet(ContractViewSet):
    schema_tag = "jobs"
    # What answers never show is not read.
    queryset = Job.objects.without_secrets().select_related("category", "pic_team").defer("search_text")
    serializer_class = JobSerializer
    keys = Keys.ALL
    not_found_error = "Job not found"
    not_found_message = "No job found with ID: {id}"
    rights = {
        "list": SIGNED_IN,
        "retrieve": SIGNED_IN,
        "create": MAY_CREATE,
        "update": _own("update"),
        "partial_update": _own("update"),
        "destroy": _own("delete"),
        "execute": _own("execute"),
    }

    @extend_schema(
        parameters=[
            query("search", description="In name, URL, repository and workflow, without regard to case."),
            query("category", description="Slug or name."),
            query("pic_team", description="Slug or name."),
            query("is_active", OpenApiTypes.BOOL),
            query("created_by", OpenApiTypes.UUID),
            query(
                "ordering", enum=ORDERING_WORDS, description="Newest first where absent; empty values last."
            ),
            *page_parameters(default=PER_PAGE, maximum=PER_PAGE_MAX),
        ],
        responses=envelope(
            "JobList",
            count=serializers.IntegerField(help_text="All that match, on whatever page."),
            jobs=JobSerializer(many=True),
            page=serializers.IntegerField(required=False),
            per_page=serializers.IntegerField(required=False),
            total_pages=serializers.IntegerField(required=False),
        ),
    )
    def list(self, request: Request) -> Response:
        """All jobs that match; with `page` or `per_page`, one page of them."""
        jobs = filter_jobs(self.get_queryset(), self.params)
        if not {"page", "per_page"} & self.params.keys():
            shown = job_list(jobs)
            return self.answer(count=len(shown), jobs=shown)
        page = read_page(self.params, default=PER_PAGE, maximum=PER_PAGE_MAX)
        total = jobs.count()
        return self.answer(
            count=total,
            # Joined and in order at once, MariaDB would sort all jobs.
            jobs=job_list(page.cut_by_id(jobs)),
            page=page.number,
            per_page=page.size,
            total_pages=page.total_pages(total),
        )

    @extend_schema(responses=envelope("OneJob", job=JobSerializer()))
    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answer(job=job_answer(self.get_object()))

    @extend_schema(
        request=JobInputSerializer,
        responses={
            201: envelope("CreatedJob", message=said("Job created successfully"), job=JobSerializer()),
            **_DUPLICATE,
        },
        examples=[WEBHOOK_EXAMPLE, GITHUB_EXAMPLE],
    )
    def create(self, request: Request) -> Response:
        job = create_job(data=self.body, by=self.user, now=self.now)
        return self.answer(message="Job created successfully", job=job_answer(job), status=201)

    @extend_schema(**_CHANGE)
    def update(self, request: Request, pk: str) -> Response:
        """Changes the fields that are sent, and checks those that differ."""
        job = update_job(self.get_object(), data=self.body, by=self.user, now=self.now)
        return self.answer(message="Job updated successfully", job=job_answer(job))

    @extend_schema(**_CHANGE)
    def partial_update(self, request: Request, pk: str) -> Response:
        """The same as PUT."""
        return self.update(request, pk)

    @extend_schema(
        responses=envelope(
            "DeletedJob", message=said("Job deleted successfully"), deleted_job=NamedJobSerializer()
        )
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes the job and its executions."""
        job = self.get_object()
        delete_job(job, by=self.user, now=self.now)
        return self.answer(
            message="Job deleted successfully", deleted_job={"id": str(job.pk), "name": job.name}
        )

    @extend_schema(
        request=RunInputSerializer,
        responses={
            200: envelope(
                "TriggeredJob",
                message=said("Job triggered successfully"),
                job_id=serializers.UUIDField(),
                execution=ExecutionSerializer(),
            ),
            **refusal(
                400, "Job expired", "This job ended on 2025-12-31; give it a later end_date to run it."
            ),
        },
        examples=[RUN_EXAMPLE],
    )
    @action(detail=True, methods=["post"])
    def execute(self, request: Request, pk: str) -> Response:
        """Queues one run and answers at once; the execution tells the outcome later."""
        job = self.get_object()
        run = run_job_now(job, by=self.user, now=self.now, overrides=self.body)
        return self.answer(
            message="Job triggered successfully", job_id=str(job.pk), execution=execution_answer(run)
        )
