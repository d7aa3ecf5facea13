from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cronsched.core.http.client import AddressPolicy, HttpClient, HttpRequest, HttpResult
from cronsched.core.http.faults import Fault
from cronsched.testing.fake_github import RUN_ID, FakeGitHub, Mode
from cronsched.testing.http_sink import Reply
from jobs.engine.messages import Delivery, GitHubRunRef, GitHubTarget, Outcome, Reason, TargetKind
from jobs.engine.transports import Line, Verdict, deliver, github
from jobs.engine.transports.base import CUT_MARK

# One minute before the reset that the fake's primary limit names.
NOW = datetime(2025, 12, 31, 23, 59, tzinfo=UTC)
TOKEN = "ghp_0123456789abcdef"


def target(**changes: Any) -> GitHubTarget:
    made = GitHubTarget(
        api_url="https://api.github.com",
        owner="acme",
        repo="site",
        workflow="deploy.yml",
        ref="main",
        inputs={"env": "prod"},
        token=TOKEN,
    )
    return dataclasses.replace(made, **changes)


def delivery(to: GitHubTarget | None, *, timeout_s: float = 5.0) -> Delivery:
    return Delivery(
        execution_id=UUID(int=7),
        claim_token=UUID(int=8),
        kind=TargetKind.GITHUB_ACTIONS,
        github=to,
        timeout_s=timeout_s,
    )


def build(**changes: Any) -> HttpRequest:
    request = github.build(delivery(target(**changes)), now=NOW, user_agent="cronsched/1 (test)")
    assert isinstance(request, HttpRequest)
    return request


def interpret(result: HttpResult, **changes: Any) -> Verdict:
    return github.interpret(delivery(target(**changes)), result, now=NOW)


def dispatch(fake: FakeGitHub, *, timeout_s: float = 5.0, **changes: Any) -> Verdict:
    """The whole way, over a real socket."""
    made = delivery(target(**{"api_url": fake.api_url, "token": fake.token} | changes), timeout_s=timeout_s)

    async def run() -> Verdict:
        # The strictest policy: the operator's own GitHub is trusted all the same.
        async with HttpClient(policy=AddressPolicy()) as client:
            line = Line(
                send=client.send,
                gate=lambda: True,
                clock=lambda: NOW,
                started_at=NOW,
                user_agent="cronsched/1 (test)",
            )
            return await deliver(made, line)

    return asyncio.run(run())


# Building


def test_request_is_exactly_this():
    assert build() == HttpRequest(
        method="POST",
        url="https://api.github.com/repos/acme/site/actions/workflows/deploy.yml/dispatches",
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "User-Agent": "cronsched/1 (test)",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        body=b'{"ref":"main","inputs":{"env":"prod"},"return_run_details":true}',
        timeout_s=5.0,
        is_trusted=True,
    )


def test_inputs_are_there_even_when_there_are_none():
    assert build(inputs={}).body == b'{"ref":"main","inputs":{},"return_run_details":true}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("", ""),
        ("true", "true"),
        (" spaces stay ", " spaces stay "),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (12, "12"),
        (1.5, "1.5"),
        (1e20, "1e+20"),
        ([], "[]"),
        ([1, "a", None], '[1,"a",null]'),
        ({"a": {"b": True}}, '{"a":{"b":true}}'),
        (["日本"], '["日本"]'),
    ],
)
def test_inputs_are_sent_as_text(value, text):
    assert json.loads(build(inputs={"x": value}).body)["inputs"] == {"x": text}


def test_an_input_that_is_no_text_is_not_sent():
    verdict = github.build(delivery(target(inputs={"x": object()})), now=NOW, user_agent="x")

    assert isinstance(verdict, Verdict)
    assert verdict.reason is Reason.CONFIGURATION


