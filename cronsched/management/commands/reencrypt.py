"""Write every stored secret under the first of ENCRYPTION_KEYS, so that the earlier keys may go.

May run while everything runs: a secret that is changed meanwhile is left as it was written then.
"""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model

from cronsched.core.crypto import SecretUnreadable, reencrypt
from jobs.models import GitHubToken, Job, JobExecution, JobUpload
from notifications.models import SlackSettings

# Every column that cronsched.core.crypto writes.
ENCRYPTED: Final[tuple[tuple[type[Model], str], ...]] = (
    (Job, "signing_secret"),
    (Job, "previous_signing_secret"),
    (JobExecution, "overrides"),
    (JobUpload, "content"),
    (GitHubToken, "secret"),
    (SlackSettings, "webhook_url"),
)


class Command(BaseCommand):
    help = "Write every stored secret under the first of ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable: list[str] = []
        for model, column in ENCRYPTED:
            count = self._column(model, column, unreadable)
            self.stdout.write(f"{model._meta.verbose_name_plural}, {column}: {count} written anew")
        if unreadable:
            raise CommandError(
                f"{len(unreadable)} could not be read and stay as they are ({', '.join(unreadable[:5])}): "
                "add the key they were written under to ENCRYPTION_KEYS, or enter them again."
            )

    def _column(self, model: type[Model], column: str, unreadable: list[str]) -> int:
        rows = model._default_manager.exclude(**{column: ""}).exclude(**{column: None})
        written = 0
        for pk, token in rows.order_by("pk").values_list("pk", column).iterator():
            try:
                fresh = reencrypt(token)
            except SecretUnreadable:
                unreadable.append(f"{model._meta.model_name} {pk}")
                continue
            # Only where it is still the one that was read.
            written += model._default_manager.filter(pk=pk, **{column: token}).update(**{column: fresh})
        return written
