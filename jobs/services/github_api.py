"""Questions to GitHub from a page or a chore: a few calls with one token, bounded in time as a whole.

Never inside a transaction. The scheduler's own calls are jobs.engine.transports and jobs.engine.follow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.conf import settings

from cronsched.core import clock
from cronsched.core.http.client import AddressPolicy, HttpClient, HttpRequest, HttpResult
from jobs.engine.github_tokens import Credential
from jobs.engine.messages import GitHubApp
from jobs.engine.send import USER_AGENT
from jobs.engine.transports import github, github_app
from jobs.engine.transports.base import Verdict

T = TypeVar("T")

MAX_BYTES: Final = 4 * 1024 * 1024
RAW: Final = "application/vnd.github.raw+json"


class Unavailable(Exception):
    """GitHub gave no answer in time, or no token; the text is for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """Calls with one token. `permissions` are the `app`'s, as GitHub told them with its token."""

    client: HttpClient
    token: str
    timeout_s: float
    permissions: Mapping[str, str] | None = None
    app: GitHubApp | None = None

    async def get(self, path: str, *, accept: str = "") -> HttpResult:
        return await self._send("GET", path, accept=accept)

    async def post(self, path: str, body: Mapping[str, Any]) -> HttpResult:
        return await self._send("POST", path, body=json.dumps(body).encode())

    async def _send(self, method: str, path: str, *, accept: str = "", body: bytes = b"") -> HttpResult:
        headers = github.headers(self.token, user_agent=USER_AGENT)
        if accept:
            headers["Accept"] = accept
        if body:
            headers["Content-Type"] = "application/json"
        answer = await self.client.send(
            HttpRequest(
                method=method,
                url=f"{settings.GITHUB_API_URL}/{path}",
                headers=headers,
                body=body,
                timeout_s=self.timeout_s,
                is_trusted=True,
                max_body_bytes=MAX_BYTES,
            )
        )
        if answer.status == 401 and self.app is not None:
            github_app.forget(self.app, api_url=settings.GITHUB_API_URL)
        return answer


def ask(credential: Credential, work: Callable[[Asker], Awaitable[T]], *, timeout_s: float) -> T:
    """What `work` makes of GitHub's answers. Raises Unavailable, after `timeout_s` seconds at the latest."""

    async def run() -> T:
        async with asyncio.timeout(timeout_s), HttpClient(policy=AddressPolicy()) as client:
            return await work(await _asker(client, credential, timeout_s))

    try:
        return asyncio.run(run())
    except TimeoutError:
        raise Unavailable(f"GitHub did not answer within {timeout_s:g} s.") from None


async def _asker(client: HttpClient, credential: Credential, timeout_s: float) -> Asker:
    if credential.app is None:
        if not credential.token:
            raise Unavailable("There is no token for GitHub.")
        return Asker(client=client, token=credential.token, timeout_s=timeout_s)
    got = await github_app.app_token(
        credential.app,
        api_url=settings.GITHUB_API_URL,
        send=client.send,
        now=clock.now(),
        user_agent=USER_AGENT,
        # Somebody looks at the answer, and may have mended what was wrong.
        is_anew=True,
    )
    if isinstance(got, Verdict):
        raise Unavailable(got.error_message)
    return Asker(
        client=client,
        token=got.token,
        timeout_s=timeout_s,
        permissions=dict(got.permissions),
        app=credential.app,
    )
