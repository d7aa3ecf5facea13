"""Times every list and statistic of the API on filled databases (bench/fill.py), as a Markdown table.

    python -m bench.endpoints --database sqlite:////tmp/bench.db --database mysql://…/bench

Requests are made in this process, by Django's test client: no network, no web server. Each cell is
`statements · median ms (p95) · ×ratio`, the ratio to `GET /auth/me` in the same run, the cheapest
request with a caller. A request is repeated 20 times, or for 3 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from bench.project import DEFAULT_DATABASE, describe_run, start_django

REPEATS, SECONDS = 20, 3.0
REFERENCE = "/auth/me"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", action="append", help=f"repeat for more (default: {DEFAULT_DATABASE})")
    parser.add_argument("--only", default="", help="paths that contain this")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    databases = options.database or [DEFAULT_DATABASE]
    if options.json:
        print(json.dumps(measure(databases[0], options.only)))
        return
    print_table([_in_a_process_of_its_own(url, options.only) for url in databases])


def _in_a_process_of_its_own(url: str, only: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.endpoints", "--json", "--database", url, "--only", only]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def print_table(runs: list[dict[str, Any]]) -> None:
    print(f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n")
    print("| request |", " | ".join(run["where"] for run in runs), "|")
    print("| --- |" + " --- |" * len(runs))
    for name in runs[0]["figures"]:
        print(f"| {name} |", " | ".join(_cell(run, name) for run in runs), "|")


def _cell(run: dict[str, Any], name: str) -> str:
    figures = run["figures"][name]
    if figures["status"] != 200:
        return f"answered {figures['status']}"
    ratio = figures["p50"] / run["figures"][REFERENCE]["p50"]
    return f"{figures['statements']} · {figures['p50']:.1f} ({figures['p95']:.1f}) · ×{ratio:.1f}"


def measure(url: str, only: str) -> dict[str, Any]:
    start_django(url)
    from django.test import Client

    from accounts.models import User
    from cronsched.testing.fixtures_api import ApiClient

    user = User.objects.get(username="bench")
    api, site = ApiClient(user), Client()
    site.force_login(user, backend="accounts.backends.IdentifierBackend")
    names = dict(requests())
    chosen = {name: path for name, path in names.items() if only in path or name == REFERENCE}
    return {
        "where": describe_run(),
        "figures": {
            name: time_request(site if path.startswith("/admin") else api, path)
            for name, path in chosen.items()
        },
    }


def requests() -> Iterator[tuple[str, str]]:
    """What people ask for. `heavy` is the job with most runs, `usual` one in the middle."""
    from django.db.models import Count

    from jobs.models import Job, JobExecution
    from taxonomy.models import PicTeam

    now: datetime = JobExecution.objects.latest("started_at").started_at
    by_weight = list(
        Job.objects.annotate(runs=Count("executions")).order_by("-runs").values_list("id", "runs")
    )
    (heavy, heavy_runs), (usual, usual_runs) = by_weight[0], by_weight[len(by_weight) // 2]
    total = sum(runs for _, runs in by_weight)
    week = f"from={_iso(now - timedelta(days=100))}&to={_iso(now - timedelta(days=93))}"
    odd = f"from={_iso(now - timedelta(days=300, minutes=17))}&to={_iso(now - timedelta(days=3, minutes=41))}"
    sizes = {heavy: f"heavy job, {heavy_runs:,} runs", usual: f"usual job, {usual_runs:,} runs"}

    yield REFERENCE, REFERENCE
    plain = [
        "/jobs", "/jobs?page=1", "/jobs?page=90", "/jobs?search=report", "/jobs?category=category-1&page=1",
        "/jobs?pic_team=team-3&is_active=true&page=1", "/jobs?ordering=-last_execution_at&page=1",
        "/executions", "/executions?page=1000",
        f"/executions?page={total // 40}", f"/executions?page={total // 20}",
        "/executions?status=failed", "/executions?status=failed&page=1000",
        "/executions?status=success,failed",
        "/executions?status=missed,queued", "/executions?status=queued,running",
        "/executions?trigger_type=manual", "/executions?trigger_type=manual&page=1000",
        "/executions?execution_type=github_actions", "/executions?execution_type=github_actions&page=5000",
        "/executions?status=failed&trigger_type=manual&execution_type=github_actions",
        "/executions/statistics", "/job-categories", "/pic-teams", "/auth/users",
        "/notifications", "/notifications?page=4000", "/notifications?unread_only=true",
        "/notifications/unread-count",
        "/admin/", "/admin/home/", "/admin/jobs/job/", "/admin/jobs/job/?p=30", "/admin/jobs/job/?q=report",
        "/admin/jobs/jobexecution/", "/admin/jobs/jobexecution/?p=199",
        "/admin/jobs/jobexecution/?status__exact=failed", "/admin/jobs/jobexecution/?status__exact=missed",
        "/admin/jobs/jobexecution/?q=report", "/admin/jobs/jobexecution/?trigger_type__exact=manual",
        "/admin/notifications/notification/",
    ]  # fmt: skip
    for path in plain:
        yield path, path
    for name, query in (("7 days", week), ("odd 297 days", odd)):
        yield f"/executions, {name}", f"/executions?{query}"
        yield f"/executions?status=failed, {name}", f"/executions?status=failed&{query}"
        yield f"/executions/statistics, {name}", f"/executions/statistics?{query}"
        yield f"/notifications, {name}", f"/notifications?{query}"
    team = PicTeam.objects.get(slug="team-3").pk
    yield "/admin/jobs/jobexecution/, a team", f"/admin/jobs/jobexecution/?job__pic_team__id__exact={team}"
    yield (
        "/admin/jobs/jobexecution/, failed of a team",
        (f"/admin/jobs/jobexecution/?job__pic_team__id__exact={team}&status__exact=failed"),
    )
    for job, size in sizes.items():
        yield f"/admin/jobs/job/, page of the {size}", f"/admin/jobs/job/{job}/"
        yield f"/admin/jobs/job/, form of the {size}", f"/admin/jobs/job/{job}/change/"
        yield f"/admin/jobs/jobexecution/, {size}", f"/admin/jobs/jobexecution/?job__id__exact={job}"
        yield (
            f"/admin/jobs/jobexecution/, failed, {size}",
            (f"/admin/jobs/jobexecution/?job__id__exact={job}&status__exact=failed"),
        )
        yield f"/executions?job_id, {size}", f"/executions?job_id={job}"
        yield f"/executions?job_id&status=failed, {size}", f"/executions?job_id={job}&status=failed"
        yield (
            f"/executions?job_id&status=missed&trigger_type=manual (none), {size}",
            (f"/executions?job_id={job}&status=missed&trigger_type=manual"),
        )
        yield f"/executions?job_id, odd 297 days, {size}", f"/executions?job_id={job}&{odd}"
        yield f"/executions/statistics?job_id, {size}", f"/executions/statistics?job_id={job}"
        yield f"/jobs/…/executions, {size}", f"/jobs/{job}/executions"
        yield f"/jobs/…/executions/stats, {size}", f"/jobs/{job}/executions/stats"
        yield f"/jobs/…/executions/stats, odd 297 days, {size}", f"/jobs/{job}/executions/stats?{odd}"


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def time_request(client: Any, path: str) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django.urls import is_valid_path

    full = path if path.startswith("/admin") else f"/api/v2{path}"
    if not is_valid_path(full.partition("?")[0]):
        return {"status": 404, "statements": 0, "p50": 0.0, "p95": 0.0}
    began = time.perf_counter()
    with CaptureQueriesContext(connection) as queries:
        status = client.get(path, secure=True).status_code
        statements = len(queries)
    # The first one warms up, and counts where there is no time for another.
    first = (time.perf_counter() - began) * 1000
    spent, until = [], time.monotonic() + SECONDS - first / 1000
    while len(spent) < REPEATS and time.monotonic() < until:
        began = time.perf_counter()
        client.get(path, secure=True)
        spent.append((time.perf_counter() - began) * 1000)
    spent = spent or [first]
    p95 = sorted(spent)[min(len(spent) - 1, round(0.95 * (len(spent) - 1)))]
    return {"status": status, "statements": statements, "p50": statistics.median(spent), "p95": p95}


if __name__ == "__main__":
    main()
