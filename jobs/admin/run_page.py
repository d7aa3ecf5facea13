"""What the page of one run shows: its times, what was sent, what came back, and its neighbours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from cronsched.core.admin_display import COLOURS, duration, moment
from jobs.admin.advice import advice
from jobs.audit import metadata_at
from jobs.choices import IN_FLIGHT, ExecutionType, Status
from jobs.engine.transports.github import choose_ref, merge_inputs
from jobs.models import GitHubRun, JobExecution, RunAttempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    label: str
    value: Any


def run_page(run: JobExecution, *, now: datetime, may_run: bool) -> dict[str, Any]:
    """The context of `admin/jobs/run.html`. Six statements at most, whatever the history."""
    metadata, is_present = metadata_at(run.job, run.started_at)
    earlier, later = neighbours(run)
    attempts = _earlier_attempts(run)
    return {
        "run": run,
        "status_colour": COLOURS.get(run.status, "default"),
        "advice": advice(run),
        "times": list(_times(run, attempts, now)),
        "attempts": [*(_past(attempt, now) for attempt in attempts), _present(run, now)] if attempts else [],
        "request_line": f"POST {run.target}",
        "request_body": _body(run, metadata),
        "is_present_metadata": is_present,
        "answer": pretty(run.output),
        "earlier": earlier,
        "later": later,
        "is_in_flight": run.status in IN_FLIGHT,
        "may_run": may_run,
        "job_url": reverse("admin:jobs_job_page", args=[run.job_id]),
        "github_url": _github_url(run),
        "all_url": f"{reverse('admin:jobs_jobexecution_changelist')}?job__id__exact={run.job_id}",
        "run_again_url": reverse("admin:jobs_jobexecution_run_again", args=[run.pk]),
    }


def _github_url(run: JobExecution) -> str:
    """The workflow run, where it is known; "" for any other."""
    if run.execution_type != ExecutionType.GITHUB_ACTIONS:
        return ""
    return GitHubRun.objects.filter(pk=run.pk).values_list("html_url", flat=True).first() or ""


def neighbours(run: JobExecution) -> tuple[JobExecution | None, JobExecution | None]:
    """The run of the same job before this one and the one after; each is one step along an index."""
    runs = JobExecution.objects.filter(job_id=run.job_id).only("id", "started_at", "status")
    at, key = run.started_at, run.pk
    before = runs.filter(started_at__lte=at).filter(Q(started_at__lt=at) | Q(pk__lt=key))
    after = runs.filter(started_at__gte=at).filter(Q(started_at__gt=at) | Q(pk__gt=key))
    return before.order_by("-started_at", "-id").first(), after.order_by("started_at", "id").first()


def pretty(text: str) -> str:
    """JSON with line breaks; anything else as it came."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else text


def _earlier_attempts(run: JobExecution) -> list[RunAttempt]:
    """Those before the present one; a run that never failed before has none, and nothing is asked."""
    has_some = run.attempt > 1 or run.status == Status.FAILED
    return list(run.earlier_attempts.all()) if has_some else []


def _past(attempt: RunAttempt, now: datetime) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "status": Status.FAILED.value,
        "response_status": attempt.response_status,
        "started": moment(attempt.started_at, now=now, seconds=True),
        "took": duration((attempt.ended_at - attempt.started_at).total_seconds()),
        "error": attempt.error_message,
    }


def _present(run: JobExecution, now: datetime) -> dict[str, Any]:
    """The attempt that the run's own row tells of: the last one, or the one to come."""
    is_waiting = run.status == Status.QUEUED
    return {
        "number": run.attempt,
        "status": run.status,
        "response_status": None if is_waiting else run.response_status,
        "started": moment(run.available_at if is_waiting else run.started_at, now=now, seconds=True),
        "took": "" if is_waiting else duration(run.duration_seconds),
        "error": "" if is_waiting else run.error_message,
    }


def _which_attempt(run: JobExecution, attempts: list[RunAttempt]) -> str:
    """ "2 of 4", by what the job allowed its runs then; of a run that ended with its first, nobody knows."""
    if attempts:
        allowed = attempts[-1].allowed
    elif run.status in IN_FLIGHT:
        allowed = run.job.max_retries + 1
    else:
        return str(run.attempt)
    return _("%(number)d of %(of)d") % {"number": run.attempt, "of": max(allowed, run.attempt)}


def _times(run: JobExecution, attempts: list[RunAttempt], now: datetime) -> Any:
    if run.scheduled_for is not None:
        yield Fact(label=_("Slot"), value=moment(run.scheduled_for, now=now))
    if (accepted := _accepted(run)) is not None:
        yield Fact(label=_("Accepted"), value=moment(accepted, now=now, seconds=True))
    if run.status == Status.QUEUED:
        yield Fact(label=_("To be sent"), value=moment(run.available_at, now=now, seconds=True))
    elif run.status != Status.MISSED:
        yield Fact(label=_("Sent"), value=moment(run.started_at, now=now, seconds=True))
    if run.completed_at is not None:
        label = _("Recorded") if run.status == Status.MISSED else _("Answered")
        yield Fact(label=label, value=moment(run.completed_at, now=now, seconds=True))
    if run.duration_seconds is not None:
        yield Fact(label=_("Took"), value=duration(run.duration_seconds))
    if run.status != Status.MISSED:
        yield Fact(label=_("Attempt"), value=_which_attempt(run, attempts))
    if run.status == Status.RUNNING and run.deadline_at is not None:
        yield Fact(label=_("Given up for lost at"), value=moment(run.deadline_at, now=now, seconds=True))
    if run.missed_count > 1:
        yield Fact(label=_("Slots missed"), value=run.missed_count)
        yield Fact(label=_("Last of them"), value=moment(run.missed_last_at, now=now))


def _accepted(run: JobExecution) -> datetime | None:
    """When the row was made: the time is in its id (RFC 9562, version 7)."""
    if run.pk.version != 7:
        return None
    return datetime.fromtimestamp((run.pk.int >> 80) / 1000, tz=UTC)


def _body(run: JobExecution, metadata: dict[str, Any]) -> str:
    body: dict[str, Any] = metadata
    if run.execution_type == ExecutionType.GITHUB_ACTIONS:
        ref = choose_ref(None, metadata, settings.GITHUB_DEFAULT_REF)
        body = {"ref": ref, "inputs": merge_inputs(metadata, None)}
        if name := run.job.id_input_of(run.target):
            body["inputs"][name] = str(run.pk)
    return json.dumps(body, indent=2, ensure_ascii=False)
