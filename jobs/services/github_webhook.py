"""What GitHub tells by its webhook: a followed run's next look comes at once, with what was told.

The leader still writes the end of the run (jobs.engine.follow), so that it is told once however often
an event comes. A replayed or late event changes nothing: only what is newer than what is known does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from cronsched.core.db import locked, retry_conflicts
from jobs.choices import FollowState
from jobs.engine.follow.reading import COMPLETED, RunSeen, run_of_event
from jobs.models import GitHubRun

EVENT: Final = "workflow_run"
_SCHEME: Final = "sha256="
_IN_PROGRESS: Final = "in_progress"
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_genuine(body: bytes, signature: str, *, secret: str) -> bool:
    """Whether `X-Hub-Signature-256` is that of the body; compared in constant time."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = signature.removeprefix(_SCHEME) if signature.startswith(_SCHEME) else ""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def take_event(event: Mapping[str, Any], *, now: datetime) -> int:
    """Note what a `workflow_run` event tells. How many executions it is about: none or one."""
    seen = run_of_event(event.get("workflow_run"))
    repository = event.get("repository")
    full_name = repository.get("full_name") if isinstance(repository, Mapping) else None
    if seen is None or not isinstance(full_name, str) or full_name.count("/") != 1:
        return 0
    owner, repo = full_name.casefold().split("/")
    return _note(seen, owner=owner, repo=repo, now=now)


@retry_conflicts
def _note(seen: RunSeen, *, owner: str, repo: str, now: datetime) -> int:
    ids = [UUID(found) for found in _ID.findall(seen.title.lower())]
    # One that was given up has not been found either: what has become of it is known from now on.
    looked_for = Q(run_id__isnull=True, execution_id__in=ids)
    ours = Q(run_id=seen.run_id) | looked_for
    with transaction.atomic():
        named = locked(GitHubRun.objects.filter(ours, owner=owner, repo=repo).select_related(None))
        rows = [row for row in named if _is_of(row, seen)]
        for row in rows:
            if _is_news(row, seen):
                _bring_forward(row, seen, now=now)
    return len(rows)


def _is_of(row: GitHubRun, seen: RunSeen) -> bool:
    return row.run_id == seen.run_id or seen.is_of(row.pk, workflow=row.workflow)


def _is_news(row: GitHubRun, seen: RunSeen) -> bool:
    if row.state == FollowState.DONE and seen.attempt <= row.recorded_attempt:
        return False
    return (seen.attempt, _rank(seen.status)) > (row.run_attempt, _rank(row.run_status))


def _rank(status: str) -> int:
    return {COMPLETED: 2, _IN_PROGRESS: 1, "": -1}.get(status, 0)


def _bring_forward(row: GitHubRun, seen: RunSeen, *, now: datetime) -> None:
    if row.state == FollowState.DONE:
        # Run again after its end was recorded, or ended after all when it had been given up.
        row.state = FollowState.WATCHING
        row.deadline_at = now + timedelta(hours=24)
    elif row.state == FollowState.FINDING:
        row.state = FollowState.FOLLOWING
    row.run_id, row.html_url = seen.run_id, seen.html_url or row.html_url
    row.run_attempt, row.run_status, row.conclusion = seen.attempt, seen.status, seen.conclusion
    if seen.title:
        row.shows_id = seen.shows(row.pk)
    row.next_look_at = now
    row.save()
