"""What to do about a run that did not succeed, by the reason on its row: words for whoever opens it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from jobs.choices import ExecutionType, Status
from jobs.engine.messages import Reason
from jobs.models import JobExecution

Text = str | Promise

_WEBHOOK_STATUS: Final[Mapping[int, Text]] = {
    400: _("The endpoint did not understand the body: compare the job's metadata with what it expects."),
    401: _(
        "The endpoint did not accept the caller: check the job's signing secret, "
        "and the token in the target URL if there is one."
    ),
    403: _(
        "The endpoint knows the caller and refuses the call: check its permissions, "
        "its allow-list of addresses, and the job's signing secret."
    ),
    404: _("There is nothing at this address: check the job's target URL for a typing error or a move."),
    405: _("The endpoint takes no POST at this address: check the job's target URL."),
    408: _("The endpoint gave up waiting: run it again, and give the job retries if this happens often."),
    410: _("The endpoint is gone for good: ask its owner for the new address, or disable the job."),
    413: _("The body is too large for the endpoint: shorten the job's metadata."),
    422: _("The endpoint refused the values in the body: compare the job's metadata with what it expects."),
    429: _("The endpoint is called too often: spread the schedules, or give the job retries."),
}
_GITHUB_STATUS: Final[Mapping[int, Text]] = {
    401: _("GitHub did not accept the token: an admin has to renew GITHUB_TOKEN."),
    403: _(
        "The token may not start workflows there: it needs write access to Actions of this repository. "
        "The answer says so too where GitHub limits the rate."
    ),
    404: _(
        "GitHub finds no such repository or workflow, or the token may not see it: "
        "check owner, repository and the name of the workflow's file."
    ),
    422: _(
        "GitHub refused the call: the workflow needs an `on: workflow_dispatch` trigger on that branch, "
        "and its inputs must be those of the job's metadata."
    ),
}
_REDIRECT: Final = _("Redirects are not followed: put the address it leads to into the job's target URL.")
_SERVER_FAULT: Final = _(
    "The endpoint itself failed: its own logs say why. Run it again once it is mended; "
    "retries help where this passes by itself."
)
_OTHER_STATUS: Final = _("The answer below says what the endpoint made of the call.")
_REASONS: Final[Mapping[str, Text]] = {
    Reason.TIMEOUT: _(
        "No whole answer came in time. Raise the job's timeout, or let the endpoint answer at once "
        "and work on afterwards. It may have done its work all the same: look there before running it again."
    ),
    Reason.CONNECTION: _(
        "Nobody answered at that address: is the endpoint running, and is its port open to this server?"
    ),
    Reason.TLS: _(
        "The certificate of the endpoint was not accepted: it may have expired, or be of another name."
    ),
    Reason.DNS: _("The name of the host was not found: check the job's target URL for a typing error."),
    Reason.BLOCKED_ADDRESS: _(
        "The address lies in a private network, which is closed to jobs: an admin can open it "
        "by WEBHOOK_ALLOWED_NETWORKS."
    ),
    Reason.CONFIGURATION: _("Nothing was sent: mend the job as the error says, then run it again."),
    Reason.INTERRUPTED: _(
        "The scheduler stopped while it waited for the answer: whether the work was done is not known. "
        "Look at the endpoint before running it again."
    ),
    Reason.CONCLUSION: _(
        "The workflow ran and did not succeed: the link leads to the log of the step that failed. "
        "Run it again here, or re-run it at GitHub."
    ),
    Reason.NOT_STARTED: _(
        "GitHub took no run from this dispatch, as far as it shows: see GitHub's status page and the "
        "workflow's runs before running it again."
    ),
    Reason.UNCERTAIN: _(
        "GitHub may have started the workflow or not: look at its runs before running it again. With the "
        "execution's id in the workflow's run-name this is found out by itself."
    ),
    Reason.MISFIRE: _(
        "No scheduler was there to send it in time: see when it was away, and run it now if it is still "
        "wanted. The job's `catch up` says what happens to such slots."
    ),
    Reason.OVERLAP: _(
        "Earlier runs of this job were still at work. Give it a wider schedule, or make the endpoint quicker."
    ),
    Reason.PAUSED: _("The job was paused before this run could start: enable it to have it run again."),
    Reason.EXPIRED: _("The job's end date had gone by: give it a later one if it is still needed."),
    Reason.INTERNAL: _("A fault in the scheduler itself: tell an admin; the log has more at this time."),
}


# GitHub had taken the dispatch: it was the run that took too long.
_TAKEN: Final = frozenset({200, 204})
_NOT_ENDED: Final = _(
    "The workflow is still at work, or GitHub could not be asked: look there. Raise the job's longest wait "
    "if it always takes so long."
)


def advice(run: JobExecution) -> Text:
    """The next step, in a sentence or two; "" for a run that went well or is under way."""
    if run.status not in {Status.FAILED, Status.MISSED}:
        return ""
    if run.reason == Reason.TIMEOUT and run.response_status in _TAKEN:
        return _NOT_ENDED
    if run.reason == Reason.HTTP_STATUS or (not run.reason and run.response_status):
        return _of_status(run)
    return _REASONS.get(run.reason, "")


def _of_status(run: JobExecution) -> Text:
    status = run.response_status or 0
    is_github = run.execution_type == ExecutionType.GITHUB_ACTIONS
    table = _GITHUB_STATUS if is_github else _WEBHOOK_STATUS
    if status in table:
        return table[status]
    if 300 <= status < 400:
        return _REDIRECT
    return _SERVER_FAULT if status >= 500 else _OTHER_STATUS
