"""Makes the product's own site the default one of django.contrib.admin.

Its pages are looked for where their paths are needed (cronsched/urls.py), not by each process that starts:
they are 30 MB, and half of the time that a scheduler takes to start.
"""

from __future__ import annotations

from django.contrib.admin import apps


class AdminConfig(apps.SimpleAdminConfig):
    default = False
    default_site = "cronsched.admin_site.AdminSite"
