from __future__ import annotations

import pytest

from cronsched.core.crypto import NoKeys, decrypt, encrypt
from cronsched.testing.fixtures_api import ApiClient


def test_what_is_encrypted_can_be_read_and_does_not_say_what_it_is():
    stored = encrypt("s3cret ✓")

    assert "s3cret" not in stored
    assert decrypt(stored) == "s3cret ✓"


def test_without_a_key_it_is_said_who_has_to_do_what(settings):
    settings.ENCRYPTION_KEYS = []

    with pytest.raises(NoKeys, match="operator has to set ENCRYPTION_KEYS"):
        encrypt("s3cret")


@pytest.mark.django_db
def test_without_a_key_the_api_refuses_a_secret_in_words(admin_api: ApiClient, settings):
    settings.ENCRYPTION_KEYS = []

    answer = admin_api.put("/settings/slack", {"webhook_url": "https://hooks.slack.com/services/T/B/x"})

    assert (answer.status_code, answer.json()["error"]) == (503, "Not configured")
