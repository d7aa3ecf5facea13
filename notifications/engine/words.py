"""The words of messages, from the facts of their rows: titles, links, and what templates are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.conf import settings
from django.urls import reverse

from notifications.models import Event, Message

# The verb after a job's name, and what a number of them did.
VERBS: Final[Mapping[str, str]] = {
    Event.RUN_FAILED: "failed",
    Event.RUN_MISSED: "was missed",
    Event.RUN_SUCCEEDED: "succeeded",
    Event.JOB_RECOVERED: "recovered",
    Event.JOB_EXPIRED: "was paused at its end date",
    Event.JOB_BROKEN: "was switched off: its schedule cannot be read",
    Event.JOB_DISABLED: "was disabled",
}
_COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    Event.RUN_FAILED: ("job failed", "jobs failed"),
    Event.RUN_MISSED: ("job missed a run", "jobs missed runs"),
    Event.RUN_SUCCEEDED: ("run succeeded", "runs succeeded"),
    Event.JOB_RECOVERED: ("job recovered", "jobs recovered"),
    Event.JOB_EXPIRED: ("job was paused at its end date", "jobs were paused at their end date"),
    Event.JOB_BROKEN: ("job was switched off as broken", "jobs were switched off as broken"),
    Event.JOB_DISABLED: ("job was disabled", "jobs were disabled"),
}
# What comes first is what somebody has to act on.
_ORDER: Final = list(_COUNTED)
# What digests list of a user's jobs.
_JOB_LISTS: Final = ("troubled", "slowest", "ending", "night")


def title_of(message: Message) -> str:
    """One line that says what happened; the subject of a mail."""
    payload = message.payload
    if "title" in payload:
        return one_line(payload["title"])
    if message.event == Event.SUMMARY:
        return summary_title(payload["counts"])
    fact = payload["facts"][0]
    again = f" ({fact['in_a_row']} times in a row)" if _is_again(fact) else ""
    return one_line(f"{fact['job']} {VERBS[fact['event']]}{again}")


def summary_title(counts: Mapping[str, int]) -> str:
    parts = []
    for event in sorted(counts, key=_ORDER.index):
        one, many = _COUNTED[event]
        parts.append(f"{counts[event]:,} {one if counts[event] == 1 else many}")
    return ", ".join(parts)


def context_of(message: Message) -> dict[str, Any]:
    """What templates are given: the facts with their words and links."""
    payload = message.payload
    facts = [with_links(fact) for fact in payload.get("facts", ())]
    shown = len(facts)
    lists = {name: _linked(payload[name]) for name in _JOB_LISTS if name in payload}
    return {
        **payload,
        **lists,
        "title": title_of(message),
        "handles": payload.get("handles", ()),
        "facts": facts,
        "fact": facts[0] if facts else None,
        "more": sum(payload.get("counts", {}).values()) - shown,
        "tokens_url": admin_url("jobs_githubtoken_changelist"),
        "history_url": admin_url("jobs_jobexecution_changelist"),
        "frontend_url": settings.FRONTEND_BASE_URL,
    }


def _linked(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "url": admin_url("jobs_job_change", row["job_id"]),
            "end_date_url": end_date_url(row["job_id"]),
        }
        for row in rows
    ]


def with_links(fact: Mapping[str, Any]) -> dict[str, Any]:
    job_id, run_id = fact["job_id"], fact.get("execution_id")
    job_page = f"{settings.FRONTEND_BASE_URL}/jobs/{job_id}"
    return {
        **fact,
        "verb": VERBS[fact["event"]],
        "rows": rows_of(fact),
        "details": details_of(fact),
        "is_again": _is_again(fact),
        "job_url": admin_url("jobs_job_change", job_id),
        "run_url": admin_url("jobs_jobexecution_change", run_id) if run_id else "",
        "frontend_url": f"{job_page}/executions/{run_id}" if run_id else job_page,
    }


def rows_of(fact: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What is known of a fact, with a label each."""
    is_run = "execution_id" in fact
    rows = [
        ("Slot", (fact.get("slot") or "run by hand") if is_run else ""),
        ("Ended", fact.get("ended")),
        ("Missed", f"{fact['missed_count']} slots" if fact.get("missed_count", 0) > 1 else ""),
        ("Answer", fact.get("response_status")),
        ("Reason", fact.get("error")),
        ("In a row", fact.get("in_a_row") if _is_again(fact) else ""),
        ("Target", fact.get("target")),
        ("End date", "" if is_run else fact["end_date"]),
        ("Note", "" if is_run else fact["note"]),
        ("By", fact.get("by")),
        ("Owner", fact["owner"] or "nobody"),
        ("Team", fact["team"] or "none"),
    ]
    return [(label, value) for label, value in rows if value]


def details_of(fact: Mapping[str, Any]) -> list[str]:
    """The same in short, for a line among others."""
    owner = f"owner {fact['owner']}" if fact.get("owner") else "no owner"
    return [part for part in (fact.get("slot"), _cut(one_line(fact.get("error") or ""), 160), owner) if part]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def end_date_url(job_id: str) -> str:
    """Opens the job with its end date in focus."""
    return f"{admin_url('jobs_job_change', job_id)}?focus=end_date"


def admin_url(page: str, *args: str) -> str:
    return public_url(reverse(f"admin:{page}", args=args))


def public_url(path: str) -> str:
    return f"{settings.PUBLIC_BASE_URL}{path}"


def one_line(text: str) -> str:
    return " ".join(text.split())


def _is_again(fact: Mapping[str, Any]) -> bool:
    return bool(fact["event"] == Event.RUN_FAILED and fact.get("in_a_row", 0) > 1)
