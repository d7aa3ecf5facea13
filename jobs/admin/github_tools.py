"""What the form of a job asks about GitHub while somebody fills it in. JSON; nothing is stored.

Where GitHub does not answer in time, or there is no token, `ok` is false with the reason: the fields are
free text, and the form saves all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from accounts.roles import may_create_jobs
from cronsched.core.errors import InvalidInput
from cronsched.core.said import said
from jobs.choices import ExecutionType
from jobs.models import Job
from jobs.services import github_lists
from jobs.services.github_api import Unavailable
from jobs.services.github_lists import InputCheck

# Of one field.
FAULTS_SHOWN: Final = 10
_ASKED: Final = ("owner", "repo", "workflow", "ref", "search")


@require_GET
def repositories(request: HttpRequest) -> JsonResponse:
    return _answer(
        request, lambda asked: asdict(github_lists.list_repositories(asked["owner"], asked["search"]))
    )


@require_GET
def workflows(request: HttpRequest) -> JsonResponse:
    return _answer(request, lambda asked: asdict(github_lists.list_workflows(asked["owner"], asked["repo"])))


@require_GET
def branches(request: HttpRequest) -> JsonResponse:
    return _answer(
        request,
        lambda asked: asdict(github_lists.list_branches(asked["owner"], asked["repo"], asked["search"])),
    )


@require_GET
def inputs(request: HttpRequest) -> JsonResponse:
    return _answer(request, _inputs)


def _inputs(asked: Mapping[str, str]) -> dict[str, Any]:
    ref = asked["ref"] or settings.GITHUB_DEFAULT_REF
    found = github_lists.read_workflow(asked["owner"], asked["repo"], asked["workflow"], ref)
    return {"has_trigger": found.has_trigger, "inputs": [asdict(one) for one in found.inputs]}


def _answer(request: HttpRequest, read: Callable[[Mapping[str, str]], dict[str, Any]]) -> JsonResponse:
    if not may_create_jobs(request.user):
        raise PermissionDenied
    asked = {name: request.GET.get(name, "").strip() for name in _ASKED}
    try:
        return JsonResponse({"ok": True, **read(asked)})
    except Unavailable as error:
        return JsonResponse({"ok": False, "message": str(error)})


def ask_about(job: Job) -> InputCheck:
    """What GitHub says to a job that is to be saved; nothing where it does not answer in time.

    Blocks for some seconds: outside any transaction.
    """
    if job.execution_type != ExecutionType.GITHUB_ACTIONS:
        return InputCheck()
    try:
        return github_lists.check_inputs(job)
    except Unavailable:
        return InputCheck()


def refuse_inputs(check: InputCheck) -> None:
    """Raises InvalidInput for what GitHub would refuse at each slot."""
    if check.faults:
        details = {name: texts[:FAULTS_SHOWN] for name, texts in check.faults.items()}
        raise InvalidInput("GitHub would refuse the inputs.", details=details)


def warn_of_inputs(request: HttpRequest, check: InputCheck) -> None:
    """After a job was saved."""
    for text in check.warnings:
        messages.warning(request, _("Saved, but: %s") % said(text))
