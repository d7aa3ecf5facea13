"""The WSGI entry point: `gunicorn cronsched.wsgi`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from cronsched.core.api.chunked import with_measured_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cronsched.settings")

application = with_measured_bodies(get_wsgi_application())
