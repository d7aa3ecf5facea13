"""The `workflow_run` events that GitHub's webhook sends, signed as it signs them."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Final

from cronsched.testing.fake_github.runs import Run

_ACTIONS: Final = {"queued": "requested", "in_progress": "in_progress", "completed": "completed"}


def workflow_run_event(run: Run, *, secret: str, api_url: str, now: float) -> tuple[dict[str, str], bytes]:
    """Headers and body of the event that tells how `run` stands."""
    payload = {
        "action": _ACTIONS[run.status(now)],
        "workflow_run": run.as_json(api_url, now),
        "repository": {
            "name": run.repo,
            "full_name": f"{run.owner}/{run.repo}",
            "owner": {"login": run.owner},
        },
    }
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/stand-in",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Event": "workflow_run",
        "X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}",
    }
    return headers, body
