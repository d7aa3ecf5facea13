"""/executions and /jobs/{id}/executions: the history, and its figures. Nothing is written here."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import team_limit
from cronsched.core.api.pagination import read_limit, read_page
from cronsched.core.api.params import parse_uuid
from cronsched.core.api.ranges import read_range
from cronsched.core.api.schema import (
    EXAMPLE_ID,
    RANGE_PARAMETERS,
    envelope,
    page_parameters,
    query,
    refusal,
    words,
)
from cronsched.core.api.viewsets import SIGNED_IN, ContractViewSet, Keys
from cronsched.core.errors import Forbidden, NotFound
from jobs.api.filters import read_period, read_run_filter
from jobs.api.serializers import (
    EXECUTION_TYPE,
    STATUS,
    TRIGGER_TYPE,
    ExecutionSerializer,
    ExecutionWithJobSerializer,
    JobFiguresSerializer,
    NamedJobSerializer,
    StatisticsSerializer,
)
from jobs.api.shapes import execution_list, whole_execution
from jobs.models import Job, JobExecution
from jobs.querysets import ExecutionQuerySet, RunFilter
from jobs.services.statistics import figures, list_runs

LIMIT_MAX = 200
_COUNT = serializers.IntegerField()
_NO_JOB = refusal(404, "Job not found", f"No job found with ID: {EXAMPLE_ID}")
_STATUS = words("status", STATUS)
_TRIGGER = query("trigger_type", enum=TRIGGER_TYPE)
_JOB = query("job_id", OpenApiTypes.UUID)


class RunsViewSet(ContractViewSet):
    schema_tag = "executions"
    queryset = JobExecution.objects.all()
    keys = Keys.ALL
    not_found_error = "Execution not found"
    not_found_message = "No execution found with ID: {id}"

    def _readable(self) -> ExecutionQuerySet:
        runs: ExecutionQuerySet = self.get_queryset()  # type: ignore[assignment]
        return runs


class ExecutionViewSet(RunsViewSet):
    serializer_class = ExecutionWithJobSerializer
    rights = {"list": SIGNED_IN, "retrieve": SIGNED_IN, "statistics": SIGNED_IN}

    @extend_schema(
        parameters=[
            *page_parameters(size_name="limit", default=20, maximum=LIMIT_MAX),
            _JOB,
            _STATUS,
            _TRIGGER,
            query("execution_type", enum=EXECUTION_TYPE),
            *RANGE_PARAMETERS,
        ],
        responses=envelope(
            "ExecutionList",
            executions=ExecutionWithJobSerializer(many=True),
            total=_COUNT,
            page=_COUNT,
            limit=_COUNT,
            total_pages=_COUNT,
        ),
    )
    def list(self, request: Request) -> Response:
        """Newest first."""
        wanted = self._within_limit(read_run_filter(self.params))
        page = read_page(self.params, size_name="limit", default=20, maximum=LIMIT_MAX)
        found = list_runs(wanted, offset=page.offset, size=page.size)
        return self.answer(
            executions=execution_list(self._readable().listed(found.ids), across_jobs=True),
            total=found.total,
            page=page.number,
            limit=page.size,
            total_pages=page.total_pages(found.total),
        )

    @extend_schema(responses=envelope("OneExecution", execution=ExecutionWithJobSerializer()))
    def retrieve(self, request: Request, pk: str) -> Response:
        """With all of its output."""
        execution = whole_execution(_by_id(self.get_queryset(), pk), across_jobs=True)
        if execution is None:
            raise self.not_found(pk)
        return self.answer(execution=execution)

    @extend_schema(parameters=[_JOB, *RANGE_PARAMETERS], responses=StatisticsSerializer)
    @action(detail=False, methods=["get"])
    def statistics(self, request: Request) -> Response:
        found = figures(self._within_limit(read_period(self.params)))
        return self.answer(
            total_executions=found.total,
            successful_executions=found.success,
            failed_executions=found.failed,
            running_executions=found.running,
            missed_executions=found.missed,
            success_rate=found.rate,
            average_duration_seconds=found.average,
            range=read_range(self.params).echo(),
        )

    def _within_limit(self, wanted: RunFilter) -> RunFilter:
        """What is counted is counted for all jobs or for one: a key of a team must name one of its own."""
        team = team_limit(self.user)
        if not team:
            return wanted
        if wanted.job_id is None:
            raise Forbidden(f"This API key is limited to the team {team}: say which job, by job_id.")
        if not Job.objects.visible_to(self.user).filter(pk=wanted.job_id).exists():
            raise NotFound(f"No job found with ID: {wanted.job_id}", error="Job not found")
        return wanted


class JobExecutionViewSet(RunsViewSet):
    """One job's runs. The job is found first: without it there is nothing to filter."""

    serializer_class = ExecutionSerializer
    rights = {"list": SIGNED_IN, "retrieve": SIGNED_IN, "stats": SIGNED_IN}

    @extend_schema(
        parameters=[
            query("limit", {"type": "integer", "minimum": 1, "default": 50}, f"At most {LIMIT_MAX}."),
            _STATUS,
            _TRIGGER,
            *RANGE_PARAMETERS,
        ],
        responses={
            200: envelope(
                "JobExecutionList",
                job_id=serializers.UUIDField(),
                job_name=serializers.CharField(),
                total_executions=serializers.IntegerField(help_text="All that match, not only those shown."),
                executions=ExecutionSerializer(many=True),
            ),
            **_NO_JOB,
        },
    )
    def list(self, request: Request, job_id: str) -> Response:
        """Newest first."""
        job = self._job(job_id)
        wanted = read_run_filter(self.params, job_id=job.pk)
        found = list_runs(wanted, offset=0, size=read_limit(self.params, default=50, maximum=LIMIT_MAX))
        return self.answer(
            job_id=str(job.pk),
            job_name=job.name,
            total_executions=found.total,
            executions=execution_list(self._readable().listed(found.ids)),
        )

    @extend_schema(
        responses=envelope("OneJobExecution", job=NamedJobSerializer(), execution=ExecutionSerializer()),
    )
    def retrieve(self, request: Request, job_id: str, execution_id: str) -> Response:
        """With all of its output."""
        job = self._job(job_id)
        execution = whole_execution(_by_id(self._runs(job), execution_id))
        if execution is None:
            raise self.not_found(execution_id)
        return self.answer(job={"id": str(job.pk), "name": job.name}, execution=execution)

    @extend_schema(
        parameters=RANGE_PARAMETERS,
        responses={
            200: envelope(
                "JobStatistics",
                job_id=serializers.UUIDField(),
                job_name=serializers.CharField(),
                statistics=JobFiguresSerializer(),
                latest_execution=ExecutionSerializer(allow_null=True),
            ),
            **_NO_JOB,
        },
    )
    def stats(self, request: Request, job_id: str) -> Response:
        """The figures of a period, and its latest run."""
        job = self._job(job_id)
        wanted = read_period(self.params, job_id=job.pk)
        found = figures(wanted)
        return self.answer(
            job_id=str(job.pk),
            job_name=job.name,
            statistics={
                "total_executions": found.total,
                "success_count": found.success,
                "failed_count": found.failed,
                "running_count": found.running,
                "missed_count": found.missed,
                "success_rate": found.rate,
                "average_duration_seconds": found.average,
            },
            latest_execution=whole_execution(self._readable().matching(wanted)),
        )

    def _job(self, job_id: str) -> Job:
        jobs: Any = Job.objects.visible_to(self.user).only("id", "name")
        job: Job | None = jobs.filter(pk=pk).first() if (pk := parse_uuid(job_id)) else None
        if job is None:
            raise NotFound(f"No job found with ID: {job_id}", error="Job not found")
        return job

    def _runs(self, job: Job) -> QuerySet[JobExecution]:
        runs: QuerySet[JobExecution] = self.get_queryset().filter(job_id=job.pk)
        return runs


def _by_id(runs: QuerySet[JobExecution], text: str) -> QuerySet[JobExecution]:
    """None at all where the text is no id."""
    pk = parse_uuid(text)
    return runs.none() if pk is None else runs.filter(pk=pk)
