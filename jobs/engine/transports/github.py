"""GitHub Actions: start a workflow by the REST endpoint "Create a workflow dispatch event".

docs.github.com/rest/actions/workflows, API version 2022-11-28. GitHub knows no id for a dispatch, so
a repeated one is a second run: only what was certainly not accepted may be tried again.

`return_run_details` asks for the id of the run that is started; a server that does not know the
field (Enterprise Server, until it does) is asked again without it, and from then on at once. What
may have been accepted although no answer came is FOLLOWED where the run shows our id in its name:
whoever follows looks for it before anything is sent again.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from cronsched.core.http.client import HttpRequest, HttpResult
from cronsched.core.http.faults import Fault
from jobs.engine.messages import Delivery, GitHubRunRef, GitHubTarget, Outcome, Reason
from jobs.engine.transports import github_app
from jobs.engine.transports.base import (
    Line,
    Verdict,
    encode_json,
    faulted,
    finished,
    misconfigured,
    output_of,
    retry_after_s,
    status_text,
    within_a_day,
)

API_VERSION: Final = "2022-11-28"
# The key of a job's metadata that names the branch; it is not an input of the workflow.
REF_KEY: Final = "branchDetails"

_ACCEPTED: Final = frozenset({200, 204})
# Certainly not accepted, and worth another try. Not 5xx: a gateway may give up on a dispatch that
# GitHub has taken, and a second one would run the workflow twice.
_RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
_RETRYABLE_FAULTS: Final = frozenset({Fault.TIMEOUT, Fault.CONNECTION, Fault.DNS})
# A secondary limit without Retry-After: "wait for at least one minute" (docs, rate limits).
_DEFAULT_LIMIT_WAIT_S: Final = 60.0
_NO_TARGET: Final = "The job has no GitHub target."
_MAX_DETAIL_CHARS: Final = 300
_MAX_LINK_CHARS: Final = 500
_UNKNOWN_OUTCOME: Final = "The workflow may have been started: see the repository's Actions page."
# Enterprise Server 3.19 refuses it as "… is not a permitted key".
_DETAILS: Final = "return_run_details"
NOT_FOLLOWED: Final = (
    "Dispatched, outcome not followed: GitHub did not tell which run was started. Name an input of the "
    "workflow that shows in its run-name, and the run is found by it."
)
# Servers that do not know the field, for as long as this process lives.
_without_details: set[str] = set()
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


def naming_key(target: GitHubTarget) -> str:
    """Tells workflows apart whose runs may be named otherwise: by file, branch and input; "" without one."""
    if not target.correlation_input:
        return ""
    repository = f"{target.owner}/{target.repo}".casefold()
    parts = (repository, target.workflow, target.ref, target.correlation_input)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def merge_inputs(metadata: Mapping[str, Any], override: Mapping[str, Any] | None) -> dict[str, Any]:
    """The workflow's inputs: the job's metadata without the branch, then those given for this run."""
    inputs = {str(key): value for key, value in metadata.items() if key != REF_KEY}
    return inputs | {str(key): value for key, value in (override or {}).items()}


def choose_ref(override: str | None, metadata: Mapping[str, Any], default: str) -> str:
    """The branch or tag: of this run, else of the job's metadata, else the default. Blank is none."""
    for candidate in (override, metadata.get(REF_KEY)):
        # A branch called 2025 may have come out of a spreadsheet as a number.
        is_name = isinstance(candidate, str | int | float) and not isinstance(candidate, bool)
        if is_name and (text := input_text(candidate).strip()):
            return text
    return default


