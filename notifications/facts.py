"""What a message says, as JSON: facts as they were, for words that are made when it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsched.core import clock
from cronsched.core.masking import masked_target
from jobs.models import Job, JobExecution
from jobs.schedule import ZoneError, load_zone
from notifications.audience import Audience
from notifications.models import Event

Fact = dict[str, Any]
# A summary spells out this many and counts the rest.
FACTS_MAX: Final = 100
ANSWER_LINES: Final = 8
ANSWER_MAX: Final = 600
ERROR_MAX: Final = 1000


def run_fact(run: JobExecution, event: Event, audience: Audience) -> Fact:
    return {
        **job_fact(run.job, event, audience),
        "execution_id": str(run.pk),
        "slot": local_text(run.scheduled_for, run.job) if run.scheduled_for else "",
        "ended": local_text(run.completed_at, run.job) if run.completed_at else "",
        "response_status": run.response_status,
        "error": run.error_message[:ERROR_MAX],
        "answer": _first_lines(run),
        "in_a_row": run.job.consecutive_failures,
        "missed_count": run.missed_count,
        "target": masked_target(run.target),
    }


def job_fact(job: Job, event: Event, audience: Audience, **more: Any) -> Fact:
    owner, team = audience.owner(job), audience.teams.get(job.pic_team_id) if job.pic_team_id else None
    return {
        "event": event.value,
        "job_id": str(job.pk),
        "job": job.name,
        "owner": owner.username if owner else "",
        "team": team.name if team else "",
        "handle": team.slack_handle if team else "",
        "end_date": job.end_date.isoformat() if job.end_date else "",
        "note": job.paused_note,
        **more,
    }


def local_text(moment: datetime, job: Job) -> str:
    """As the schedule's zone shows it."""
    return zoned_text(moment, zone_of(job))


def zoned_text(moment: datetime, zone: ZoneInfo) -> str:
    """ "2026-03-10 21:00 +09:00 (Asia/Tokyo)"."""
    return f"{offset_text(moment, zone)} ({zone.key})"


def offset_text(moment: datetime, zone: ZoneInfo) -> str:
    """With its offset: in autumn an hour comes twice, and only the offset tells which one it was."""
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M} {local.isoformat()[-6:]}"


def zone_of(job: Job) -> ZoneInfo:
    try:
        return load_zone(job.zone_name)
    except ZoneError:
        return clock.scheduler_zone()


def gather(payloads: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One payload that says what these say: the first facts whole, all of them counted."""
    facts: list[Fact] = []
    counts: dict[str, int] = {}
    handles: dict[str, None] = {}
    for payload in payloads:
        facts += payload["facts"][: FACTS_MAX - len(facts)]
        for event, count in payload["counts"].items():
            counts[event] = counts.get(event, 0) + count
        handles |= dict.fromkeys(payload["handles"])
    return {"facts": facts, "counts": counts, "handles": list(handles)}


def payload_of(facts: Iterable[Fact]) -> dict[str, Any]:
    return gather(
        {"facts": [fact], "counts": {fact["event"]: 1}, "handles": [fact["handle"]] if fact["handle"] else []}
        for fact in facts
    )


def event_of(payload: Mapping[str, Any]) -> Event:
    """The event of a single fact; a summary of more."""
    counts = payload["counts"]
    return Event(next(iter(counts))) if sum(counts.values()) == 1 else Event.SUMMARY


def _first_lines(run: JobExecution) -> str:
    """The beginning of the answer. Where a batch left it unread, it is not read now, run by run."""
    if "output" in run.get_deferred_fields():
        return ""
    return "\n".join(run.output[:ANSWER_MAX].strip().splitlines()[:ANSWER_LINES])
