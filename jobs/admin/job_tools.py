"""What the form of a job asks while somebody types: the next runs, the JSON, a real call.

Each answers a piece of a page, made in the language and the zone of who asks; with a session and Django's
token, as every post of this site. Nothing is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.roles import may_change_job, may_create_jobs
from cronsched.core import clock
from cronsched.core.errors import DomainError
from cronsched.core.said import said
from jobs import schedule
from jobs.admin.job_form import (
    GITHUB_TARGET,
    JobForm,
    json_fault,
    parsed,
    pretty,
    put_aside,
    with_plain_lines,
)
from jobs.admin.job_list import words_of
from jobs.engine.slots import is_within
from jobs.models import Job
from jobs.services.fields import Refused, shape_date
from jobs.services.trial import TrialResult, try_target
from jobs.services.validation import clean_call, target_of

PREVIEWED: Final = 6
# Clock changes further ahead than this are no news.
CHANGE_WITHIN: Final = timedelta(days=200)
TARGET: Final = ("target_url", *GITHUB_TARGET)


def preview_context(
    *, expression: str, zone_name: str, end_date: date | None, now: datetime
) -> dict[str, Any]:
    """What an expression means: in words, its next runs up to the end date, and what few expect of it."""
    if not expression.strip():
        return {"empty": True}
    try:
        cron = schedule.parse(expression)
        zone = schedule.load_zone(zone_name.strip() or settings.SCHEDULER_TIMEZONE)
    except (schedule.CronError, schedule.ZoneError) as error:
        return {"error": said(error), "error_field": getattr(error, "field", "timezone")}
    slots = schedule.next_runs(cron, zone=zone, after=now, count=PREVIEWED)
    within = [slot for slot in slots if is_within(slot, end_date)]
    change = schedule.next_clock_change(cron, zone=zone, after=now, within=CHANGE_WITHIN)
    return {
        "now": now,
        "words": words_of(cron),
        "zone": zone.key,
        "runs": within,
        "is_cut": len(within) < len(slots),
        "end_date": end_date,
        "note": said(schedule.day_rule_note(cron)),
        "change": change,
        "change_words": _effect_words(change) if change and change.effect else "",
    }


def _effect_words(change: schedule.ClockChange) -> str:
    minutes = int(abs(change.shift).total_seconds() // 60)
    effects = {
        "at_once": _("the clock goes forward by %(minutes)d minutes: what is due in them runs right after."),
        "left_out": _("the clock goes forward by %(minutes)d minutes: what is due in them is left out."),
        "once": _("the clock goes back by %(minutes)d minutes: what is due in them runs once."),
        "again": _("the clock goes back by %(minutes)d minutes: what is due in them runs a second time."),
    }
    return effects[change.effect] % {"minutes": minutes}


@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """For every role: reading what an expression means changes nothing."""
    try:
        end_date = shape_date("end_date", request.POST.get("end_date") or None)
    except Refused:
        # The form says so itself; the runs are worth seeing all the same.
        end_date = None
    context = preview_context(
        expression=request.POST.get("cron_expression", ""),
        zone_name=request.POST.get("timezone", ""),
        end_date=end_date,
        now=clock.now(),
    )
    return render(request, "admin/jobs/preview.html", {"preview": context})


@require_POST
def metadata(request: HttpRequest) -> JsonResponse:
    """The text put in order, or what is wrong with it and where."""
    text = with_plain_lines(request.POST.get("metadata", ""))
    if fault := json_fault(text):
        return JsonResponse({"ok": False, "message": fault.words, "at": fault.at})
    value = parsed(text)
    if not isinstance(value, dict | None):
        return JsonResponse({"ok": False, "message": _("It must be an object: { … }.")})
    return JsonResponse({"ok": True, "text": pretty(value or {})})


@sensitive_post_parameters()
@require_POST
def trial(request: HttpRequest) -> HttpResponse:
    """Call the target that is in the form, saved or not, and show what it answered.

    `?job=` is the job whose form it is: what the form cannot show of it, its secret, signs all the same.
    """
    if not may_create_jobs(request.user):
        raise PermissionDenied
    stored = _job_to_call(request, request.GET["job"]) if request.GET.get("job") else None
    return _show(request, _called(request.POST, _typed_target(request.POST), stored))


@require_POST
def test_job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Call the target of a job as it is stored."""
    job = _job_to_call(request, job_id)
    return _show(request, _called({}, {**target_of(job), "metadata": job.metadata}, job), job=job)


def _job_to_call(request: HttpRequest, job_id: UUID | str) -> Job:
    try:
        job: Job | None = Job.objects.visible_to(request.user).filter(pk=job_id).first()
    except ValidationError:
        job = None
    if job is None:
        raise Http404(_("There is no such job."))
    if not may_change_job(request.user, created_by_id=job.created_by_id):
        raise PermissionDenied
    return job


def _typed_target(posted: Mapping[str, str]) -> dict[str, Any]:
    """As the form would save it: of two targets the one that is chosen."""
    data: dict[str, Any] = {name: posted.get(name, "").strip() for name in TARGET}
    data |= put_aside(posted.get("target_kind"), data)
    return {**data, "metadata": parsed(posted.get("metadata", ""))}


def _typed_call(posted: Mapping[str, str]) -> dict[str, Any]:
    """How the form would have it called; what it does not say stays as it is stored."""
    typed: dict[str, Any] = {}
    if "timeout_seconds" in posted:
        typed["timeout_seconds"] = _number(posted["timeout_seconds"].strip())
    if "github_correlation_input" in posted:
        typed["github_correlation_input"] = posted["github_correlation_input"]
    if secret := posted.get("new_signing_secret", "").strip():
        typed["signing_secret"] = secret
    return {**typed, "signing_secret": None} if posted.get("drop_signing_secret") else typed


def _number(text: str) -> Any:
    """What is no number stays text, for the service to refuse."""
    try:
        return int(text) if text else None
    except ValueError:
        return text


def _called(posted: Mapping[str, str], target: Mapping[str, Any], stored: Job | None) -> dict[str, Any]:
    """The result of the call, or why there was none; never an error page."""
    now = clock.now()
    try:
        job = stored or Job()
        for column, value in clean_call(_typed_call(posted), instance=stored, now=now).items():
            setattr(job, column, value)
        return _result(try_target(target, now=now, job=job))
    except DomainError as refusal:
        texts = refusal.details or {"": [refusal.message]}
        return {"refusals": [words for name in texts for words in _labelled(name, texts[name], target)]}


def _result(result: TrialResult) -> dict[str, Any]:
    return {"result": result, "answer": _pretty_answer(result.output)}


def _pretty_answer(text: str) -> str:
    """JSON with its lines; anything else as it came."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _labelled(name: str, texts: Sequence[str], data: Mapping[str, Any]) -> list[str]:
    """The service's sentences in the form's names of the fields."""
    form = JobForm()
    # What is no JSON is still text, in which the line at fault is found.
    form.cleaned_data = {name: value for name, value in data.items() if isinstance(value, str)}
    return [form.in_form_words(name, text) for text in texts]


def _show(request: HttpRequest, context: dict[str, Any], *, job: Job | None = None) -> HttpResponse:
    """The piece of a page that a script asks for; a whole page where none runs."""
    is_piece = request.headers.get("X-Requested-With") == "fetch"
    template = "admin/jobs/trial.html" if is_piece else "admin/jobs/trial_page.html"
    return render(request, template, {**context, "job": job})
