"""`make fake-github`: the stand-in on this machine, for people to play with.

Workflows called failure.yml, cancelled.yml and so on end as they are called; nightly.yml has inputs, works
for `seconds` and succeeds. With --webhook it sends `workflow_run` events, signed with --secret.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cronsched.testing.fake_github.events import workflow_run_event
from cronsched.testing.fake_github.runs import Plan
from cronsched.testing.fake_github.server import TEST_TOKEN, Dispatch, FakeGitHub, Mode, plan_by_name
from cronsched.testing.fake_github.world import NIGHTLY

_PLAIN: Final = "on: workflow_dispatch\njobs: {}\n"
_ENDS: Final = ("success", "failure", "cancelled", "timed_out", "neutral", "skipped")
_LOOK_S: Final = 0.5
_HELLO: Final = """\
A stand-in for GitHub listens at {url}

Start cronsched with it:

  GITHUB_API_URL={url} GITHUB_TOKEN={token} GITHUB_DEFAULT_OWNER=acme ./start.sh

Repositories: acme/app, acme/site. Workflows: nightly.yml (with inputs), {ends}.
Dispatches are answered with {mode}. Ctrl-C ends it."""


def main() -> int:
    options = _options()
    with FakeGitHub(port=options.port) as github:
        github.mode = Mode(options.mode)
        workflows = {"nightly.yml": NIGHTLY, **{f"{end}.yml": _PLAIN for end in _ENDS}}
        for name in ("app", "site"):
            github.world.add(f"acme/{name}", workflows, branches=("main", "release"))
        ends = ", ".join(f"{end}.yml" for end in _ENDS)
        _say(_HELLO.format(url=github.api_url, token=TEST_TOKEN, ends=ends, mode=options.mode))
        github.plan = _saying(options.seconds)
        try:
            while True:
                time.sleep(_LOOK_S)
                _tell_changes(github, options)
        except KeyboardInterrupt:
            return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fake-github", description=__doc__)
    parser.add_argument("--port", type=int, default=9700, help="where it listens (default: %(default)s)")
    parser.add_argument(
        "--mode", choices=[mode.value for mode in Mode], default=Mode.RUN_DETAILS.value, metavar="MODE",
        help="what dispatches get: 200 (with the run), 204, 502, 429, … (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=10, help="how long a run works (default: %(default)s)"
    )
    parser.add_argument("--webhook", default="", help="where workflow_run events go: …/api/v2/github/webhook")
    parser.add_argument("--secret", default="", help="what they are signed with: GITHUB_WEBHOOK_SECRET")
    return parser.parse_args()


def _saying(seconds: float) -> Callable[[Dispatch], Plan]:
    def plan(dispatch: Dispatch) -> Plan:
        made = plan_by_name(dispatch)
        _say(f"dispatch {dispatch.repository} {dispatch.workflow} on {dispatch.ref} {dict(dispatch.inputs)}")
        return made if "seconds" in dispatch.inputs else replace(made, working_s=seconds)

    return plan


def _tell_changes(github: FakeGitHub, options: argparse.Namespace) -> None:
    """Say how runs stand, here and by the webhook, once for each change."""
    now = github.clock()
    for run in github.run_list:
        stands = (run.attempt, run.status(now))
        if run.told == stands:
            continue
        run.told = stands
        _say(f"run {run.run_id} {run.workflow}: {stands[1]} {run.conclusion(now) or ''}".rstrip())
        if options.webhook:
            headers, body = workflow_run_event(run, secret=options.secret, api_url=github.api_url, now=now)
            _send(options.webhook, headers, body)


def _send(url: str, headers: dict[str, str], body: bytes) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:  # noqa: S310
            _say(f"webhook answered {answer.status}")
    except (urllib.error.URLError, OSError, ValueError) as error:
        _say(f"webhook failed: {error}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
