"""A stand-in for GitHub's "create a workflow dispatch event" endpoint, on a real loopback socket.

Paths, statuses and answers follow docs.github.com/rest/actions/workflows (API version 2022-11-28)
and the page on rate limits. It checks what GitHub checks first: the token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote

from cronsched.testing.http_sink import Call, HttpSink, Reply

_DISPATCHES: Final = re.compile(r"/repos/([^/]+)/([^/]+)/actions/workflows/([^/]+)/dispatches")
TEST_TOKEN: Final = "ghp_testtoken0123456789"
RUN_ID: Final = 16_000_000_001


class Mode(StrEnum):
    """What the next dispatches get, with a good token."""

    ACCEPTED = "204"
    RUN_DETAILS = "200"
    FORBIDDEN = "403"
    SECONDARY_LIMIT = "403 secondary rate limit"
    PRIMARY_LIMIT = "403 primary rate limit"
    NOT_FOUND = "404"
    UNPROCESSABLE = "422"
    TOO_MANY = "429"
    ERROR = "500"
    BAD_GATEWAY = "502"
    # No answer until `sink.release()`, and then 204.
    SILENT = "silent"
    DROPPED = "dropped"
    # Answers 500 with everything it was sent, the token too.
    ECHO = "echo"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """One dispatch as GitHub would understand it; `call.raw` has it byte for byte."""

    owner: str
    repo: str
    workflow: str
    ref: str
    inputs: Mapping[str, Any]
    call: Call = field(repr=False)


class FakeGitHub:
    """The server. Point GITHUB_API_URL at `api_url`."""

    def __init__(self, *, token: str = TEST_TOKEN) -> None:
        self.token = token
        self.mode = Mode.ACCEPTED
        self.sink = HttpSink()
        self.sink.by_default(self._reply)

    def __enter__(self) -> Self:
        self.sink.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sink.stop()

    @property
    def api_url(self) -> str:
        return self.sink.url("").rstrip("/")

    @property
    def dispatches(self) -> list[Dispatch]:
        """Every well-formed dispatch that arrived, accepted or not."""
        found = [_dispatch(call) for call in self.sink.calls]
        return [dispatch for dispatch in found if dispatch is not None]

    def _reply(self, call: Call) -> Reply:
        if call.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "Bad credentials")
        if _dispatch(call) is None:
            return _error(404, "Not Found")
        return _REPLIES[self.mode] if self.mode != Mode.RUN_DETAILS else _run_details(call)


def _dispatch(call: Call) -> Dispatch | None:
    match = _DISPATCHES.fullmatch(call.path)
    if match is None or call.method != "POST":
        return None
    owner, repo, workflow = (unquote(part) for part in match.groups())
    body = json.loads(call.body)
    return Dispatch(
        owner=owner, repo=repo, workflow=workflow, ref=body["ref"], inputs=body["inputs"], call=call
    )


def _error(status: int, message: str, **headers: str) -> Reply:
    body = {
        "message": message,
        "documentation_url": "https://docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event",
        "status": str(status),
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply.json(body, status=status, headers={"x-github-request-id": "ABCD:1234", **named})


def _run_details(call: Call) -> Reply:
    repository = "/".join(call.path.split("/")[2:4])
    return Reply.json(
        {
            "workflow_run_id": RUN_ID,
            "run_url": f"https://api.github.com/repos/{repository}/actions/runs/{RUN_ID}",
            "html_url": f"https://github.com/{repository}/actions/runs/{RUN_ID}",
        }
    )


_REPLIES: Final[Mapping[Mode, Reply]] = {
    Mode.ACCEPTED: Reply(status=204, body=b""),
    Mode.FORBIDDEN: _error(403, "Resource not accessible by personal access token"),
    Mode.SECONDARY_LIMIT: _error(
        403, "You have exceeded a secondary rate limit. Please wait a few minutes.", retry_after="60"
    ),
    Mode.PRIMARY_LIMIT: _error(
        403,
        "API rate limit exceeded for user ID 1.",
        x_ratelimit_remaining="0",
        x_ratelimit_reset="1767225600",
    ),
    Mode.NOT_FOUND: _error(404, "Not Found"),
    Mode.UNPROCESSABLE: _error(422, "Workflow does not have 'workflow_dispatch' trigger"),
    Mode.TOO_MANY: _error(429, "Too many requests", retry_after="30"),
    Mode.ERROR: _error(500, "Server Error"),
    Mode.BAD_GATEWAY: Reply(status=502, body=b"<html>Unicorn!</html>", headers={"Content-Type": "text/html"}),
    Mode.SILENT: Reply(status=204, body=b"", hold=True),
    Mode.DROPPED: Reply(drop=True),
    Mode.ECHO: Reply(status=500, echo=True),
}
