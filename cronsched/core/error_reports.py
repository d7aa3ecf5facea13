"""What reports of errors leave out: DEBUG's pages, and mails where a deployment adds ADMINS."""

from __future__ import annotations

import re

from django.views.debug import SafeExceptionReporterFilter


class ReportFilter(SafeExceptionReporterFilter):
    """Django's own, and the URLs that hold a password: of the database and of the broker."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|DATABASE|BROKER", re.IGNORECASE
    )
