from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        from jobs.services.api_keys import follow_team
        from taxonomy.signals import taxon_changed

        taxon_changed.connect(follow_team, dispatch_uid="jobs.api_keys.follow_team")
