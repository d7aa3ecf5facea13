"""Signatures as a receiver checks them: with the library of the Standard Webhooks specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import MULTIPART_CONTENT
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cronsched.core.crypto import encrypt
from cronsched.core.errors import InvalidInput
from cronsched.core.http.guard import AddressPolicy
from cronsched.testing.fixtures_admin import errors_of
from cronsched.testing.http_sink import HttpSink
from jobs.engine.claim import claim
from jobs.engine.messages import Outcome
from jobs.engine.send import SenderConfig, send_now
from jobs.engine.signing import OVERLAP, signing_secrets
from jobs.models import Job
from jobs.services.bulk_upload.export import csv_lines
from jobs.services.lifecycle import update_job
from jobs.signals import job_changed
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


# ---- setting and changing it ------------------------------------------------------------------


@pytest.fixture
def job(db):
    return JobFactory()


def stored(job) -> tuple[str, ...]:
    job.refresh_from_db()
    return signing_secrets(job, now=job.updated_at, default="")


def test_a_secret_is_set_changed_and_taken_away(job):
    for secret, expected in ((OLD, (OLD,)), (NEW, (NEW, OLD)), ("", ()), (OTHER, (OTHER,))):
        update_job(job, data={"signing_secret": secret or None}, by=None, now=NOON)
        assert stored(job) == expected


def test_it_is_encrypted_and_in_no_history_of_changes(job):
    told = []

    def listen(sender, changes, **kwargs):
        told.append(changes)

    job_changed.connect(listen)
    try:
        update_job(job, data={"signing_secret": OLD}, by=None, now=NOON)
        update_job(job, data={"signing_secret": NEW}, by=None, now=NOON)
    finally:
        job_changed.disconnect(listen)

    job.refresh_from_db()
    assert NEW not in f"{job.signing_secret} {job.previous_signing_secret}"
    assert told == [{"signing_secret": (False, True)}, {"signing_secret": (True, True)}]


def test_the_same_again_changes_nothing(job):
    update_job(job, data={"signing_secret": OLD}, by=None, now=NOON)

    again = update_job(job, data={"signing_secret": OLD}, by=None, now=NOON + timedelta(hours=1))

    assert again.updated_at == NOON
    assert stored(job) == (OLD,)


def test_one_that_cannot_be_read_any_more_is_replaced_without_an_overlap(job):
    Job.objects.update(signing_secret="lost", signing_secret_changed_at=NOON)

    update_job(job, data={"signing_secret": NEW}, by=None, now=NOON)

    assert stored(job) == (NEW,)


@pytest.mark.parametrize("secret", ["whsec_not!base64", "two words", "x" * 501, 5, ["a"], "a\x00b", "whsec_"])
def test_what_nobody_could_sign_with_is_refused_by_name_and_not_quoted(job, secret):
    with pytest.raises(InvalidInput) as refused:
        update_job(job, data={"signing_secret": secret}, by=None, now=NOON)

    assert list(refused.value.details) == ["signing_secret"]
    assert str(secret) not in refused.value.message.replace("after whsec_,", "")


def test_the_api_takes_it_and_never_gives_it_back(user_api, a_user):
    job = JobFactory(created_by=a_user)

    answer = user_api.put(f"/jobs/{job.pk}", {"signing_secret": NEW})

    assert answer.status_code == 200
    assert answer.json()["job"]["is_signed"] is True
    assert NEW not in answer.content.decode()
    assert stored(job) == (NEW,)
    assert user_api.put(f"/jobs/{job.pk}", {"signing_secret": None}).json()["job"]["is_signed"] is False


def test_a_csv_sets_it_a_blank_keeps_it_and_an_export_has_none(user_api, a_user):
    job = JobFactory(created_by=a_user, name="signed")
    head = "name,cron,Target URL,PIC Team,End Date,signing_secret"
    row = f"signed,* * * * *,https://hooks.example.com/run,{job.pic_team.slug},2030-12-31,"

    for cell in (NEW, ""):
        file = SimpleUploadedFile("jobs.csv", f"{head}\r\n{row}{cell}\r\n".encode())
        answer = user_api.post("/jobs/bulk-upload", {"file": file}, content_type=MULTIPART_CONTENT)
        assert (answer.status_code, answer.json()["errors"]) == (200, [])
        assert stored(job) == (NEW,)

    exported = "".join(csv_lines(Job.objects.all()))
    assert NEW not in exported
    assert "secret" not in exported


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({"new_signing_secret": NEW}, (NEW, OLD)),
        ({"new_signing_secret": ""}, (OLD,)),
        ({"drop_signing_secret": "on"}, ()),
    ],
)
def test_the_admin_form_sets_keeps_and_drops_it_and_never_shows_it(admin_site, job, typed, expected):
    update_job(job, data={"signing_secret": OLD}, by=None, now=NOON)
    with time_machine.travel(NOON, tick=False):
        answer = admin_site.submit("jobs_job_change", job.pk, **typed)
        page = admin_site.open("jobs_job_change", job.pk).content.decode()

    assert answer.status_code == 302
    assert stored(job) == expected
    assert "whsec_" not in page
    assert job.signing_secret not in page or not job.signing_secret


def test_a_secret_that_the_form_refuses_is_told_on_its_field(admin_site, job):
    with time_machine.travel(NOON, tick=False):
        answer = admin_site.submit("jobs_job_change", job.pk, new_signing_secret="whsec_not!base64")

    assert list(errors_of(answer)) == ["new_signing_secret"]
    assert "not!base64" not in answer.content.decode()
