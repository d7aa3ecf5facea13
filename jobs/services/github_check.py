"""Trying a token: what it may, which permission is missing, and until when it is good. Starts nothing.

docs.github.com, "Troubleshooting the REST API": `x-accepted-github-permissions` names what a call
needs of a fine-grained token, `x-oauth-scopes` what a classic one has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from cronsched.core.crypto import SecretUnreadable
from cronsched.core.http.client import HttpResult
from jobs.engine import config as engine_config
from jobs.engine.follow.reading import fault_of
from jobs.engine.github_tokens import FROM_ENVIRONMENT, Credential, credential_of
from jobs.models import GitHubToken, Job
from jobs.services.github_api import Asker, Unavailable, ask

CHECK_S: Final = 15.0
# A file that nobody has: asking to dispatch it starts nothing, and says whether we might.
_NO_FILE: Final = "cronsched-check-of-permissions.yml"
_EXPIRY: Final = "github-authentication-token-expiration"
_NEEDED: Final = (
    ("Metadata: read", ""),
    ("Actions: read", "/actions/runs?per_page=1"),
    ("Contents: read", "/contents/.github/workflows"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckLine:
    """One thing that a token should be able to do; `text` says what is in the way."""

    what: str
    ok: bool
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    lines: tuple[CheckLine, ...]
    expires_at: datetime | None = None

    @property
    def ok(self) -> bool:
        return all(line.ok for line in self.lines)

    def __str__(self) -> str:
        return "\n".join(
            f"{'ok' if line.ok else 'MISSING'}: {line.what}{f' ({line.text})' if line.text else ''}"
            for line in self.lines
        )


def check_github_token(row: GitHubToken, *, now: datetime) -> Check:
    """Try the token on its repository, or on one of its owner's that a job uses; the result is kept."""
    done = _checked(row)
    GitHubToken.objects.filter(pk=row.pk).update(
        checked_at=now, check_result=str(done), expires_at=done.expires_at
    )
    return done


def _checked(row: GitHubToken) -> Check:
    repo = row.repo or _any_repository(row.owner)
    try:
        return ask(credential_of(row), lambda asker: _try(asker, row.owner, repo), timeout_s=CHECK_S)
    except (Unavailable, SecretUnreadable) as error:
        return Check(lines=(CheckLine(what="GitHub answers", ok=False, text=str(error)),))


def _any_repository(owner: str) -> str:
    jobs = Job.objects.filter(github_owner__iexact=owner).exclude(github_repo="")
    return jobs.values_list("github_repo", flat=True).first() or ""


async def _try(asker: Asker, owner: str, repo: str) -> Check:
    first = await _greet(asker)
    if fault := fault_of(first):
        return Check(lines=(CheckLine(what="GitHub takes the token", ok=False, text=fault),))
    expires_at = expiry_of(first)
    taken = CheckLine(what="GitHub takes the token", ok=True)
    if not repo:
        note = CheckLine(
            what="Permissions", ok=True, text="not tried: no job uses a repository of this owner"
        )
        return Check(lines=(taken, note), expires_at=expires_at)
    path = f"repos/{quote(owner, safe='')}/{quote(repo, safe='')}"
    lines = [taken]
    for what, rest in _NEEDED:
        lines.append(_line(what, await asker.get(f"{path}{rest}"), first, is_there=rest != _NEEDED[2][1]))
    lines.append(await _may_dispatch(asker, path, first))
    return Check(lines=tuple(lines), expires_at=expires_at)


async def _greet(asker: Asker) -> HttpResult:
    """What costs nothing of the rate limit; an Enterprise Server without limits answers 404 to it."""
    answer = await asker.get("rate_limit")
    if answer.error is None and answer.status == 404:
        is_app = asker.permissions is not None
        return await asker.get("installation/repositories?per_page=1" if is_app else "user")
    return answer


async def _may_dispatch(asker: Asker, path: str, first: HttpResult) -> CheckLine:
    what = "Actions: write"
    if asker.permissions is not None:
        given = asker.permissions.get("actions", "nothing")
        return CheckLine(what=what, ok=given == "write", text="" if given == "write" else f"it has {given}")
    answer = await asker.post(
        f"{path}/actions/workflows/{_NO_FILE}/dispatches", {"ref": "HEAD", "inputs": {}}
    )
    # 404 and 422: it was looked for, and so might have been started.
    return _line(what, answer, first, is_there=False)


def _line(what: str, answer: HttpResult, first: HttpResult, *, is_there: bool) -> CheckLine:
    """`is_there`: whether a 404 can only mean that the token may not see it."""
    if answer.error is None and answer.status in (200, 204):
        return CheckLine(what=what, ok=True)
    if answer.error is None and answer.status in (404, 422) and not is_there:
        return CheckLine(what=what, ok=True)
    needs = answer.headers.get("x-accepted-github-permissions", "")
    scopes = first.headers.get("x-oauth-scopes")
    hint = (
        f"; it needs {needs}"
        if needs
        else f"; its scopes are: {scopes or 'none'}"
        if scopes is not None
        else ""
    )
    return CheckLine(what=what, ok=False, text=f"{fault_of(answer).rstrip('.')}{hint}")


def expiry_of(answer: HttpResult) -> datetime | None:
    """Until when the token is good, as GitHub told: `2026-12-31 10:00:00 UTC` or `… +0900`."""
    text = answer.headers.get(_EXPIRY, "").replace(" UTC", " +0000")
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").astimezone(UTC)
    except ValueError:
        return None


# ---- their end, looked at daily ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiring:
    """A token whose end GitHub has told. `key` tells tokens apart."""

    key: str
    name: str
    expires_at: datetime


def look_for_expiry(*, now: datetime) -> list[Expiring]:
    """Ask GitHub with every token until when it is good; those that do end. One that fails is passed over."""
    found = []
    for key, name, credential in _credentials():
        try:
            answer = ask(credential, _greet, timeout_s=CHECK_S)
        except Unavailable:
            continue
        if fault_of(answer):
            continue
        expires_at = expiry_of(answer)
        GitHubToken.objects.filter(scope_key=key).update(expires_at=expires_at)
        if expires_at is not None:
            found.append(Expiring(key=key, name=name, expires_at=expires_at))
    return found


def _credentials() -> Sequence[tuple[str, str, Credential]]:
    """All that have an end: an App's tokens renew themselves."""
    found: list[tuple[str, str, Credential]] = []
    if token := engine_config.from_settings().github_token:
        found.append((FROM_ENVIRONMENT, FROM_ENVIRONMENT, Credential(name=FROM_ENVIRONMENT, token=token)))
    for row in GitHubToken.objects.all():
        try:
            credential = credential_of(row)
        except SecretUnreadable:
            continue
        if credential.app is None:
            found.append((row.scope_key, str(row), credential))
    return found
