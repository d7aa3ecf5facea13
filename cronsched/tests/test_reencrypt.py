from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from accounts.tests.factories import UserFactory
from cronsched.core.crypto import decrypt, encrypt
from cronsched.management.commands.reencrypt import ENCRYPTED
from jobs.models import GitHubToken, Job, JobExecution, JobUpload
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.services.slack_settings import get_slack_settings

pytestmark = pytest.mark.django_db


@pytest.fixture
def rotated(settings):
    """Secrets under an old key, with a new one in front by now."""
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [old]
    job = JobFactory(signing_secret=encrypt("signing"), previous_signing_secret=encrypt("previous"))
    ExecutionFactory(job=job, overrides=encrypt("overrides"))
    ExecutionFactory(job=job)
    slack = get_slack_settings()
    slack.webhook_url = encrypt("slack")
    slack.save()
    GitHubToken.objects.create(
        owner="acme", scope_key="acme/", secret=encrypt("github"), created_at=NOON, updated_at=NOON
    )
    JobUpload.objects.create(user=job.created_by or UserFactory(), content=encrypt("upload"), created_at=NOON)
    settings.ENCRYPTION_KEYS = [new, old]
    return new


@pytest.mark.databases
def test_afterwards_the_old_key_may_go(rotated, settings):
    call_command("reencrypt", verbosity=0)

    settings.ENCRYPTION_KEYS = [rotated]
    stored = [
        decrypt(value)
        for model, column in ENCRYPTED
        for value in model._default_manager.values_list(column, flat=True)
        if value
    ]
    assert sorted(stored) == ["github", "overrides", "previous", "signing", "slack", "upload"]


def test_what_cannot_be_read_is_named_stays_and_stops_no_other(rotated):
    JobExecution.objects.filter(overrides="").update(overrides="of a lost key")
    Job.objects.update(previous_signing_secret="of a lost key")

    with pytest.raises(CommandError, match=r"2 could not be read.*job .*jobexecution"):
        call_command("reencrypt", verbosity=0)

    assert JobExecution.objects.filter(overrides="of a lost key").count() == 1
