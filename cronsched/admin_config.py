"""Makes the product's own site the default one of django.contrib.admin.

Its pages are looked for where their paths are needed (cronsched/urls.py), not by each process that starts:
they are 30 MB, and half of the time that a scheduler takes to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import apps
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class AdminConfig(apps.SimpleAdminConfig):
    default = False
    default_site = "cronsched.admin_site.AdminSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[checks.CheckMessage]:
    """Django's check of what the site shows, when that has been looked for."""
    import_module(settings.ROOT_URLCONF)
    return check_admin_app(app_configs, **options)
