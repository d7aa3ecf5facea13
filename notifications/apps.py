from __future__ import annotations

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Notifications"

    def ready(self) -> None:
        from accounts.signals import user_changed
        from jobs.signals import job_batch_changed, job_changed, jobs_edited, jobs_uploaded, runs_finished
        from notifications import handlers
        from notifications.signals import slack_changed
        from taxonomy.signals import taxon_changed

        for name, signal, handler in (
            ("job_changed", job_changed, handlers.on_job_changed),
            ("job_batch_changed", job_batch_changed, handlers.on_job_batch_changed),
            ("jobs_edited", jobs_edited, handlers.on_jobs_edited),
            ("jobs_uploaded", jobs_uploaded, handlers.on_jobs_uploaded),
            ("runs_finished", runs_finished, handlers.on_runs_finished),
            ("taxon_changed", taxon_changed, handlers.on_taxon_changed),
            ("user_changed", user_changed, handlers.on_user_changed),
            ("slack_changed", slack_changed, handlers.on_slack_changed),
        ):
            signal.connect(handler, dispatch_uid=f"notifications.{name}")
