"""What reports of errors leave out: DEBUG's pages, and mails where a deployment adds ADMINS."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

_DJANGOS_OWN = SafeExceptionReporterFilter.hidden_settings.pattern


class ReportFilter(SafeExceptionReporterFilter):
    """Django's own, without the URLs that are keys (of database, broker, Slack) and any form's secrets."""

    hidden_settings = re.compile(f"{_DJANGOS_OWN}|DATABASE|BROKER|WEBHOOK_URL", re.IGNORECASE)

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        # Django's own hides what a view has named, and each new form would have to.
        sent = super().get_post_parameters(request)
        return {
            name: self.cleansed_substitute if self.hidden_settings.search(name) else value
            for name, value in sent.items()
        }
