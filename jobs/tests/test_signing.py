"""Signatures as a receiver checks them: with the library of the Standard Webhooks specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cronsched.core.crypto import encrypt
from cronsched.core.http.guard import AddressPolicy
from cronsched.testing.http_sink import HttpSink
from jobs.engine.claim import claim
from jobs.engine.messages import Outcome
from jobs.engine.send import SenderConfig, send_now
from jobs.engine.signing import OVERLAP, signing_secrets
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory

OLD, NEW, OTHER = ("whsec_" + character * 32 for character in "abc")
CONFIG = SenderConfig(policy=AddressPolicy(allow_private=True), allow_http=True)


def is_valid(call, secret: str) -> bool:
    try:
        Webhook(secret).verify(call.body, dict(call.headers))
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.django_db
def test_a_receiver_verifies_each_secret_of_a_rotation_and_no_other(term, engine_config, http_sink: HttpSink):
    # The library refuses an old timestamp, so that this one runs by the real clock.
    now = datetime.now(UTC)
    job = JobFactory(
        target_url=http_sink.url("/hook"),
        metadata={"name": "日本", "n": 1},
        signing_secret=encrypt(NEW),
        previous_signing_secret=encrypt(OLD),
        signing_secret_changed_at=now - timedelta(hours=1),
    )
    row = ExecutionFactory(job=job, queued=True, manual=True, available_at=now)

    (delivery,) = claim(now=now, term=term, limit=9, config=engine_config).deliveries
    result = send_now(delivery, config=CONFIG)

    (call,) = http_sink.calls
    assert result.outcome is Outcome.SUCCESS
    assert call.headers["webhook-id"] == str(row.pk)
    assert [is_valid(call, secret) for secret in (NEW, OLD, OTHER)] == [True, True, False]


@pytest.mark.django_db
def test_without_a_secret_nothing_is_signed(term, engine_config, http_sink: HttpSink):
    job = JobFactory(target_url=http_sink.url("/hook"))
    ExecutionFactory(job=job, queued=True, manual=True, available_at=NOON)

    send_now(claim(now=NOON, term=term, limit=9, config=engine_config).deliveries[0], config=CONFIG)

    assert "webhook-signature" not in http_sink.calls[0].headers


@pytest.mark.parametrize(
    ("secret", "previous", "changed_ago", "expected"),
    [
        ("", "", None, ("operator",)),
        (NEW, "", None, (NEW,)),
        (NEW, OLD, timedelta(0), (NEW, OLD)),
        (NEW, OLD, OVERLAP - timedelta(seconds=1), (NEW, OLD)),
        (NEW, OLD, OVERLAP, (NEW,)),
        # A job whose secret was taken away is the operator's again, at once.
        ("", OLD, timedelta(0), ("operator",)),
    ],
)
def test_which_secrets_sign(secret, previous, changed_ago, expected):
    job = JobFactory.build(
        category=None,
        pic_team=None,
        created_by=None,
        signing_secret=encrypt(secret) if secret else "",
        previous_signing_secret=encrypt(previous) if previous else "",
        signing_secret_changed_at=None if changed_ago is None else NOON - changed_ago,
    )

    assert signing_secrets(job, now=NOON, default="operator") == expected


def test_an_earlier_secret_that_cannot_be_read_fails_no_run():
    job = JobFactory.build(
        category=None,
        pic_team=None,
        created_by=None,
        signing_secret=encrypt(NEW),
        previous_signing_secret="written under a key that is gone",
        signing_secret_changed_at=NOON,
    )

    assert signing_secrets(job, now=NOON, default="") == (NEW,)
