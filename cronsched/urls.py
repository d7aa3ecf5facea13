"""The root of all paths: the API, its documents, and the admin site."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.utils.functional import lazy
from django.views.generic import RedirectView

from cronsched.documents import DocumentView, redoc_bundle
from cronsched.metrics import metrics_page
from notifications.views import unsubscribe_page

# Asked for its name later than here: the names of a deployment stand in a file that is made after the code.
_FAVICON = lazy(static, str)("cronsched/favicon.svg")

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    # What browsers ask for where no page says otherwise: an answer of the API opened in one.
    path("favicon.ico", RedirectView.as_view(url=_FAVICON), name="favicon"),
    path("admin/", admin.site.urls),
    path("api/v2/", include("cronsched.api_urls")),
    path("metrics", metrics_page, name="metrics"),
    path("unsubscribe/<str:token>", unsubscribe_page, name="unsubscribe"),
    re_path(r"^docs/?$", DocumentView.as_view(template_name="documents/swagger.html"), name="docs"),
    re_path(r"^redoc/?$", DocumentView.as_view(template_name="documents/redoc.html"), name="redoc"),
    path("redoc/redoc.standalone.js", redoc_bundle, name="redoc-bundle"),
]
