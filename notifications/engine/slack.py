"""Slack: blocks for an incoming webhook, escaped, with mentions that really notify.

Calls go through the guarded client: address rules, no redirects, one total timeout.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from django.conf import settings

from cronsched.core.http.client import Fault, HttpClient, HttpRequest, HttpResult
from jobs.engine.send import USER_AGENT
from jobs.services.fields import address_policy
from notifications.engine.claim import Outcome
from notifications.engine.words import context_of, end_date_url
from notifications.models import Event, Message
from notifications.services.slack_settings import get_slack_settings, readable_webhook_url

TIMEOUT_S: Final = 10.0
# Slack's own limits: 150 characters in a header, 3,000 in a section, 50 blocks.
HEADER_MAX: Final = 150
SECTION_MAX: Final = 2900
LISTED_MAX: Final = 50
# Jobs of one team in the weekly reminder: what fits a section.
TEAM_MAX: Final = 15
_MENTION: Final = re.compile(
    r"<(?:!subteam\^[A-Z0-9]+|@[UW][A-Z0-9]+|!(?:here|channel|everyone))(?:\|[^<>]*)?>"
)
_EVERYBODY: Final = {"@here": "<!here>", "@channel": "<!channel>", "@everyone": "<!everyone>"}
_ICONS: Final[Mapping[str, str]] = {
    Event.RUN_FAILED: ":red_circle:",
    Event.RUN_MISSED: ":large_orange_circle:",
    Event.JOB_RECOVERED: ":large_green_circle:",
}
_FINAL_STATUSES: Final = frozenset({400, 403, 404, 410})


class SlackTransport:
    """Posts one message after the other to the webhook of the settings."""

    def __enter__(self) -> Self:
        row = get_slack_settings()
        self._channel = row.channel
        self._url = readable_webhook_url(row) if row.is_enabled else ""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open."""

    def send(self, message: Message) -> Outcome:
        if not self._url:
            return Outcome(error="Slack is off, or its webhook URL cannot be read.", is_final=True)
        return judge(post(self._url, build_post(message, channel=self._channel)))


def post(url: str, body: Mapping[str, Any]) -> HttpResult:
    """One call; blocks for TIMEOUT_S at the most."""
    request = HttpRequest(
        method="POST",
        url=url,
        headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": USER_AGENT},
        body=json.dumps(body).encode(),
        timeout_s=TIMEOUT_S,
    )

    async def send() -> HttpResult:
        async with HttpClient(
            policy=address_policy(), allow_http=settings.WEBHOOK_ALLOW_HTTP, limit=1
        ) as client:
            return await client.send(request)

    return asyncio.run(send())


def judge(result: HttpResult) -> Outcome:
    """What Slack's answer means. Its refusals (`no_service`, `invalid_blocks`) come as text."""
    if result.error is not None:
        is_final = result.error in {Fault.BLOCKED_ADDRESS, Fault.CONFIGURATION}
        return Outcome(error=result.message, is_final=is_final, is_down=not is_final)
    status = result.status or 0
    if 200 <= status < 300:
        return Outcome(is_sent=True)
    error = f"Slack answered {status}: {result.body[:200].strip()}"
    if status in _FINAL_STATUSES:
        return Outcome(error=error, is_final=True)
    return Outcome(error=error, is_down=True, retry_after_s=_seconds(result.headers.get("retry-after")))


def build_post(message: Message, *, channel: str = "") -> dict[str, Any]:
    """The JSON for an incoming webhook; `text` is what notifications and screen readers say."""
    context = context_of(message)
    mentions = " ".join(dict.fromkeys(mention(handle) for handle in context.get("handles", ())))
    blocks = [_header(context["title"])]
    if mentions:
        blocks.append(_section(mentions))
    if message.event == Event.END_DATE_REMINDER:
        blocks += [_section(_team_text(team)) for team in context["teams"][: LISTED_MAX - 2]]
    elif message.event == Event.SUMMARY:
        blocks += _summary(context)
    else:
        blocks.append(_section(_fact_text(context["fact"])))
    fallback = f"{escape(context['title'])} {mentions}".strip()
    body = {"text": fallback, "blocks": blocks, "link_names": True}
    return body | ({"channel": channel} if channel else {})


def build_test(*, by: str, channel: str = "") -> dict[str, Any]:
    text = f"A test message of cronsched, sent by {escape(by)}. Messages arrive here."
    return {"text": text, "blocks": [_section(text)]} | ({"channel": channel} if channel else {})


def mention(handle: str) -> str:
    """The team's handle as Slack reads it: `<!subteam^ID>`, `<@U…>`, an id alone, or `@name`."""
    handle = handle.strip()
    if _MENTION.fullmatch(handle):
        return handle
    if re.fullmatch(r"S[A-Z0-9]{7,}", handle):
        return f"<!subteam^{handle}>"
    if re.fullmatch(r"[UW][A-Z0-9]{7,}", handle):
        return f"<@{handle}>"
    name = handle if handle.startswith(("@", "#", "<")) else f"@{handle}"
    # Names are resolved by `link_names`.
    return _EVERYBODY.get(name.lower()) or escape(name)


def escape(text: str) -> str:
    """Slack's three control characters, so that no job's name becomes a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _summary(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    facts = context["facts"]
    lines = [_line(fact) for fact in facts[:LISTED_MAX]]
    more = len(facts) - len(lines) + context["more"]
    if more > 0:
        lines.append(f"… and {more:,} more: <{context['history_url']}|all runs>")
    return [_section(chunk) for chunk in _chunks(lines)]


def _line(fact: Mapping[str, Any]) -> str:
    icon = _ICONS.get(fact["event"], ":white_circle:")
    url = fact["run_url"] or fact["job_url"]
    error = f": {escape(_short(fact['error'], 120))}" if fact.get("error") else ""
    return f"{icon} <{url}|{_label(fact['job'])}> {fact['verb']}{error}"


def _fact_text(fact: Mapping[str, Any]) -> str:
    lines = [_line({**fact, "error": ""})]
    lines += [f"*{label}:* {escape(_short(str(value), 500))}" for label, value in fact["rows"]]
    if fact.get("answer"):
        lines.append(f"```{escape(fact['answer'].replace('```', '´´´'))}```")
    lines.append(f"<{fact['frontend_url']}|open in the frontend>")
    return "\n".join(lines)


def _team_text(team: Mapping[str, Any]) -> str:
    head = f"*{escape(team['team'])}* {mention(team['handle']) if team['handle'] else ''}".strip()
    jobs = [
        f"• <{end_date_url(job['job_id'])}|{_label(job['job'])}>"
        f" ends {job['end_date']} ({escape(job['owner'] or 'nobody')})"
        for job in team["jobs"]
    ]
    shown = jobs[:TEAM_MAX]
    more = [f"… and {len(jobs) - len(shown):,} more"] if len(jobs) > len(shown) else []
    return "\n".join([head, *shown, *more])


def _header(text: str) -> dict[str, Any]:
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": _short(text, HEADER_MAX), "emoji": False},
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _short(text, SECTION_MAX)}}


def _chunks(lines: Iterable[str]) -> list[str]:
    """The lines in texts that each fit a section."""
    chunks: list[str] = []
    for line in lines:
        if chunks and len(chunks[-1]) + len(line) < SECTION_MAX:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(line)
    return chunks


def _label(text: str) -> str:
    """The words of a link, which end at a bar."""
    return escape(_short(text, 120)).replace("|", "¦")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text) if text else None
    except ValueError:
        return None
    return seconds if seconds is not None and math.isfinite(seconds) else None
