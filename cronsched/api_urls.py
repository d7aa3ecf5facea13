"""Every path below /api/v2, without a trailing slash; the routers serve the other spelling too."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

from accounts.api.urls import urlpatterns as accounts_urls
from cronsched.core.api.routers import route
from cronsched.documents import OpenApiViewSet
from cronsched.health import HealthViewSet
from jobs.api.github import urlpatterns as github_urls
from jobs.api.scheduler import urlpatterns as scheduler_urls
from jobs.api.urls import urlpatterns as jobs_urls
from notifications.api.urls import urlpatterns as notifications_urls
from taxonomy.api.urls import urlpatterns as taxonomy_urls

urlpatterns: list[URLPattern | URLResolver] = [
    # Before the users' router: its ids take one part of a path, preferences two.
    *notifications_urls,
    *accounts_urls,
    *jobs_urls,
    *scheduler_urls,
    *github_urls,
    *taxonomy_urls,
    route("health", HealthViewSet.as_view({"get": "health"}, basename="system"), name="health"),
    route(
        r"openapi\.json",
        OpenApiViewSet.as_view({"get": "document"}, basename="openapi"),
        name="openapi",
    ),
]