def test_parts_of_the_path_are_quoted():
    request = build(api_url="https://ghe.test/api/v3/", owner="a/b", repo="c d", workflow="x?.yml#")

    assert request.url == (
        "https://ghe.test/api/v3/repos/a%2Fb/c%20d/actions/workflows/x%3F.yml%23/dispatches"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": ""}, "set GITHUB_TOKEN"),
        ({"token": f"{TOKEN}\n"}, "without spaces or line ends"),
        ({"token": "ghp_日本"}, "without spaces or line ends"),
        ({"owner": ""}, "owner is not valid"),
        ({"owner": ".."}, "owner is not valid"),
        ({"repo": "."}, "repository is not valid"),
        ({"workflow": ".."}, "workflow file is not valid"),
        ({"ref": ""}, "names no branch"),
    ],
)
def test_what_cannot_be_called_fails_without_a_call(changes, told):
    verdict = github.build(delivery(target(**changes)), now=NOW, user_agent="x")

    assert isinstance(verdict, Verdict)
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.CONFIGURATION)
    assert told in verdict.error_message
    assert (verdict.is_retryable, TOKEN in verdict.error_message) == (False, False)


def test_a_delivery_without_a_target_fails():
    built = github.build(delivery(None), now=NOW, user_agent="x")
    judged = github.interpret(delivery(None), HttpResult(status=204), now=NOW)

    assert isinstance(built, Verdict)
    assert built.reason is judged.reason is Reason.CONFIGURATION


@pytest.mark.parametrize(
    ("metadata", "override", "inputs"),
    [
        ({}, None, {}),
        ({"a": 1, "branchDetails": "dev"}, None, {"a": 1}),
        ({"a": 1, "b": 2}, {"b": 3, "c": None}, {"a": 1, "b": 3, "c": None}),
        ({"branchDetails": "dev"}, {"branchDetails": "x"}, {"branchDetails": "x"}),
    ],
)
def test_inputs_are_the_metadata_and_then_the_override(metadata, override, inputs):
    assert github.merge_inputs(metadata, override) == inputs


@pytest.mark.parametrize(
    ("override", "metadata", "ref"),
    [
        ("v2", {"branchDetails": "dev"}, "v2"),
        (None, {"branchDetails": "dev"}, "dev"),
        ("", {"branchDetails": " dev "}, "dev"),
        ("  ", {"branchDetails": ""}, "main"),
        (None, {}, "main"),
        (None, {"branchDetails": None}, "main"),
        (None, {"branchDetails": {"name": "dev"}}, "main"),
        (None, {"branchDetails": True}, "main"),
        (None, {"branchDetails": 2025}, "2025"),
    ],
)
def test_ref_is_the_override_then_the_metadata_then_the_default(override, metadata, ref):
    assert github.choose_ref(override, metadata, "main") == ref


# Over a real socket


def test_dispatch_arrives_byte_for_byte(fake_github):
    verdict = dispatch(fake_github, inputs={"env": "prod", "n": 1})

    [arrived] = fake_github.dispatches
    assert verdict == Verdict(outcome=Outcome.SUCCESS, response_status=204)
    assert arrived.call.raw.startswith(
        b"POST /repos/acme/site/actions/workflows/deploy.yml/dispatches HTTP/1.1\r\n"
    )
    assert arrived.call.json() == {
        "ref": "main",
        "inputs": {"env": "prod", "n": "1"},
        "return_run_details": True,
    }
    assert arrived.call.headers["x-github-api-version"] == "2022-11-28"


def test_run_details_are_success_and_kept(fake_github):
    fake_github.mode = Mode.RUN_DETAILS

    verdict = dispatch(fake_github)

    assert (verdict.outcome, verdict.response_status) == (Outcome.SUCCESS, 200)
    assert json.loads(verdict.output)["workflow_run_id"] == RUN_ID


def followed(**changes: Any) -> dict[str, Any]:
    return {"is_followed": True, **changes}


@pytest.fixture(autouse=True)
def _nothing_learned() -> Iterator[None]:
    """What the process has learned of servers is of one test."""
    yield
    github._without_details.clear()


def test_a_followed_dispatch_knows_its_run(fake_github):
    fake_github.mode = Mode.RUN_DETAILS

    verdict = dispatch(fake_github, **followed())

    url = f"https://github.com/acme/site/actions/runs/{RUN_ID}"
    assert verdict.outcome is Outcome.FOLLOWED
    assert verdict.github_run == GitHubRunRef(run_id=RUN_ID, html_url=url)


def test_a_server_that_does_not_know_the_field_is_asked_without_it_and_remembered(fake_github):
    fake_github.mode = Mode.OLD_SERVER

    verdicts = [dispatch(fake_github, **followed(correlation_input="id")) for _ in range(2)]

    assert [verdict.outcome for verdict in verdicts] == [Outcome.FOLLOWED] * 2
    assert ["return_run_details" in call.json() for call in fake_github.sink.calls] == [True, False, False]
    assert len(fake_github.runs) == 2


