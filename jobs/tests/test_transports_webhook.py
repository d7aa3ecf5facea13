from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import math
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from cronsched.core.http.client import HttpRequest, HttpResult
from cronsched.core.http.faults import Fault
from jobs.engine.messages import Delivery, Outcome, Reason, TargetKind
from jobs.engine.transports import Verdict, webhook
from jobs.engine.transports.base import CUT_MARK

NOW = datetime(2026, 1, 1, 12, 0, 30, 900_000, tzinfo=UTC)
RUN = UUID("0198c0de-0000-7000-8000-000000000001")


def delivery(**changes: Any) -> Delivery:
    made = Delivery(
        execution_id=RUN,
        claim_token=UUID(int=1),
        kind=TargetKind.WEBHOOK,
        target_url="https://example.com/hook",
        timeout_s=12.5,
    )
    return dataclasses.replace(made, **changes)


def build(**changes: Any) -> HttpRequest:
    request = webhook.build(delivery(**changes), now=NOW, user_agent="cronsched/1 (test)")
    assert isinstance(request, HttpRequest)
    return request


def interpret(result: HttpResult, **changes: Any) -> Verdict:
    return webhook.interpret(delivery(**changes), result, now=NOW)


def answer(status: int, **changes: Any) -> HttpResult:
    return HttpResult(**{"status": status, "was_sent": True} | changes)


# Building


def test_request_without_a_secret_is_exactly_this():
    request = build(payload={"branch": "main", "n": 1})

    assert request == HttpRequest(
        method="POST",
        url="https://example.com/hook",
        headers={
            "Content-Type": "application/json",
            "User-Agent": "cronsched/1 (test)",
            "webhook-id": str(RUN),
            "webhook-timestamp": "1767268830",
        },
        body=b'{"branch":"main","n":1}',
        timeout_s=12.5,
    )


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ({}, "{}"),
        ({"a": {"b": [1, None, True, "x"]}}, '{"a":{"b":[1,null,true,"x"]}}'),
        ({"名": "値 é"}, '{"名":"値 é"}'),
        ({"lone": "\ud800"}, '{"lone":"\\ud800"}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
    ],
)
def test_body_is_compact_utf8_json(payload, body):
    assert build(payload=payload).body == body.encode()


@pytest.mark.parametrize("payload", [{"a": math.nan}, {"a": {1, 2}}, {"a": object()}])
def test_what_json_cannot_hold_is_not_sent(payload):
    verdict = webhook.build(delivery(payload=payload), now=NOW, user_agent="x")

    assert isinstance(verdict, Verdict)
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.CONFIGURATION)


def test_signature_matches_the_specification():
    # The example of the specification's reference libraries (test_sign_function).
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    run = UUID("0198c0de-0000-7000-8000-000000000002")
    request = webhook.build(
        delivery(execution_id=run, payload={"test": 2432232314}, signing_secrets=(secret,)),
        now=at,
        user_agent="x",
    )

    assert isinstance(request, HttpRequest)
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = f'{run}.1614265330.{{"test":2432232314}}'.encode()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_signing_reproduces_the_published_example():
    key = webhook.decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signature = webhook._signature(key, b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_signs_so_that_a_receiver_can_rotate():
    both = build(signing_secrets=("whsec_b25lb25l", "whsec_dHdvdHdv")).headers["webhook-signature"]

    assert both.split(" ") == [
        build(signing_secrets=(secret,)).headers["webhook-signature"]
        for secret in ("whsec_b25lb25l", "whsec_dHdvdHdv")
    ]


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_c2VjcmV0IQ==", b"secret!"),
        ("whsec_c2VjcmV0IQ", b"secret!"),
        ("c2VjcmV0IQ==", b"secret!"),
        ("c2VjcmV0", b"secret"),
        ("my secret!", b"my secret!"),
        ("pässword", "pässword".encode()),
        ("abcde", b"abcde"),
    ],
)
def test_key_of_a_secret(secret, key):
    assert webhook.decode_secret(secret) == key


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_abcde"])
def test_a_secret_without_a_key_is_not_used(secret):
    verdict = webhook.build(delivery(signing_secrets=(secret,)), now=NOW, user_agent="x")

    assert isinstance(verdict, Verdict)
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.CONFIGURATION)
    assert "signing secret" in verdict.error_message
    assert not secret or secret not in verdict.error_message.replace("begins with whsec_", "")


# Interpreting


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(status):
    verdict = interpret(answer(status, body="done"))

    assert verdict == Verdict(outcome=Outcome.SUCCESS, response_status=status, output="done")


