"""Which token asks GitHub about a repository: the repository's own, else its owner's, else GITHUB_TOKEN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cronsched.core.crypto import decrypt
from jobs.choices import TokenKind
from jobs.engine.config import EngineConfig
from jobs.engine.messages import GitHubApp
from jobs.models import GitHubToken

# What GITHUB_TOKEN is called among the others.
FROM_ENVIRONMENT = "GITHUB_TOKEN"


def scope_key(owner: str, repo: str) -> str:
    """`acme/app`, or `acme/` for all that acme has; GitHub knows no case in names."""
    return f"{owner}/{repo}".casefold()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """A token, or an App that is asked for one. `name` tells them apart without being secret."""

    name: str
    token: str = field(default="", repr=False)
    app: GitHubApp | None = None


class TokenBook:
    """All tokens, read with one query when the first is asked for. For one batch: it does not age well."""

    def __init__(self, config: EngineConfig) -> None:
        self._default = Credential(name=FROM_ENVIRONMENT, token=config.github_token)
        self._opened: dict[str, Credential] = {}

    def find(self, owner: str, repo: str) -> Credential:
        """The most specific one. Raises SecretUnreadable where that cannot be read."""
        for key in (scope_key(owner, repo), scope_key(owner, "")):
            if key in self._rows:
                return self._open(key)
        return self._default

    def _open(self, key: str) -> Credential:
        if key not in self._opened:
            self._opened[key] = credential_of(self._rows[key])
        return self._opened[key]

    @cached_property
    def _rows(self) -> Mapping[str, GitHubToken]:
        return {row.scope_key: row for row in GitHubToken.objects.all()}


def credential_of(row: GitHubToken) -> Credential:
    """Raises SecretUnreadable."""
    secret = decrypt(row.secret) if row.secret else ""
    if row.kind != TokenKind.APP:
        return Credential(name=str(row.pk), token=secret)
    app = GitHubApp(app_id=row.app_id, installation_id=row.installation_id, private_key=secret)
    return Credential(name=str(row.pk), app=app)
