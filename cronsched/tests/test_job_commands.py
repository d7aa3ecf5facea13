"""The commands for jobs and their history, as they are called from a shell."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError

from accounts.tests.factories import UserFactory
from cronsched.core.clock import scheduler_date
from cronsched.management import base
from jobs.models import Job, JobExecution
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import Notification
from taxonomy.tests.factories import CategoryFactory, TeamFactory

HEADER = "name,cron,PIC Team,End Date,Target URL"
GOOD = "{},0 2 * * *,devops,2030-12-31,https://hooks.example.com/run"
pytestmark = pytest.mark.django_db


def run(command: str, *args: Any) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(command, *map(str, args), stdout=out, stderr=err)
    except CommandError as error:
        err.write(str(error))
        raise
    finally:
        run.last = out.getvalue(), err.getvalue()  # type: ignore[attr-defined]
    return out.getvalue(), err.getvalue()


def failure(command: str, *args: Any) -> str:
    with pytest.raises(CommandError) as caught:
        run(command, *args)
    assert caught.value.returncode != 0
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    CategoryFactory()
    TeamFactory(slug="devops")


@pytest.fixture
def sheet(tmp_path: Path) -> Any:
    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "jobs.csv"
        path.write_text("\n".join((header, *lines)), encoding="utf-8")
        return path

    return write


# ---- import_jobs ------------------------------------------------------------------------------


def test_import_creates_jobs_without_an_owner(sheet: Any) -> None:
    out, err = run("import_jobs", sheet(GOOD.format("One"), GOOD.format("Two")))

    assert out.startswith("2 created, 0 updated, 0 failed")
    assert err == ""
    assert set(Job.objects.values_list("name", "created_by")) == {("One", None), ("Two", None)}


@pytest.mark.parametrize("owner", ["Uma", "uma@example.com"])
def test_the_owner_is_for_new_jobs(sheet: Any, owner: str) -> None:
    uma, otto = UserFactory(username="uma"), UserFactory(username="otto")
    JobFactory(name="Old", created_by=otto)

    run("import_jobs", sheet(GOOD.format("Old"), GOOD.format("New")), "--owner", owner)

    assert Job.objects.get(name="New").created_by == uma
    assert Job.objects.get(name="Old").created_by == otto
    assert Job.objects.get(name="Old").cron_expression == "0 2 * * *"


def test_import_takes_what_it_can_and_exits_with_1(sheet: Any) -> None:
    message = failure(
        "import_jobs", sheet(GOOD.format("One"), "Bad,x,devops,2030-12-31,", GOOD.format("Two"))
    )

    out, err = run.last  # type: ignore[attr-defined]
    assert message == "1 of 3 rows failed."
    assert out.startswith("2 created, 0 updated, 1 failed")
    assert "Row 3, Bad: " in err
    assert Job.objects.count() == 2


def test_a_dry_run_shows_each_change_and_stores_nothing(sheet: Any) -> None:
    job = JobFactory(name="Old")

    out, _ = run("import_jobs", sheet(GOOD.format("Old"), GOOD.format("New")), "--dry-run")

    assert "Row 2, Old: updated\n    cron_expression: '* * * * *' → '0 2 * * *'" in out
    assert "Row 3, New: created" in out
    assert "Dry run, nothing was stored: 1 created, 1 updated" in out
    assert Job.objects.get() == job
    assert Job.objects.get().cron_expression == "* * * * *"


def test_the_default_owner_of_repositories(sheet: Any) -> None:
    path = sheet(
        "A,0 2 * * *,devops,2030-12-31,app,n.yml", header=HEADER.replace("Target URL", "Repo,Workflow Name")
    )

    run("import_jobs", path, "--default-github-owner", "acme")

    assert Job.objects.get().github_owner == "acme"


def test_columns_that_nobody_knows_are_named(sheet: Any) -> None:
    _, err = run("import_jobs", sheet(GOOD.format("A") + ",x", header=f"{HEADER},Remarks"))

    assert 'Columns left aside, as nobody knows them: "Remarks"' in err


def test_one_notice_tells_of_an_import(sheet: Any) -> None:
    UserFactory(username="uma")

    run("import_jobs", sheet(GOOD.format("One"), GOOD.format("Two")))

    notice = Notification.objects.get()
    assert (notice.title, notice.message) == (
        "Jobs were uploaded: 2 created, 0 updated",
        "From the command line.",
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--owner", "nobody"], 'no user "nobody"'),
        (["--owner", ""], 'no user ""'),
        (["--owner", "gone"], "gone is deactivated"),
        (["--default-github-owner", "a b"], "default_github_owner"),
    ],
)
def test_bad_options_of_import(sheet: Any, args: list[str], words: str) -> None:
    UserFactory(username="gone", inactive=True)

    assert words in failure("import_jobs", sheet(GOOD.format("A")), *args)
    assert not Job.objects.exists()


def test_bad_files_of_import(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))

    assert "cannot be read: No such file" in failure("import_jobs", tmp_path / "none.csv")
    assert "cannot be read: Is a directory" in failure("import_jobs", tmp_path)
    assert "is empty" in failure("import_jobs", tmp_path / "empty.csv")
    assert "NUL" in failure("import_jobs", tmp_path / "binary.csv")


def test_import_reads_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, f"{HEADER}\n{GOOD.format('Piped')}\n".encode())
    os.close(write)

    run("import_jobs", f"/dev/fd/{read}")
    os.close(read)

    assert Job.objects.get().name == "Piped"


# ---- export_jobs ------------------------------------------------------------------------------


def test_export_is_a_table_by_name(tmp_path: Path) -> None:
    JobFactory(name="b")
    JobFactory(name="A", paused=True)

    out, _ = run("export_jobs")

    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["Job Name"], row["Status"]) for row in rows] == [("A", "disabled"), ("b", "enabled")]


def test_export_to_a_file(tmp_path: Path) -> None:
    JobFactory(name="日報")
    path = tmp_path / "out.csv"
    path.write_text("an earlier one")

    out, err = run("export_jobs", "--output", path, "--format", "csv", "--bom")

    assert out == ""
    assert err == f"1 job written to {path}.\n"
    assert path.read_bytes().startswith(b"\xef\xbb\xbfJob Name,")
    assert "日報" in path.read_text("utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_export_then_import_changes_nothing(tmp_path: Path) -> None:
    """The kinds of jobs by name; the property over all values is jobs/tests/test_bulk_round_trip.py."""
    team = TeamFactory(slug="platform", name="基盤 チーム", is_active=False)
    gone = CategoryFactory(slug="gone", is_active=False)
    yesterday = scheduler_date(datetime.now(UTC)) - timedelta(days=1)
    kinds: tuple[dict[str, Any], ...] = (
            {"name": "日本語の名前 🚀 👩‍👩‍👧"},
            {"name": "مهمة النسخ الاحتياطي"},
            {"name": '=1+2"|calc'},
            {"name": "'=already quoted"},
            {"name": "+49", "metadata": {"=a": "-b", "é": ["\u2028", "\n", {"x": None}], "n": 1.5}},
            {"name": "-dash, with; a \"quote\" and 'one'"},
            {"name": "@at", "notification_emails": ["+tag@example.com", "b@example.com"]},
            {"name": "two\nlines and a\ttab"},
            {"name": "paused", "paused": True, "paused_reason": "by_hand"},
            {"name": "ended, still active", "end_date": yesterday},
            {"name": "ended", "end_date": yesterday, "paused": True, "paused_reason": "expired"},
            {"name": "github", "github": True, "metadata": {"branchDetails": "main"}},
            {"name": "github of nobody", "github": True, "github_owner": ""},
            {"name": "both", "github": True, "target_url": "https://b.example.com/?a=1,2;3"},
            {"name": "of the earlier system", "pic_team": None, "end_date": None},
            {"name": "team is gone", "pic_team": team, "category": gone},
            {"name": "all", "timezone": "America/New_York", "catch_up": "all", "max_retries": 3,
             "timeout_seconds": 10, "enable_email_notifications": True, "notify_on_success": True},
    )  # fmt: skip
    for number, values in enumerate(kinds):
        JobFactory(**{"cron_expression": f"{number} 3 * * MON-FRI", **values})
    before = list(Job.objects.order_by("pk").values())
    path = tmp_path / "jobs.csv"

    run("export_jobs", "--output", path)
    out, _ = run("import_jobs", path)

    assert out.startswith(f"0 created, {len(before)} updated, 0 failed ({len(before)} of the updated")
    assert list(Job.objects.order_by("pk").values()) == before


def test_bad_options_of_export(tmp_path: Path) -> None:
    assert "invalid choice: 'xml'" in failure("export_jobs", "--format", "xml")
    assert "cannot be written" in failure("export_jobs", "--output", tmp_path / "none" / "x.csv")
    assert "cannot be written" in failure("export_jobs", "--output", tmp_path)


# ---- resync and end dates ---------------------------------------------------------------------


def test_resync_says_what_it_did() -> None:
    JobFactory(next_run_at=None)
    JobFactory(end_date=date(2020, 1, 1), next_run_at=None)

    out, _ = run("resync")

    assert out == "1 scheduled, 1 paused, 0 removed.\n"


def test_end_date_maintenance_pauses_and_reminds_only_when_asked() -> None:
    today = scheduler_date(datetime.now(UTC))
    owner = UserFactory(username="owner")
    JobFactory(name="Over", created_by=owner, end_date=today - timedelta(days=1), next_run_at=None)
    soon = JobFactory(name="Soon", created_by=owner, end_date=today + timedelta(days=30))
    JobFactory(name="Later", created_by=owner, end_date=today + timedelta(days=31))

    assert run("end_date_maintenance")[0] == "1 job paused.\n"
    assert not Notification.objects.filter(related_job=soon).exists()
    assert run("end_date_maintenance", "--remind")[0] == "0 jobs paused.\n1 reminder sent.\n"
    notice = Notification.objects.get(related_job=soon)
    assert (notice.user, notice.type) == (owner, "warning")


# ---- prune_executions -------------------------------------------------------------------------


def aged(days: int, **values: Any) -> JobExecution:
    started = datetime.now(UTC) - timedelta(days=days, hours=1)
    execution: JobExecution = ExecutionFactory(started_at=started, scheduled_for=started, **values)
    return execution


def test_prune_deletes_what_is_older_than_the_retention(settings: Any) -> None:
    settings.EXECUTION_RETENTION_DAYS = 10
    aged(10)
    kept = aged(9)

    assert run("prune_executions")[0] == "1 execution older than 10 days deleted.\n"
    assert list(JobExecution.objects.all()) == [kept]


def test_a_dry_run_of_prune_counts_only() -> None:
    aged(3)

    out, _ = run("prune_executions", "--days", 3, "--dry-run")

    assert out == "1 execution older than 3 days; none was deleted.\n"
    assert JobExecution.objects.count() == 1


@pytest.mark.parametrize("days", ["0", "-1", "36501", "99999999999"])
def test_prune_refuses_days_out_of_range(days: str) -> None:
    aged(3)

    assert "days must be from 1" in failure("prune_executions", f"--days={days}")
    assert JobExecution.objects.exists()


def test_prune_refuses_what_is_no_number() -> None:
    assert "--days" in failure("prune_executions", "--days", "soon")


# ---- what commands share ----------------------------------------------------------------------


def test_a_silent_database_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(**values: Any) -> None:
        raise OperationalError("(2006,\n 'Server has gone away')")

    monkeypatch.setattr("cronsched.management.commands.resync.resync", gone)

    assert "Server has gone away" in failure("resync")


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**values: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cronsched.management.commands.resync.resync", interrupted)

    assert failure("resync") == "Stopped. What was done so far stays done."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "lines"), [(Terminal(), "\rRows: 2 of 9"), (io.StringIO(), "Rows: 2 of 9\n")]
)
def test_long_work_counts_on_stderr(monkeypatch: pytest.MonkeyPatch, stream: Any, lines: str) -> None:
    clock = iter([0, 0.1, 60, 60])
    monkeypatch.setattr(base.time, "monotonic", lambda: next(clock))
    progress = base.Progress(base.OutputWrapper(stream), "Rows", 9)

    progress.add()
    assert stream.getvalue() == "", "quick work shows nothing"
    progress.add()

    assert stream.getvalue() == lines


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (["prune_executions", "--days", "soon"], "--days"),
        (["import_jobs"], "FILE.csv"),
        (["import_jobs", "/none.csv"], "No such file"),
        (["export_jobs", "--format", "xml"], "xml"),
        (["create_admin", "--username", "x"], "--email"),
        (["runscheduler", "--drain", "-1"], "--drain"),
        (["resync", "extra"], "extra"),
    ],
)
def test_on_a_real_command_line_bad_input_is_one_line(command: list[str], fault: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=django_settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "cronsched.testing.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert fault in done.stderr
