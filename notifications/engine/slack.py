"""Slack: blocks for an incoming webhook, escaped, with mentions that really notify.

Calls go through the guarded client: address rules, no redirects, one total timeout.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from types import TracebackType
from typing import Any, Final, Self

from django.conf import settings

from cronsched.core.http.client import HttpClient, HttpRequest, HttpResult
from jobs.engine.send import USER_AGENT
from jobs.services.fields import address_policy
from notifications.engine.claim import Outcome
from notifications.engine.words import admin_url, context_of, end_date_url, one_line
from notifications.models import Event, Message
from notifications.services.slack_settings import get_slack_settings, readable_webhook_url

TIMEOUT_S: Final = 10.0
# Slack's own limits: 150 characters in a header, 3,000 in a section, 50 blocks, and, written nowhere,
# some 12,000 in all of them (beyond that: `msg_blocks_too_long`).
HEADER_MAX: Final = 150
SECTION_MAX: Final = 2900
TEXT_MAX: Final = 9_000
LISTED_MAX: Final = 50
# How many jobs of each team the weekly reminder names: the largest number with which all teams fit.
TEAM_SIZES: Final = (15, 8, 4, 2, 1, 0)
_MENTION: Final = re.compile(
    r"<(?:!subteam\^[A-Z0-9]+|@[UW][A-Z0-9]+|!(?:here|channel|everyone))(?:\|[^<>]*)?>"
)
_EVERYBODY: Final = {"@here": "<!here>", "@channel": "<!channel>", "@everyone": "<!everyone>"}
_ICONS: Final[Mapping[str, str]] = {
    Event.RUN_FAILED: ":red_circle:",
    Event.RUN_MISSED: ":large_orange_circle:",
    Event.JOB_RECOVERED: ":large_green_circle:",
}
# Of the answers with 400, those that speak of the webhook or the channel, not of the message.
_NOT_THE_MESSAGE: Final = frozenset(
    {"no_service", "no_active_hooks", "no_team", "invalid_token", "channel_not_found", "channel_is_archived"}
)
# After an "@" that would begin a name: seen by nobody, and no name to Slack.
_NAME: Final = re.compile(r"(?<!\w)@(?=\w)")
_WORD_JOINER: Final = "\u2060"


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
            return Outcome(error="Slack is off, or its webhook URL cannot be read.", is_down=True)
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
    """What Slack's answer means. Its refusals (`no_service`, `invalid_blocks`) come as text.

    Only a message that Slack cannot read is given up. A webhook that was revoked, or that our address
    guard refuses, is somebody's to mend: until then all messages wait.
    """
    if result.error is not None:
        return Outcome(error=result.message, is_down=True)
    status = result.status or 0
    if 200 <= status < 300:
        return Outcome(is_sent=True)
    said = result.body[:200].strip()
    error = f"Slack answered {status}: {said}"
    if status == 400 and said not in _NOT_THE_MESSAGE:
        return Outcome(error=error, is_final=True)
    return Outcome(error=error, is_down=True, retry_after_s=_seconds(result.headers.get("retry-after")))


def build_post(message: Message, *, channel: str = "") -> dict[str, Any]:
    """The JSON for an incoming webhook; `text` is what notifications and screen readers say.

    `link_names` makes Slack find people in `@name`; only in the section of the teams' handles, because
    every other text is `verbatim` and has its names broken: see `escape`.
    """
    context = context_of(message)
    handles = dict.fromkeys(mention(handle) for handle in context["handles"])
    mentions = " ".join(_within(SECTION_MAX, list(handles)))
    blocks = [_header(context["title"])]
    blocks += [_mentions(mentions)] if mentions else []
    blocks += [_section(chunk) for chunk in _chunks(_body(message, context))]
    fallback = f"{escape(context['title'])} {mentions}".strip()
    body = {"text": fallback, "blocks": blocks, "link_names": True}
    return body | ({"channel": channel} if channel else {})


def _body(message: Message, context: Mapping[str, Any]) -> list[str]:
    if message.event == Event.END_DATE_REMINDER:
        return _token_lines(context) if "tokens" in context else _reminder(context["teams"])
    return _summary(context) if message.event == Event.SUMMARY else _fact_lines(context["fact"])


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
    return _EVERYBODY.get(name.lower()) or _without_controls(name)


def escape(text: str) -> str:
    """Slack's three control characters, and the beginning of names: no job's name and no receiver's
    answer becomes a link, a mention, or a call to @channel."""
    return _without_controls(_NAME.sub(f"@{_WORD_JOINER}", text))


def _without_controls(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _summary(context: Mapping[str, Any]) -> list[str]:
    facts = context["facts"]
    lines = _within(TEXT_MAX, [_summary_line(fact) for fact in facts[:LISTED_MAX]])
    more = len(facts) - len(lines) + context["more"]
    return [*lines, f"… and {more:,} more: <{context['history_url']}|all runs>"] if more > 0 else lines


def _line(fact: Mapping[str, Any]) -> str:
    icon = _ICONS.get(fact["event"], ":white_circle:")
    url = fact["run_url"] or fact["job_url"]
    return f"{icon} <{url}|{_label(fact['job'])}> {fact['verb']}"


def _summary_line(fact: Mapping[str, Any]) -> str:
    return f"{_line(fact)} · {_cut(' · '.join(fact['details']), 300)}"


def _fact_lines(fact: Mapping[str, Any]) -> list[str]:
    lines = [_line(fact)]
    lines += [f"*{label}:* {_cut(str(value), 1000)}" for label, value in fact["rows"]]
    if fact.get("answer"):
        lines.append(f"```{_cut(fact['answer'].replace('```', '´´´'), SECTION_MAX - 6)}```")
    lines.append(f"<{fact['frontend_url']}|open in the frontend>")
    return lines


def _reminder(teams: Sequence[Mapping[str, Any]]) -> list[str]:
    """All teams with as many of their jobs as fit; every team is mentioned, however many there are."""
    for size in TEAM_SIZES:
        lines = [line for team in teams for line in ("", *_team_lines(team, size))][1:]
        if len("\n".join(lines)) <= TEXT_MAX:
            return lines
    lines = _within(TEXT_MAX, [line for line in lines if line])
    more = len(teams) - len(lines)
    return [*lines, f"… and {more:,} more teams: <{admin_url('jobs_job_changelist')}|all jobs>"]


def _token_lines(context: Mapping[str, Any]) -> list[str]:
    lines = [f"*{_cut(token['title'], 300)}*\n{escape(token['advice'])}" for token in context["tokens"]]
    return [*_within(TEXT_MAX, lines), f"<{context['tokens_url']}|GitHub tokens>"]


def _team_lines(team: Mapping[str, Any], size: int) -> list[str]:
    """The team, its owners, and under each of them their jobs."""
    jobs = team["jobs"]
    lines = [f"*{_label(team['team'])}*: {len(jobs):,} job{'' if len(jobs) == 1 else 's'}"]
    for owner, owned in groupby(jobs[:size], key=lambda job: job["owner"]):
        lines.append(f"{escape(owner) or 'nobody'}:")
        lines += [
            f"• <{end_date_url(job['job_id'])}|{_label(job['job'])}> ends {job['end_date']}" for job in owned
        ]
    if 0 < size < len(jobs):
        lines.append(f"… and {len(jobs) - size:,} more")
    return lines


def _header(text: str) -> dict[str, Any]:
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": _short(text, HEADER_MAX), "emoji": False},
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _mentions(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _chunks(lines: Iterable[str]) -> list[str]:
    """The lines in texts that each fit a section; no line is cut."""
    chunks: list[str] = []
    for line in lines:
        if chunks and len(chunks[-1]) + len(line) < SECTION_MAX:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(line)
    return chunks


def _within(longest: int, lines: Sequence[str]) -> list[str]:
    """As many of the first lines as fit."""
    ends = accumulate(len(line) + 1 for line in lines)
    return [line for line, end in zip(lines, ends, strict=True) if end <= longest]


def _cut(text: str, longest: int) -> str:
    """Escaped, and cut where the escaped text would be longer; never within an escape."""
    whole = escape(text)
    if len(whole) <= longest:
        return whole
    too_long = bisect_left(range(len(text)), longest, key=lambda size: len(escape(text[:size])))
    return escape(text[: too_long - 1]) + "…"


def _label(text: str) -> str:
    """The words of a link, which end at a bar."""
    return escape(_short(one_line(text), 120)).replace("|", "¦")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text) if text else None
    except ValueError:
        return None
    return seconds if seconds is not None and math.isfinite(seconds) else None