def test_a_400_that_does_not_name_the_field_is_tried_without_it_too(fake_github):
    fake_github.mode = Mode.OLD_SERVER_WITHOUT_WORDS

    verdicts = [dispatch(fake_github, **followed(correlation_input="id")) for _ in range(2)]

    assert [verdict.outcome for verdict in verdicts] == [Outcome.FOLLOWED] * 2
    assert ["return_run_details" in call.json() for call in fake_github.sink.calls] == [True, False, False]
    assert len(fake_github.runs) == 2


def test_a_400_for_another_reason_is_told_and_teaches_nothing_about_the_server(fake_github):
    fake_github.mode = Mode.BAD_REQUEST

    verdict = dispatch(fake_github)

    assert (verdict.outcome, verdict.response_status) == (Outcome.FAILED, 400)
    assert "Problems parsing JSON" in verdict.error_message
    assert len(fake_github.sink.calls) == 2
    assert not github._without_details


class Steady:
    """A steady clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    made = Steady()
    monkeypatch.setattr(github, "time", made)
    return made


def line_of(
    answers: list[HttpResult], sent: list[HttpRequest], *, may_send: list[bool], steady: Steady, took_s: float
) -> Line:
    """A line whose calls are answered in turn, each after a while."""

    async def send(request: HttpRequest, *, gate: Any = None) -> HttpResult:
        if gate is not None and not gate():
            return HttpResult(error=Fault.WITHHELD, message="Withheld before it was sent.")
        sent.append(request)
        steady.now += took_s
        return answers[len(sent) - 1]

    return Line(
        send=send, gate=lambda: may_send.pop(0), clock=lambda: NOW, started_at=NOW, user_agent="cronsched/1"
    )


REFUSED = HttpResult(
    status=400, body='{"message": "\\"return_run_details\\" is not permitted"}', was_sent=True
)
TAKEN = HttpResult(status=204, was_sent=True)


@pytest.mark.parametrize("took_s", [0.0, 3.0])
def test_the_second_dispatch_has_what_is_left_of_the_time(steady, took_s):
    sent: list[HttpRequest] = []
    line = line_of([REFUSED, TAKEN], sent, may_send=[True, True], steady=steady, took_s=took_s)

    verdict = asyncio.run(deliver(delivery(target()), line))

    assert verdict.outcome is Outcome.SUCCESS
    assert [request.timeout_s for request in sent] == [5.0, 5.0 - took_s]


def test_without_time_left_there_is_no_second_dispatch_and_another_attempt_may_follow(steady):
    sent: list[HttpRequest] = []
    line = line_of([REFUSED], sent, may_send=[True, True], steady=steady, took_s=5.0)

    verdict = asyncio.run(deliver(delivery(target()), line))

    assert len(sent) == 1
    assert (verdict.outcome, verdict.reason, verdict.is_retryable) == (Outcome.FAILED, Reason.TIMEOUT, True)
    assert "The 5 s of the attempt were over" in verdict.error_message
    assert github._without_details, "the next attempt is not refused again"


def test_the_second_dispatch_is_withheld_where_it_may_not_be_sent_any_more(steady):
    """The lease was lost meanwhile, or its time is over; the first was refused, and started nothing."""
    sent: list[HttpRequest] = []
    line = line_of([REFUSED], sent, may_send=[True, False], steady=steady, took_s=1.0)

    verdict = asyncio.run(deliver(delivery(target(is_followed=True, correlation_input="id")), line))

    assert len(sent) == 1
    assert verdict.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize(
    ("changes", "is_another"),
    [
        ({}, False),
        ({"owner": "ACME", "repo": "Site"}, False),
        ({"inputs": {"a": "b"}, "token": "ghp_another"}, False),
        ({"workflow": "other.yml"}, True),
        ({"ref": "release"}, True),
        ({"repo": "app"}, True),
        ({"correlation_input": "other"}, True),
    ],
)
def test_what_runs_are_named_after_is_told_apart(changes, is_another):
    key = github.naming_key(target(correlation_input="id"))

    assert (github.naming_key(target(**{"correlation_input": "id", **changes})) != key) is is_another
    assert len(key) == 64
    assert github.naming_key(target()) == ""


def test_a_204_without_a_way_to_find_the_run_says_so(fake_github):
    verdict = dispatch(fake_github, **followed())

    assert verdict.outcome is Outcome.SUCCESS
    assert verdict.output.startswith("Dispatched, outcome not followed")


def test_the_id_goes_into_the_input_that_was_named(fake_github):
    dispatch(fake_github, **followed(correlation_input="cronsched_id"))

    assert fake_github.dispatches[0].inputs == {"env": "prod", "cronsched_id": str(UUID(int=7))}


@pytest.mark.parametrize(
    "mode",
    [Mode.ACCEPTED_BAD_GATEWAY, Mode.ACCEPTED_DROPPED, Mode.ACCEPTED_CUT_SHORT, Mode.ERROR, Mode.SILENT],
)
@pytest.mark.parametrize(
    ("correlation_input", "outcome"), [("cronsched_id", Outcome.FOLLOWED), ("", Outcome.FAILED)]
)
def test_what_may_have_been_taken_is_looked_for_or_ends_and_is_never_repeated(
    fake_github, mode, correlation_input, outcome
):
    fake_github.mode = mode

    verdict = dispatch(fake_github, timeout_s=0.3, **followed(correlation_input=correlation_input))

    assert (verdict.outcome, verdict.is_retryable) == (outcome, False)
    assert "may have been started" in verdict.error_message
    key = github.naming_key(target(correlation_input=correlation_input))
    assert verdict.github_run == (GitHubRunRef(naming_key=key) if correlation_input else None)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"workflow_run_id": "7"}', '{"workflow_run_id": true}', '{"workflow_run_id": -1}'],
)
def test_a_200_that_names_no_run_is_taken_for_a_204(body):
    verdict = interpret(HttpResult(status=200, body=body, was_sent=True), **followed())

    assert verdict.outcome is Outcome.SUCCESS
    assert "not followed" in verdict.output


@pytest.mark.parametrize(
    ("mode", "status", "told", "is_retryable", "retry_after_s"),
    [
        (Mode.FORBIDDEN, 403, "(403 Forbidden: Resource not accessible by", False, None),
        (Mode.FORBIDDEN, 403, "needs the right to write Actions on acme/site.", False, None),
        (Mode.SECONDARY_LIMIT, 403, "rate limit is used up (403 Forbidden: You have", True, 60.0),
        (Mode.PRIMARY_LIMIT, 403, "rate limit is used up", True, 60.0),
        (Mode.NOT_FOUND, 404, "GitHub knows no deploy.yml in acme/site", False, None),
        (Mode.UNPROCESSABLE, 422, "does not have 'workflow_dispatch' trigger", False, None),
        (Mode.UNPROCESSABLE, 422, "GitHub refused the branch main", False, None),
        (Mode.TOO_MANY, 429, "rate limit is used up (429 Too Many Requests", True, 30.0),
        (Mode.ERROR, 500, "GitHub had an error (500 Internal Server Error: Server Error)", False, None),
        (Mode.BAD_GATEWAY, 502, "GitHub had an error (502 Bad Gateway). The workflow may have", False, None),
    ],
)
def test_refusals_say_what_to_do(fake_github, mode, status, told, is_retryable, retry_after_s):
    fake_github.mode = mode

    verdict = dispatch(fake_github)

    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.HTTP_STATUS)
    assert verdict.response_status == status
    assert told in verdict.error_message
    assert (verdict.is_retryable, verdict.retry_after_s) == (is_retryable, retry_after_s)


def test_a_wrong_token_is_named_as_such(fake_github):
    verdict = dispatch(fake_github, token="ghp_wrong")

    assert verdict.response_status == 401
    assert verdict.error_message == (
        "GitHub did not accept the token (401 Unauthorized: Bad credentials)."
        " Set GITHUB_TOKEN to a valid one."
    )


def test_a_moved_repository_is_named(fake_github):
    fake_github.sink.by_default(Reply.redirect("/repositories/1/dispatches", status=307))

    verdict = dispatch(fake_github)

    assert "GitHub says that acme/site has moved (307 Temporary Redirect)" in verdict.error_message
    assert len(fake_github.sink.calls) == 1


@pytest.mark.parametrize(
    ("mode", "reason", "told"),
    [
        (Mode.SILENT, Reason.TIMEOUT, "No answer within 0.1 s."),
        (Mode.DROPPED, Reason.CONNECTION, "closed by"),
    ],
)
def test_an_unknown_outcome_is_said_and_not_repeated(fake_github, mode, reason, told):
    fake_github.mode = mode

    verdict = dispatch(fake_github, timeout_s=0.1 if mode is Mode.SILENT else 5.0)

    assert (verdict.outcome, verdict.reason, verdict.is_retryable) == (Outcome.FAILED, reason, False)
    assert told in verdict.error_message
    assert verdict.error_message.endswith(
        "The workflow may have been started: see the repository's Actions page."
    )


def test_a_refused_connection_may_be_repeated(fake_github):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        verdict = dispatch(fake_github, api_url=f"http://127.0.0.1:{port}")

    assert (verdict.reason, verdict.is_retryable) == (Reason.CONNECTION, True)
    assert verdict.error_message == f"GitHub was not reached. Connection refused by 127.0.0.1:{port}."


def test_the_token_never_comes_back(fake_github):
    fake_github.mode = Mode.ECHO

    verdict = dispatch(fake_github)

    assert fake_github.sink.calls[0].headers["authorization"] == f"Bearer {fake_github.token}"
    assert fake_github.token not in repr(verdict)
    assert '"authorization": "Bearer [redacted]"' in verdict.output


# Interpreting


@pytest.mark.parametrize("status", [201, 202, 206])
def test_other_2xx_are_not_taken_for_success(status):
    verdict = interpret(HttpResult(status=status))

    assert verdict.outcome is Outcome.FAILED
    assert f"GitHub answered {status}" in verdict.error_message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"message": "No ref found for: x"}', "422 Unprocessable"),
        ('{"message": ["a"]}', "422 Unprocessable"),
        ("[1]", "422 Unprocessable"),
        ('"message"', "422 Unprocessable"),
        ("<html>", "422 Unprocessable"),
        ("[" * 100_000, "422 Unprocessable"),
    ],
)
def test_any_answer_can_be_read(body, said):
    verdict = interpret(HttpResult(status=422, body=body))

    assert said in verdict.error_message


def test_githubs_message_is_bounded_cleaned_and_redacted():
    body = json.dumps({"message": f"{TOKEN} \ud800\x00{{said}} " + "x" * 5000})

    message = interpret(HttpResult(status=404, body=body)).error_message

    assert "[redacted] {said} xxx" in message
    assert len(message) < 500


def test_a_token_in_a_fault_is_redacted():
    verdict = interpret(HttpResult(error=Fault.CONNECTION, message=f"at {TOKEN}", was_sent=True))

    assert TOKEN not in verdict.error_message


def test_a_token_cut_in_two_by_the_limit_does_not_come_back():
    verdict = interpret(HttpResult(status=500, body=f"x {TOKEN[:9]}", is_truncated=True))

    assert verdict.output == "x [redacted]" + CUT_MARK


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "5"}, 5.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1767225660"}, 120.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, 0.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "never"}, 60.0),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1767225660"}, 60.0),
        ({}, 60.0),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(headers, seconds):
    verdict = interpret(HttpResult(status=429, headers=headers))

    assert (verdict.is_retryable, verdict.retry_after_s) == (True, seconds)


def test_a_rate_limit_is_known_by_its_message_too():
    verdict = interpret(HttpResult(status=403, body='{"message":"You have exceeded a secondary rate limit"}'))

    assert (verdict.is_retryable, verdict.retry_after_s) == (True, 60.0)


@pytest.mark.parametrize(
    ("fault", "was_sent", "is_retryable"),
    [
        (Fault.TIMEOUT, True, False),
        (Fault.TIMEOUT, False, True),
        (Fault.CONNECTION, True, False),
        (Fault.CONNECTION, False, True),
        (Fault.DNS, False, True),
        (Fault.TLS, False, False),
        (Fault.CONFIGURATION, False, False),
    ],
)
def test_only_what_was_certainly_not_sent_is_repeated(fault, was_sent, is_retryable):
    verdict = interpret(HttpResult(error=fault, message="x.", was_sent=was_sent))

    assert verdict.is_retryable is is_retryable


def test_withheld_was_not_sent():
    assert interpret(HttpResult(error=Fault.WITHHELD)).outcome is Outcome.NOT_SENT
