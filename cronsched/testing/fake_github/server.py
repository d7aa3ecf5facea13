"""The server: what each path answers, to whom, and how it misbehaves when it is told to."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

import jwt

from cronsched.testing.fake_github.runs import RUN_ID, Plan, Run, stamp, workflow_id
from cronsched.testing.fake_github.world import World
from cronsched.testing.http_sink import Call, HttpSink, Reply

TEST_TOKEN: Final = "ghp_testtoken0123456789"
APP_TOKEN_LIFE_S: Final = 3600
_HOUR_S: Final = 3600
_NAME: Final = "([^/]+)"
_REPO: Final = f"/repos/{_NAME}/{_NAME}"
_DISPATCHES: Final = re.compile(rf"{_REPO}/actions/workflows/{_NAME}/dispatches")
_MOST_INPUTS: Final = 25
_CONCLUSIONS: Final = frozenset(
    {
        "success",
        "neutral",
        "skipped",
        "failure",
        "cancelled",
        "timed_out",
        "startup_failure",
        "action_required",
    }
)
ALL_PERMISSIONS: Final = frozenset({"actions=read", "actions=write", "contents=read", "metadata=read"})


class Mode(StrEnum):
    """What the next dispatches get, with a good token. Those called accepted start a run."""

    ACCEPTED = "204"
    RUN_DETAILS = "200"
    # Enterprise Server, before it knew `return_run_details`.
    OLD_SERVER = "400, then 204"
    # The same, where the answer does not say what is not permitted.
    OLD_SERVER_WITHOUT_WORDS = "400 without words, then 204"
    BAD_REQUEST = "400"
    FORBIDDEN = "403"
    SECONDARY_LIMIT = "403 secondary rate limit"
    PRIMARY_LIMIT = "403 primary rate limit"
    NOT_FOUND = "404"
    UNPROCESSABLE = "422"
    TOO_MANY = "429"
    ERROR = "500"
    BAD_GATEWAY = "502"
    ACCEPTED_BAD_GATEWAY = "502 after accepting"
    # No answer until `sink.release()`, and then 204.
    SILENT = "silent"
    DROPPED = "dropped"
    ACCEPTED_DROPPED = "dropped after accepting"
    ACCEPTED_CUT_SHORT = "half an answer after accepting"
    # Answers 500 with everything it was sent, the token too.
    ECHO = "echo"


_ACCEPTING: Final = frozenset(
    {
        Mode.ACCEPTED,
        Mode.RUN_DETAILS,
        Mode.OLD_SERVER,
        Mode.OLD_SERVER_WITHOUT_WORDS,
        Mode.ACCEPTED_BAD_GATEWAY,
        Mode.SILENT,
        Mode.ACCEPTED_DROPPED,
        Mode.ACCEPTED_CUT_SHORT,
    }
)


# What an old server says to `return_run_details`.
_OLD: Final = {
    Mode.OLD_SERVER: 'Invalid request.\n\n"return_run_details" is not a permitted key.',
    Mode.OLD_SERVER_WITHOUT_WORDS: "Bad Request",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """One dispatch as GitHub would understand it; `call.raw` has it byte for byte."""

    owner: str
    repo: str
    workflow: str
    ref: str
    inputs: Mapping[str, Any]
    call: Call = field(repr=False)

    @property
    def repository(self) -> str:
        return f"{self.owner}/{self.repo}"


@dataclass(kw_only=True, slots=True)
class Grant:
    """What one token may: `repositories` None is all; `expires_at` is told in a header."""

    permissions: frozenset[str] = ALL_PERMISSIONS
    # Classic tokens have scopes instead, told in a header.
    scopes: str = ""
    expires_at: float | None = None


class FakeGitHub:
    """The server. Point GITHUB_API_URL at `api_url`.

    `mode` is what dispatches get; `choose_mode` decides it for each. `plan` is what becomes of a run.
    `per_hour` is the primary rate limit of a token, None for none; `fault` answers reads instead.
    """

    def __init__(
        self, *, token: str = TEST_TOKEN, clock: Callable[[], float] = time.time, port: int = 0
    ) -> None:
        self.token = token
        self.mode = Mode.ACCEPTED
        self.choose_mode: Callable[[Dispatch], Mode] = lambda dispatch: self.mode
        self.plan: Callable[[Dispatch], Plan] = plan_by_name
        self.clock = clock
        self.world = World()
        self.grants: dict[str, Grant] = defaultdict(Grant)
        # App id -> (public key in PEM, its permissions).
        self.apps: dict[str, tuple[str, Mapping[str, str]]] = {}
        self.per_hour: int | None = None
        # Enterprise Server comes with them switched off.
        self.has_rate_limits = True
        self.read_fault: Reply | None = None
        # What is answered to certain pages of lists.
        self.page_faults: dict[str, Reply] = {}
        # What is answered to an App that asks for a token.
        self.app_fault: Reply | None = None
        # Seconds after its dispatch from which on a run is listed.
        self.listed_after_s = 0.0
        self.runs: dict[int, Run] = {}
        self.not_modified = 0
        self.sink = HttpSink(port=port)
        self.sink.by_default(self._reply)
        self._app_tokens: dict[str, float] = {}
        self._used: dict[str, int] = defaultdict(int)
        self._used_since = 0.0

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

    @property
    def run_list(self) -> list[Run]:
        """The runs that were started, oldest first."""
        return list(self.runs.values())

    def calls_of(self, method: str, contains: str) -> list[Call]:
        return [call for call in self.sink.calls if call.method == method and contains in call.path]

    # ---- who asks -----------------------------------------------------------------------------

    def _reply(self, call: Call) -> Reply:
        if call.path.startswith("/app/"):
            return self._app_token(call)
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._is_known(token):
            return _error(401, "Bad credentials")
        reply = self._counted(call, token)
        date = {"Date": formatdate(self.clock(), usegmt=True)}
        return replace(reply, headers={**date, **reply.headers, **self._about_token(token)})

    def _is_known(self, token: str) -> bool:
        if token in self._app_tokens:
            return self._app_tokens[token] > self.clock()
        grant = self.grants.get(token)
        is_over = grant is not None and grant.expires_at is not None and grant.expires_at <= self.clock()
        return not is_over and (token == self.token or grant is not None)

    def _about_token(self, token: str) -> dict[str, str]:
        grant = self.grants[token] if token in self.grants else Grant()
        about = {"X-OAuth-Scopes": grant.scopes} if grant.scopes else {}
        if grant.expires_at is not None:
            at = datetime.fromtimestamp(grant.expires_at, UTC)
            about["GitHub-Authentication-Token-Expiration"] = f"{at:%Y-%m-%d %H:%M:%S} UTC"
        if self.per_hour is not None:
            about |= {
                "X-RateLimit-Limit": str(self.per_hour),
                "X-RateLimit-Remaining": str(max(0, self.per_hour - self._used[token])),
                "X-RateLimit-Reset": str(int(self._used_since + _HOUR_S)),
            }
        return about

    def _counted(self, call: Call, token: str) -> Reply:
        """The answer, within the primary rate limit; a 304 is free."""
        if self.clock() - self._used_since >= _HOUR_S:
            self._used_since = self.clock()
            self._used.clear()
        if self.per_hour is not None and self._used[token] >= self.per_hour:
            return _error(403, "API rate limit exceeded for user ID 1.")
        reply = self._routed(call, token)
        if reply.status != 304:
            self._used[token] += 1
        return reply

    # ---- paths --------------------------------------------------------------------------------

    def _routed(self, call: Call, token: str) -> Reply:
        path, query = urlsplit(call.path).path, parse_qs(urlsplit(call.path).query)
        if call.method == "POST":
            return self._dispatch(call, token)
        if self.read_fault is not None:
            return self.read_fault
        if fault := self.page_faults.get(query.get("page", [""])[0]):
            return fault
        for pattern, needs, answer in _READS:
            if found := re.fullmatch(pattern, path):
                if needs not in self.grants[token].permissions if token in self.grants else False:
                    return _missing(needs)
                names = [unquote(part) for part in found.groups()]
                return self._conditional(call, answer(self, query, *names))
        return _error(404, "Not Found")

    def _conditional(self, call: Call, reply: Reply) -> Reply:
        if reply.status != 200:
            return reply
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
        if call.headers.get("if-none-match") == etag:
            self.not_modified += 1
            return Reply(status=304, body=b"", headers={"ETag": etag})
        return replace(reply, headers={**reply.headers, "ETag": etag})

    def _run(self, query: Mapping[str, list[str]], owner: str, repo: str, run_id: str) -> Reply:
        run = self.runs.get(int(run_id)) if run_id.isdigit() else None
        if run is None or not _is_of(run, owner, repo):
            return _error(404, "Not Found")
        return Reply.json(run.as_json(self.api_url, self.clock()))

    def _runs(self, query: Mapping[str, list[str]], owner: str, repo: str) -> Reply:
        since = _since(query)
        seen_until = self.clock() - self.listed_after_s
        found = [
            run
            for run in reversed(self.runs.values())
            if _is_of(run, owner, repo)
            and since <= run.created_at <= seen_until
            and run.event in query.get("event", [run.event])
        ][:1000]
        page = [run.as_json(self.api_url, self.clock()) for run in _page(found, query)]
        return Reply.json({"total_count": len(found), "workflow_runs": page})

    def _jobs(self, query: Mapping[str, list[str]], owner: str, repo: str, run_id: str) -> Reply:
        run = self.runs.get(int(run_id)) if run_id.isdigit() else None
        if run is None:
            return _error(404, "Not Found")
        jobs = run.jobs_as_json(self.clock())
        return Reply.json({"total_count": len(jobs), "jobs": _page(jobs, query)})

    def _user_repos(self, query: Mapping[str, list[str]]) -> Reply:
        return Reply.json(_page([_repository(name) for name in self.world.workflows], query))

    def _installation_repos(self, query: Mapping[str, list[str]]) -> Reply:
        found = [_repository(name) for name in self.world.workflows]
        return Reply.json({"total_count": len(found), "repositories": _page(found, query)})

    def _repo(self, query: Mapping[str, list[str]], owner: str, repo: str) -> Reply:
        if not self.world.knows(f"{owner}/{repo}"):
            return _error(404, "Not Found")
        return Reply.json(_repository(f"{owner}/{repo}"))

    def _workflows(self, query: Mapping[str, list[str]], owner: str, repo: str) -> Reply:
        files = self.world.workflows.get(f"{owner}/{repo}")
        if files is None:
            return _error(404, "Not Found")
        found = [
            {"id": workflow_id(name), "name": name, "path": f".github/workflows/{name}", "state": "active"}
            for name in files
        ]
        return Reply.json({"total_count": len(found), "workflows": _page(found, query)})

    def _branches(self, query: Mapping[str, list[str]], owner: str, repo: str) -> Reply:
        names = self.world.branches.get(f"{owner}/{repo}")
        if names is None:
            return _error(404, "Not Found")
        return Reply.json(_page([{"name": name, "protected": False} for name in names], query))

    def _matching_refs(self, query: Mapping[str, list[str]], owner: str, repo: str, prefix: str) -> Reply:
        names = self.world.branches.get(f"{owner}/{repo}", [])
        return Reply.json([{"ref": f"refs/heads/{name}"} for name in names if name.startswith(prefix)])

    def _search_repos(self, query: Mapping[str, list[str]]) -> Reply:
        words = query["q"][0].split()
        owner = next((word.removeprefix("user:") for word in words if word.startswith("user:")), "")
        found = [
            _repository(name)
            for name in self.world.workflows
            if name.startswith(f"{owner}/") and words[0] in name.partition("/")[2]
        ]
        items = _page(found, query)
        return Reply.json({"total_count": len(found), "incomplete_results": False, "items": items})

    def _content(self, query: Mapping[str, list[str]], owner: str, repo: str, name: str) -> Reply:
        workflow = self.world.workflow(f"{owner}/{repo}", name)
        if workflow is None:
            return _error(404, "Not Found")
        kind = {"Content-Type": "application/vnd.github.raw+json; charset=utf-8"}
        return Reply(status=200, body=workflow.text, headers=kind)

    def _user(self, query: Mapping[str, list[str]]) -> Reply:
        return Reply.json({"login": "somebody", "type": "User"})

    def _rate_limit(self, query: Mapping[str, list[str]]) -> Reply:
        if not self.has_rate_limits:
            return _error(404, "Rate limiting is not enabled.")
        return Reply.json({"resources": {}, "rate": {"limit": self.per_hour or 5000}})

    # ---- dispatches ---------------------------------------------------------------------------

    def _dispatch(self, call: Call, token: str) -> Reply:
        dispatch = _dispatch(call)
        if dispatch is None:
            return _error(404, "Not Found")
        if token in self.grants and "actions=write" not in self.grants[token].permissions:
            return _missing("actions=write")
        if refusal := self._refusal(dispatch):
            return refusal
        mode = self.choose_mode(dispatch)
        if mode in _OLD and "return_run_details" in json.loads(call.body):
            return _error(400, _OLD[mode])
        run = self._start(dispatch) if mode in _ACCEPTING else None
        return _details(run, self.api_url, mode) if run and mode in _TELLING else _REPLIES[mode]

    def _refusal(self, dispatch: Dispatch) -> Reply | None:
        if len(dispatch.inputs) > _MOST_INPUTS:
            return _error(
                422, f"you may only define up to {_MOST_INPUTS} `inputs` for a `workflow_dispatch` event"
            )
        if not self.world.knows(dispatch.repository):
            return None
        workflow = self.world.workflow(dispatch.repository, dispatch.workflow)
        if workflow is None:
            return _error(404, "Not Found")
        if dispatch.ref not in self.world.branches[dispatch.repository]:
            return _error(422, f"No ref found for: {dispatch.ref}")
        refusal = workflow.refusal(dispatch.inputs)
        return _error(422, refusal) if refusal else None

    def _start(self, dispatch: Dispatch) -> Run:
        now = self.clock()
        workflow = self.world.workflow(dispatch.repository, dispatch.workflow)
        stem = dispatch.workflow.rpartition(".")[0]
        # A workflow that nobody has written down shows all that it was given.
        shown = " ".join([stem, *map(str, dispatch.inputs.values())])
        run = Run(
            run_id=RUN_ID + len(self.runs),
            owner=dispatch.owner,
            repo=dispatch.repo,
            workflow=dispatch.workflow,
            ref=dispatch.ref,
            inputs=dispatch.inputs,
            title=workflow.title(dispatch.inputs, otherwise=stem) if workflow else shown,
            created_at=now,
            began_at=now,
            plan=self.plan(dispatch),
        )
        self.runs[run.run_id] = run
        return run

    # ---- Apps ---------------------------------------------------------------------------------

    def _app_token(self, call: Call) -> Reply:
        if call.method != "POST" or not re.fullmatch(r"/app/installations/\d+/access_tokens", call.path):
            return _error(404, "Not Found")
        if self.app_fault is not None:
            return self.app_fault
        bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
        permissions = self._app_permissions(bearer)
        if permissions is None:
            return _error(401, "A JSON web token could not be decoded")
        token = f"ghs_{secrets.token_hex(18)}"
        expires_at = self.clock() + APP_TOKEN_LIFE_S
        self._app_tokens[token] = expires_at
        self.grants[token] = Grant(permissions=_spelled(permissions))
        body = {"token": token, "expires_at": stamp(expires_at), "permissions": dict(permissions)}
        return Reply.json(body, status=201)

    def _app_permissions(self, bearer: str) -> Mapping[str, str] | None:
        try:
            app_id = str(jwt.decode(bearer, options={"verify_signature": False})["iss"])
            public_key, permissions = self.apps[app_id]
            # By the machine's clock: the stand-in's own may be a test's.
            jwt.decode(
                bearer, public_key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except (jwt.PyJWTError, KeyError):
            return None
        return permissions


def plan_by_name(dispatch: Dispatch) -> Plan:
    """A workflow called failure.yml ends as a failure; an input `seconds` is how long it works."""
    stem = dispatch.workflow.rpartition(".")[0]
    seconds = str(dispatch.inputs.get("seconds", "0"))
    return Plan(
        working_s=float(seconds) if seconds.replace(".", "", 1).isdigit() else 0.0,
        conclusion=stem if stem in _CONCLUSIONS else "success",
    )


_READS: Final[tuple[tuple[str, str, Callable[..., Reply]], ...]] = (
    (rf"{_REPO}/actions/runs/{_NAME}", "actions=read", FakeGitHub._run),
    (rf"{_REPO}/actions/runs", "actions=read", FakeGitHub._runs),
    (rf"{_REPO}/actions/runs/{_NAME}/jobs", "actions=read", FakeGitHub._jobs),
    (rf"{_REPO}/actions/workflows", "actions=read", FakeGitHub._workflows),
    (rf"{_REPO}/git/matching-refs/heads/(.+)", "contents=read", FakeGitHub._matching_refs),
    ("/search/repositories", "metadata=read", FakeGitHub._search_repos),
    (rf"{_REPO}/branches", "contents=read", FakeGitHub._branches),
    (rf"{_REPO}/contents/\.github/workflows/{_NAME}", "contents=read", FakeGitHub._content),
    (_REPO, "metadata=read", FakeGitHub._repo),
    ("/user/repos", "metadata=read", FakeGitHub._user_repos),
    ("/installation/repositories", "metadata=read", FakeGitHub._installation_repos),
    ("/user", "metadata=read", FakeGitHub._user),
    ("/rate_limit", "metadata=read", FakeGitHub._rate_limit),
)


def _dispatch(call: Call) -> Dispatch | None:
    match = _DISPATCHES.fullmatch(call.path)
    if match is None or call.method != "POST":
        return None
    owner, repo, workflow = (unquote(part) for part in match.groups())
    body = json.loads(call.body)
    return Dispatch(
        owner=owner, repo=repo, workflow=workflow, ref=body["ref"], inputs=body["inputs"], call=call
    )


def _is_of(run: Run, owner: str, repo: str) -> bool:
    return (run.owner.casefold(), run.repo.casefold()) == (owner.casefold(), repo.casefold())


def _since(query: Mapping[str, list[str]]) -> float:
    text = query.get("created", [""])[0].removeprefix(">=")
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def _page(found: list[Any], query: Mapping[str, list[str]]) -> list[Any]:
    size, page = int(query.get("per_page", ["30"])[0]), int(query.get("page", ["1"])[0])
    return found[(page - 1) * size : page * size]


def _repository(name: str) -> dict[str, Any]:
    owner, _, repo = name.partition("/")
    return {
        "name": repo,
        "full_name": name,
        "owner": {"login": owner},
        "default_branch": "main",
        "archived": False,
    }


def _spelled(permissions: Mapping[str, str]) -> frozenset[str]:
    """Who may write may read."""
    return frozenset(
        f"{name}={level}"
        for name, given in permissions.items()
        for level in ("read", "write")
        if given == "write" or level == given
    )


def _missing(needs: str) -> Reply:
    return _error(
        403, "Resource not accessible by personal access token", X_Accepted_GitHub_Permissions=needs
    )


def _error(status: int, message: str, **headers: str) -> Reply:
    body = {
        "message": message,
        "documentation_url": "https://docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event",
        "status": str(status),
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply.json(body, status=status, headers={"x-github-request-id": "ABCD:1234", **named})


def _details(run: Run, api_url: str, mode: Mode) -> Reply:
    body = {
        "workflow_run_id": run.run_id,
        "run_url": f"{api_url}/repos/{run.owner}/{run.repo}/actions/runs/{run.run_id}",
        "html_url": run.html_url,
    }
    return replace(Reply.json(body), cut_short=mode is Mode.ACCEPTED_CUT_SHORT)


_TELLING: Final = frozenset({Mode.RUN_DETAILS, Mode.ACCEPTED_CUT_SHORT})
_UNICORN: Final = Reply(status=502, body=b"<html>Unicorn!</html>", headers={"Content-Type": "text/html"})
_REPLIES: Final[Mapping[Mode, Reply]] = {
    Mode.ACCEPTED: Reply(status=204, body=b""),
    Mode.OLD_SERVER: Reply(status=204, body=b""),
    Mode.OLD_SERVER_WITHOUT_WORDS: Reply(status=204, body=b""),
    Mode.BAD_REQUEST: _error(400, "Problems parsing JSON"),
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
    Mode.BAD_GATEWAY: _UNICORN,
    Mode.ACCEPTED_BAD_GATEWAY: _UNICORN,
    Mode.SILENT: Reply(status=204, body=b"", hold=True),
    Mode.DROPPED: Reply(drop=True),
    Mode.ACCEPTED_DROPPED: Reply(drop=True),
    Mode.ECHO: Reply(status=500, echo=True),
}
