"""Makes the product's own site the default one of django.contrib.admin."""

from __future__ import annotations

from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    default = False
    default_site = "cronsched.admin_site.AdminSite"
