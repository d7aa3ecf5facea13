"""/jobs, /executions and /auth/api-keys. /scheduler has its own."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

from cronsched.core.api.routers import ContractRouter, route
from jobs.api.executions import ExecutionViewSet, JobExecutionViewSet
from jobs.api.jobs import JobViewSet
from jobs.api.keys import ApiKeyViewSet
from jobs.api.tools import CronToolsViewSet
from jobs.api.uploads import BulkUploadViewSet

router = ContractRouter()
# Before the jobs: an id is any text there, and would take these for one.
router.register("jobs", CronToolsViewSet, "cron_tools")
router.register("jobs", BulkUploadViewSet, "uploads")
router.register("jobs", JobViewSet, "jobs")
router.register("auth/api-keys", ApiKeyViewSet, "api_keys")
router.register("executions", ExecutionViewSet, "executions")

_OF_JOB = r"jobs/(?P<job_id>[^/]+)/executions"


def _route(path: str, action: str, name: str) -> URLPattern:
    return route(path, JobExecutionViewSet.as_view({"get": action}, basename="job_executions"), name=name)


urlpatterns: list[URLPattern | URLResolver] = [
    _route(_OF_JOB, "list", "job-executions"),
    _route(rf"{_OF_JOB}/stats", "stats", "job-execution-stats"),
    _route(rf"{_OF_JOB}/(?P<execution_id>[^/]+)", "retrieve", "job-execution"),
    *router.urls,
]