def input_text(value: Any) -> str:
    """One input as the text GitHub takes (contract §15). Raises TypeError for what JSON cannot hold."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def exchange(delivery: Delivery, line: Line) -> Verdict:
    """A token where an App has to be asked for it, the dispatch, and where needed in the old words again."""
    began_s = time.monotonic()
    ready = await github_app.with_token(delivery, line)
    if isinstance(ready, Verdict):
        return ready
    request = build(ready, now=line.started_at, user_agent=line.user_agent)
    if isinstance(request, Verdict):
        return request
    has_details = ready.github is not None and ready.github.api_url not in _without_details
    result = await _send(request, line, began_s=began_s)
    if has_details and may_be_field(result):
        result = await _in_old_words(ready, line, result, began_s=began_s)
    if result.status == 401 and ready.github is not None and ready.github.app is not None:
        github_app.forget(ready.github.app, api_url=ready.github.api_url)
    return interpret(ready, result, now=line.clock())


async def _send(request: HttpRequest, line: Line, *, began_s: float) -> HttpResult:
    """One call of the attempt, in what is left of its time; asked for before its first byte."""
    left_s = round(request.timeout_s - (time.monotonic() - began_s), 1)
    if left_s <= 0:
        timeout_s = f"{request.timeout_s:g}"
        message = f"The {timeout_s} s of the attempt were over before the dispatch was sent."
        return HttpResult(error=Fault.TIMEOUT, message=message)
    return await line.send(replace(request, timeout_s=left_s), gate=line.gate)


async def _in_old_words(ready: Delivery, line: Line, refusal: HttpResult, *, began_s: float) -> HttpResult:
    """The dispatch once more, without the field; where that is taken the server is known to be an old one."""
    request = build(ready, now=line.started_at, user_agent=line.user_agent, with_details=False)
    if isinstance(request, Verdict):
        return refusal
    result = await _send(request, line, began_s=began_s)
    is_taken = result.error is None and result.status in _ACCEPTED
    if ready.github is not None and (is_taken or _DETAILS in refusal.body):
        _without_details.add(ready.github.api_url)
    return result


def may_be_field(result: HttpResult) -> bool:
    """Whether a refusal, which started nothing, may be for `return_run_details`.

    A 400 need not name what it is for; a 422 is mostly about the branch or the inputs.
    """
    if result.error is not None:
        return False
    return result.status == 400 or (result.status == 422 and _DETAILS in result.body)


def build(
    delivery: Delivery, *, now: datetime, user_agent: str, with_details: bool = True
) -> HttpRequest | Verdict:
    """The call of contract §12, or a verdict when a token, a name or an input makes it impossible."""
    target = delivery.github
    if target is None:
        return misconfigured(_NO_TARGET)
    if problem := _problem(target):
        return misconfigured(problem)
    try:
        inputs = {name: input_text(value) for name, value in target.inputs.items()}
    except (TypeError, ValueError):
        return misconfigured("An input of the workflow cannot be written as text.")
    if target.correlation_input:
        inputs[target.correlation_input] = str(delivery.execution_id)
    details = {_DETAILS: True} if with_details and target.api_url not in _without_details else {}
    return HttpRequest(
        method="POST",
        url=_dispatch_url(target),
        headers={"Content-Type": "application/json", **headers(target.token, user_agent=user_agent)},
        body=encode_json({"ref": target.ref, "inputs": inputs, **details}),
        timeout_s=delivery.timeout_s,
        is_trusted=True,
    )


def interpret(delivery: Delivery, result: HttpResult, *, now: datetime) -> Verdict:
    """200 and 204 mean that GitHub took the dispatch; everything else failed, and says what to do."""
    target = delivery.github
    if target is None:
        return misconfigured(_NO_TARGET)
    verdict = _judge(target, result, now=now)
    return finished(verdict, secrets=(target.token,), is_truncated=result.is_truncated)


def headers(token: str, *, user_agent: str) -> dict[str, str]:
    """What every call of the API carries."""
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "User-Agent": user_agent,
        "X-GitHub-Api-Version": API_VERSION,
    }


def _problem(target: GitHubTarget) -> str | None:
    if not target.token:
        return "GitHub needs a token: set GITHUB_TOKEN to one that may write Actions on the repository."
    if not _TOKEN.fullmatch(target.token):
        return "GITHUB_TOKEN holds a character that no token has: set it again, without spaces or line ends."
    names = {"owner": target.owner, "repository": target.repo, "workflow file": target.workflow}
    for what, name in names.items():
        # Dots would survive the quoting and change the path.
        if name in ("", ".", ".."):
            return f"The job's GitHub {what} is not valid."
    return None if target.ref else "The job names no branch: set branchDetails or GITHUB_DEFAULT_REF."


def _dispatch_url(target: GitHubTarget) -> str:
    owner, repo, workflow = (quote(part, safe="") for part in (target.owner, target.repo, target.workflow))
    return f"{target.api_url.rstrip('/')}/repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches"


def _judge(target: GitHubTarget, result: HttpResult, *, now: datetime) -> Verdict:
    status = result.status or 0
    if result.error is None and status in _ACCEPTED:
        return _accepted(target, result)
    if result.error is not None:
        verdict = _faulted(result, result.error)
    else:
        verdict = _refused(target, result, status, now=now)
    is_ambiguous = result.was_sent and (result.error is not None or status >= 500)
    if is_ambiguous and target.is_followed and target.correlation_input:
        return replace(
            verdict, outcome=Outcome.FOLLOWED, github_run=GitHubRunRef(naming_key=naming_key(target))
        )
    return verdict


def _accepted(target: GitHubTarget, result: HttpResult) -> Verdict:
    """Taken. It is followed where the run is known, or can be found; else its end is not known here."""
    run = replace(_run_of(result), naming_key=naming_key(target))
    taken = Verdict(outcome=Outcome.SUCCESS, response_status=result.status, output=output_of(result))
    if not target.is_followed:
        return taken
    if run.run_id is None and not target.correlation_input:
        return replace(taken, output=f"{NOT_FOLLOWED}\n{taken.output}".rstrip())
    return replace(taken, outcome=Outcome.FOLLOWED, github_run=run)


def _run_of(result: HttpResult) -> GitHubRunRef:
    """The run that a 200 names; one without an id where it names none."""
    try:
        said = json.loads(result.body)
        run_id, url = said["workflow_run_id"], said.get("html_url", "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return GitHubRunRef()
    is_id = isinstance(run_id, int) and not isinstance(run_id, bool) and 0 < run_id < 2**63
    return GitHubRunRef(run_id=run_id, html_url=web_link(url)) if is_id else GitHubRunRef()


def web_link(url: Any) -> str:
    """The link, where it is one that may be shown; else ""."""
    is_link = isinstance(url, str) and url.startswith(("https://", "http://")) and len(url) <= _MAX_LINK_CHARS
    return url if is_link else ""


def _refused(target: GitHubTarget, result: HttpResult, status: int, *, now: datetime) -> Verdict:
    is_limit = is_limited(result)
    return Verdict(
        outcome=Outcome.FAILED,
        reason=Reason.HTTP_STATUS,
        response_status=status,
        error_message=_sentence(status, target, result, is_limit),
        output=output_of(result),
        is_retryable=is_limit or status in _RETRYABLE_STATUSES,
        retry_after_s=limit_wait_s(result, now) if is_limit else retry_after_s(result, now=now),
    )


def _faulted(result: HttpResult, fault: Fault) -> Verdict:
    # Sent and unanswered is not safe to repeat; see the module's docstring.
    is_retryable = fault in _RETRYABLE_FAULTS and not result.was_sent
    message = f"GitHub was not reached. {result.message}"
    if result.was_sent:
        message = f"GitHub gave no whole answer. {result.message} {_UNKNOWN_OUTCOME}"
    return faulted(result, fault, message=message, is_retryable=is_retryable)


def is_limited(result: HttpResult) -> bool:
    """A used-up rate limit, which GitHub also tells by 403: docs, "Rate limits for the REST API"."""
    if result.status == 429:
        return True
    given = result.headers
    has_sign = "retry-after" in given or given.get("x-ratelimit-remaining") == "0"
    return result.status == 403 and (has_sign or "rate limit" in detail_of(result).lower())


def limit_wait_s(result: HttpResult, now: datetime) -> float:
    if (asked := retry_after_s(result, now=now)) is not None:
        return asked
    reset = result.headers.get("x-ratelimit-reset", "")
    is_used_up = result.headers.get("x-ratelimit-remaining") == "0"
    if is_used_up and reset.isascii() and reset.isdigit() and len(reset) <= 12:
        return within_a_day(int(reset) - now.timestamp())
    return _DEFAULT_LIMIT_WAIT_S


def _sentence(status: int, target: GitHubTarget, result: HttpResult, is_limit: bool) -> str:
    """What happened, what GitHub says about it, and what to do."""
    detail = detail_of(result)
    said = f"{status_text(status)}: {detail}" if detail else status_text(status)
    repository = f"{target.owner}/{target.repo}"
    if is_limit:
        return f"GitHub's rate limit is used up ({said}). Spread the jobs, or use a token of their own."
    if status >= 500:
        return f"GitHub had an error ({said}). {_UNKNOWN_OUTCOME}"
    if 300 <= status < 400:
        return f"GitHub says that {repository} has moved ({said}). Enter its new name in the job."
    advice = {
        401: "GitHub did not accept the token ({said}). Set GITHUB_TOKEN to a valid one.",
        403: "GitHub refused ({said}). The token needs the right to write Actions on {repository}.",
        404: "GitHub knows no {workflow} in {repository}, or the token may not see it ({said}).",
        422: "GitHub refused the branch {ref}, the inputs or the workflow's trigger ({said}).",
    }
    template = advice.get(status, "GitHub answered {said}.")
    return template.format(said=said, repository=repository, workflow=target.workflow, ref=target.ref)


def detail_of(result: HttpResult) -> str:
    """GitHub's own `message`, when the answer is its JSON."""
    try:
        message = json.loads(result.body)["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return " ".join(message.split())[:_MAX_DETAIL_CHARS] if isinstance(message, str) else ""
