from __future__ import annotations

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Notifications"

    def ready(self) -> None:
        from jobs.signals import job_changed, jobs_uploaded, runs_finished
        from notifications.handlers import on_job_changed, on_jobs_uploaded, on_runs_finished

        job_changed.connect(on_job_changed, dispatch_uid="notifications.job_changed")
        jobs_uploaded.connect(on_jobs_uploaded, dispatch_uid="notifications.jobs_uploaded")
        runs_finished.connect(on_runs_finished, dispatch_uid="notifications.runs_finished")
