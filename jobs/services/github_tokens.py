"""GitHub tokens: set by admins for an owner or a repository, encrypted, never shown again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.choices import AuditKind
from accounts.models import User
from cronsched.core.crypto import SecretUnreadable, encrypt
from cronsched.core.db import is_duplicate, locked, retry_conflicts
from cronsched.core.errors import InvalidInput, NotFound
from jobs.choices import TokenKind
from jobs.engine.github_tokens import credential_of, scope_key
from jobs.engine.messages import GitHubApp
from jobs.engine.transports.github_app import signed_jwt
from jobs.models import GitHubToken
from jobs.services import fields
from jobs.services.fields import Refused
from jobs.services.validation import Faults

FIELDS: Final = ("owner", "repo", "kind", "app_id", "installation_id")
_KEY_MAX: Final = 10_000
_DUPLICATE: Final = "There is a token for {scope} already: change that one."


@retry_conflicts
def create_github_token(
    *, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "admin"
) -> GitHubToken:
    """A new token. InvalidInput with `details` per field."""
    clean = _cleaned(data, None)
    with transaction.atomic():
        row = GitHubToken(**clean, created_at=now, updated_at=now)
        _store(row)
        _record(row, "created", {name: (None, getattr(row, name)) for name in clean}, by, now, via)
    return row


@retry_conflicts
def update_github_token(
    row: GitHubToken, *, data: Mapping[str, Any], by: User | None, now: datetime, via: str = "admin"
) -> GitHubToken:
    """Change what `data` changes; an empty `secret` keeps the stored one."""
    with transaction.atomic():
        current = _locked(row)
        clean = _cleaned(data, current)
        changes = {name: (getattr(current, name), value) for name, value in clean.items()}
        changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
        if changes:
            for name, (_, value) in changes.items():
                setattr(current, name, value)
            # What was found out about it was about another.
            current.expires_at, current.checked_at, current.check_result = None, None, ""
            current.updated_at = now
            _store(current)
            _record(current, "updated", changes, by, now, via)
    return current


@retry_conflicts
def delete_github_token(row: GitHubToken, *, by: User | None, now: datetime, via: str = "admin") -> None:
    with transaction.atomic():
        current = _locked(row)
        _record(current, "deleted", {}, by, now, via)
        current.delete()


def _locked(row: GitHubToken) -> GitHubToken:
    current: GitHubToken | None = locked(GitHubToken.objects.filter(pk=row.pk)).first()
    if current is None:
        raise NotFound("This token is not there any more.")
    return current


def _store(row: GitHubToken) -> None:
    row.scope_key = scope_key(row.owner, row.repo)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        if is_duplicate(error):
            raise InvalidInput(_DUPLICATE.format(scope=row), field="repo" if row.repo else "owner") from None
        raise


def _cleaned(data: Mapping[str, Any], row: GitHubToken | None) -> dict[str, Any]:
    """The columns to store, judged together: what a kind needs depends on all of them."""
    faults = Faults()
    values = {name: getattr(row, name) if row else "" for name in FIELDS}
    values["kind"] = values["kind"] or TokenKind.TOKEN.value
    for name in FIELDS:
        if name in data:
            values[name] = _checked(name, data[name], faults)
    if not values["owner"]:
        faults.add("owner", "owner is required: the account or organization that the token is for.")
    secret = _secret(data.get("secret"), row, values, faults)
    if values["kind"] == TokenKind.APP:
        _need_app(values, faults)
    else:
        values["app_id"] = values["installation_id"] = ""
    faults.refuse()
    if secret:
        values["secret"] = encrypt(secret)
    return values


def _checked(name: str, given: Any, faults: Faults) -> str:
    try:
        value = fields.shape_optional_text(name, given)
        if name in ("owner", "repo"):
            fields.check_github_name(name, value)
        elif name == "kind" and value not in TokenKind.values:
            raise Refused(f"kind must be one of: {', '.join(TokenKind.values)}.")
        elif name == "installation_id" and value and not (value.isascii() and value.isdigit()):
            raise Refused(
                "installation_id must be a number: it stands at the end of the installation's page."
            )
    except Refused as refusal:
        faults.add(name, str(refusal))
        return ""
    return value


def _need_app(values: Mapping[str, str], faults: Faults) -> None:
    for name in ("app_id", "installation_id"):
        if not values[name]:
            faults.add(name, f"{name} is required for a GitHub App.")


def _secret(given: Any, row: GitHubToken | None, values: Mapping[str, str], faults: Faults) -> str:
    """The new secret; "" where the stored one stays. A private key is tried, so that no run fails for it."""
    text = given.strip() if isinstance(given, str) else ""
    is_app = values["kind"] == TokenKind.APP
    if not text:
        if row is None or row.kind != values["kind"] or not row.secret:
            faults.add("secret", "secret is required: the private key." if is_app else "secret is required.")
        return ""
    if is_app:
        if len(text) > _KEY_MAX or not _signs(text):
            faults.add("secret", "secret is no private key: paste the whole .pem file of the App.")
        return text
    try:
        fields.check_token("secret", text)
    except Refused as refusal:
        faults.add("secret", str(refusal))
    return text


def _signs(private_key: str) -> bool:
    app = GitHubApp(app_id="1", installation_id="1", private_key=private_key)
    try:
        return bool(signed_jwt(app, now=datetime.fromtimestamp(0).astimezone()))
    except ValueError:
        return False


def _record(
    row: GitHubToken, action: str, changes: audit.Changes, by: User | None, now: datetime, via: str
) -> None:
    audit.record(
        kind=AuditKind.GITHUB_TOKEN,
        object_id=row.pk,
        name=str(row),
        action=action,
        changes={name: pair for name, pair in changes.items() if pair[0] or pair[1]},
        by=by,
        now=now,
        via=via,
    )


def is_readable(row: GitHubToken) -> bool:
    """Whether its secret can be read with the present ENCRYPTION_KEYS."""
    try:
        credential_of(row)
    except SecretUnreadable:
        return False
    return True
