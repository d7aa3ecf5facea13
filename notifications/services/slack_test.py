"""A test message to Slack, sent while somebody waits for what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from notifications.engine.slack import build_test, judge, post
from notifications.services.slack_settings import get_slack_settings, readable_webhook_url


@dataclass(frozen=True, kw_only=True, slots=True)
class SlackTest:
    """`status_code` is Slack's answer, None without one; `message` says what came of it."""

    ok: bool
    status_code: int | None
    message: str


def send_slack_test(*, by: Any) -> SlackTest:
    """One real call with the stored settings, enabled or not; none where there is no URL to call."""
    row = get_slack_settings()
    url = readable_webhook_url(row)
    if not url:
        missing = "Save a webhook_url first: there is none that can be read."
        return SlackTest(ok=False, status_code=None, message=missing)
    result = post(url, build_test(by=by.username, channel=row.channel))
    outcome = judge(result)
    message = "Slack took the message." if outcome.is_sent else outcome.error
    return SlackTest(ok=outcome.is_sent, status_code=result.status, message=message)