@pytest.mark.parametrize(
    ("status", "message", "is_retryable"),
    [
        (400, "The receiver answered 400 Bad Request.", False),
        (404, "The receiver answered 404 Not Found.", False),
        (408, "The receiver answered 408 Request Timeout.", True),
        (410, "The receiver answered 410 Gone.", False),
        (425, "The receiver answered 425 Too Early.", True),
        (429, "The receiver answered 429 Too Many Requests.", True),
        (500, "The receiver answered 500 Internal Server Error.", True),
        (503, "The receiver answered 503 Service Unavailable.", True),
        (799, "The receiver answered 799.", True),
        (101, "The receiver answered 101 Switching Protocols.", False),
    ],
)
def test_other_statuses_fail_with_the_reason(status, message, is_retryable):
    verdict = interpret(answer(status, body="why"))

    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.HTTP_STATUS)
    assert (verdict.response_status, verdict.error_message, verdict.output) == (status, message, "why")
    assert verdict.is_retryable is is_retryable


def test_redirects_fail_and_name_where_they_lead():
    verdict = interpret(answer(302, headers={"location": "https://u:p4ss@example.com/login"}))

    assert (verdict.outcome, verdict.response_status, verdict.is_retryable) == (Outcome.FAILED, 302, False)
    assert verdict.error_message == (
        "The receiver answered 302 Found; redirects are not followed"
        " (Location: https://[redacted]@example.com/login)."
    )


@pytest.mark.parametrize(
    ("fault", "reason", "is_retryable"),
    [
        (Fault.TIMEOUT, Reason.TIMEOUT, True),
        (Fault.CONNECTION, Reason.CONNECTION, True),
        (Fault.DNS, Reason.DNS, True),
        (Fault.TLS, Reason.TLS, False),
        (Fault.BLOCKED_ADDRESS, Reason.BLOCKED_ADDRESS, False),
        (Fault.CONFIGURATION, Reason.CONFIGURATION, False),
    ],
)
def test_faults_fail_with_their_reason(fault, reason, is_retryable):
    verdict = interpret(HttpResult(error=fault, message="It broke."))

    assert (verdict.outcome, verdict.reason, verdict.error_message) == (Outcome.FAILED, reason, "It broke.")
    assert verdict.is_retryable is is_retryable


def test_withheld_was_not_sent():
    verdict = interpret(HttpResult(error=Fault.WITHHELD))

    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_SENT, Reason.NONE)


def test_an_accepted_request_whose_answer_broke_off_fails_but_is_not_repeated():
    verdict = interpret(answer(200, body="half", error=Fault.TIMEOUT, message="It did not end."))

    assert (verdict.outcome, verdict.response_status) == (Outcome.FAILED, 200)
    assert (verdict.output, verdict.is_retryable) == ("half", False)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("86401", 86400.0),
        ("9" * 500, 86400.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 59.1),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 11:00:00 GMT", 86400.0),
        ("Thursday, 01-Jan-26 12:01:30 GMT", 59.1),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("²", None),
        ("Thu, 99 Jan 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after_is_read_and_bounded(header, seconds):
    verdict = interpret(answer(503, headers={"retry-after": header}))

    assert verdict.retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_no_retry_after_is_none():
    assert interpret(answer(503)).retry_after_s is None


def test_a_cut_answer_says_so():
    assert interpret(answer(200, body="abc", is_truncated=True)).output == "abc" + CUT_MARK


# Secrets


def test_signing_secrets_never_come_back():
    secrets = ("whsec_c2VjcmV0c2VjcmV0", 'pass"word/1')
    echoed = (
        json.dumps({"a": secrets[0], "b": secrets[1]})
        + " c2VjcmV0c2VjcmV0 pass%22word%2F1 c2VjcmV0\x00c2VjcmV0"
    )

    verdict = interpret(answer(500, body=echoed), signing_secrets=secrets)

    assert verdict.output == '{"a": "[redacted]", "b": "[redacted]"} [redacted] [redacted] [redacted]'


def test_a_secret_cut_in_two_by_the_limit_does_not_come_back():
    verdict = interpret(
        answer(200, body="x whsec_c2VjcmV0c2", is_truncated=True), signing_secrets=("whsec_c2VjcmV0c2VjcmV0",)
    )

    assert verdict.output == "x [redacted]" + CUT_MARK


def test_userinfo_of_the_url_never_comes_back():
    verdict = interpret(
        answer(500, body="hello me@corp, your p4ss word is p4ss%20word"),
        target_url="https://me%40corp:p4ss%20word@example.com/",
    )

    assert verdict.output == "hello [redacted], your [redacted] is [redacted]"


def test_text_is_made_storable():
    verdict = interpret(answer(500, body="a\x00b\ud800c"))

    assert verdict.output == "abc"


def test_a_long_message_is_bounded():
    verdict = interpret(HttpResult(error=Fault.CONNECTION, message="x" * 10_000))

    assert len(verdict.error_message) == 2000


def test_interpretation_does_not_read_the_clock():
    later = NOW + timedelta(seconds=30)
    result = answer(503, headers={"retry-after": "Thu, 01 Jan 2026 12:01:30 GMT"})

    verdict = webhook.interpret(delivery(), result, now=later)

    assert verdict.retry_after_s == pytest.approx(29.1)
