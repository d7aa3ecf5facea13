"""POST /jobs/bulk-upload, as contract and frontends know it. What a file may look like is in test_bulk_*."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import MULTIPART_CONTENT

from accounts.tests.factories import UserFactory
from cronsched.core import clock
from cronsched.testing.fixtures_api import ApiClient
from jobs.models import Job
from jobs.tests.factories import JobFactory
from notifications.models import Notification
from taxonomy.tests.factories import CategoryFactory, TeamFactory

PATH = "/jobs/bulk-upload"
HEADER = "Job Name,Cron Schedule (JST),Status,Target URL,PIC Team,End Date"
KEYS = {
    "message", "dry_run", "created", "updated", "failed", "created_count", "updated_count", "error_count",
    "errors", "jobs", "stats",
}  # fmt: skip

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    CategoryFactory()
    TeamFactory(slug="devops", name="DevOps チーム")


def line(name: str = "Backup", **cells: str) -> str:
    row = {
        "cron": "0 2 * * *",
        "status": "",
        "url": "https://hooks.example.com/run",
        "team": "devops",
        "end": "2030-12-31",
        **cells,
    }
    return ",".join((name, *row.values()))


def csv_file(*lines: str, header: str = HEADER) -> bytes:
    return "\r\n".join((header, *lines, "")).encode()


def send(api: ApiClient, content: bytes | None, **form: Any) -> Any:
    """The raw response."""
    if content is not None:
        form["file"] = SimpleUploadedFile("jobs.csv", content, content_type="text/csv")
    return api.post(PATH, form, content_type=MULTIPART_CONTENT)


def upload(api: ApiClient, *lines: str, header: str = HEADER, **form: Any) -> dict[str, Any]:
    response = send(api, csv_file(*lines, header=header), **form)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    assert answer.keys() == KEYS
    assert answer["created"] == answer["created_count"]
    assert answer["updated"] == answer["updated_count"]
    assert answer["failed"] == answer["error_count"] == len(answer["errors"])
    return answer


def counts(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["created"], answer["updated"], answer["failed"]


# ---- who, and what shape ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "status"), [("anonymous", 401), ("viewer", 403), ("user", 200), ("admin", 200)]
)
def test_who_may_upload(who: str, status: int, request: pytest.FixtureRequest) -> None:
    assert send(request.getfixturevalue(f"{who}_api"), csv_file(line())).status_code == status


def test_the_answer_has_the_jobs_whole_and_the_rows_at_fault(user_api: ApiClient, a_user: Any) -> None:
    Job.objects.all().delete()
    JobFactory(name="Old", created_by=a_user)

    answer = upload(user_api, line("New"), "", line("old"), line("Bad", cron="@daily"))

    assert counts(answer) == (1, 1, 1)
    assert answer["message"] == "Bulk upload completed: 1 created, 1 updated, 1 failed"
    assert answer["dry_run"] is False
    assert answer["errors"] == [
        {
            "row": 5,
            "name": "Bad",
            "error": 'Nicknames such as "@daily" are not supported; write "0 0 * * *".',
        }
    ]
    assert answer["stats"] == {
        "original_row_count": 4,
        "removed_empty_row_count": 1,
        "unchanged_count": 0,
        "unknown_columns": [],
    }
    for job in answer["jobs"]:
        assert user_api.get(f"/jobs/{job['id']}").json()["job"] == job
    assert [job["name"] for job in answer["jobs"]] == ["New", "old"]
    assert answer["jobs"][0]["created_by"] == str(a_user.pk)


def test_a_file_again_changes_nothing(user_api: ApiClient) -> None:
    upload(user_api, line("One"), line("Two"))
    before = list(Job.objects.values())

    answer = upload(user_api, line("One"), line("Two"))

    assert counts(answer) == (0, 2, 0)
    assert answer["stats"]["unchanged_count"] == 2
    assert list(Job.objects.values()) == before


@pytest.mark.parametrize("word", ["true", "1", "YES", "on"])
def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    user_api: ApiClient, a_user: Any, word: str
) -> None:
    JobFactory(name="Old", created_by=a_user)
    before = list(Job.objects.values())

    answer = upload(user_api, line("New"), line("Old", cron="0 3 * * *"), line("Bad", team="x"), dry_run=word)

    assert counts(answer) == (1, 1, 1)
    assert answer["dry_run"] is True
    assert [(job["id"], job["name"]) for job in answer["jobs"]] == [(None, "New"), (None, "Old")]
    assert answer["jobs"][1]["cron_expression"] == "0 3 * * *"
    assert list(Job.objects.values()) == before
    assert not Notification.objects.exists()


def test_a_new_job_is_scheduled_and_a_paused_one_is_not(user_api: ApiClient) -> None:
    answer = upload(user_api, line("Runs"), line("Rests", status="Disabled"))

    runs, rests = answer["jobs"]
    assert (runs["is_active"], rests["is_active"]) == (True, False)
    assert runs["next_execution_at"].endswith("T02:00:00+09:00")
    assert rests["next_execution_at"] is None
    assert rests["paused_reason"] == "by_hand"


def test_jobs_are_found_by_search_after_an_upload(user_api: ApiClient) -> None:
    upload(user_api, line("Ёлка"))

    assert user_api.get("/jobs", {"search": "ёЛКА"}).json()["count"] == 1


# ---- whose job it is --------------------------------------------------------------------------


def test_a_user_updates_only_their_own(user_api: ApiClient, a_user: Any) -> None:
    theirs = JobFactory(name="Theirs", created_by=UserFactory())
    ownerless = JobFactory(name="Nobody's", created_by=None)

    answer = upload(user_api, line("theirs"), line("Nobody's"), line("Theirs too", cron="x"), line("Mine"))

    assert counts(answer) == (1, 0, 3)
    assert [error["row"] for error in answer["errors"]] == [2, 3, 4]
    assert all("somebody else" in error["error"] for error in answer["errors"][:2])
    for job in (theirs, ownerless):
        version = job.schedule_version
        job.refresh_from_db()
        assert job.schedule_version == version


def test_what_is_wrong_with_anothers_job_is_not_told_before_that_it_is_anothers(user_api: ApiClient) -> None:
    JobFactory(name="Theirs", created_by=UserFactory())

    assert "somebody else" in upload(user_api, line("Theirs", cron="nonsense"))["errors"][0]["error"]


def test_anothers_job_is_refused_though_nothing_would_change(
    user_api: ApiClient, admin_api: ApiClient
) -> None:
    upload(admin_api, line("Shared"))

    answer = upload(user_api, line("Shared"))

    assert counts(answer) == (0, 0, 1)
    assert "somebody else" in answer["errors"][0]["error"]


@pytest.mark.parametrize("default", ["", "dflt"])
def test_a_blank_owner_leaves_the_one_that_a_job_has(user_api: ApiClient, a_user: Any, default: str) -> None:
    job = JobFactory(name="A", created_by=a_user, github=True)
    header = "name,cron,PIC Team,End Date,Repo,Workflow Name,GitHub Owner"

    answer = upload(user_api, "A,,,,app2,n.yml,", header=header, default_github_owner=default)

    job.refresh_from_db()
    assert counts(answer) == (0, 1, 0)
    assert (job.github_owner, job.github_repo) == ("acme", "app2")


@pytest.mark.parametrize("word", ["", " "])
def test_a_blank_dry_run_is_none(user_api: ApiClient, word: str) -> None:
    answer = upload(user_api, line("New"), dry_run=word)

    assert (answer["dry_run"], counts(answer)) == (False, (1, 0, 0))


def test_an_admins_update_keeps_the_owner(admin_api: ApiClient, a_user: Any) -> None:
    job = JobFactory(name="Theirs", created_by=a_user)

    assert counts(upload(admin_api, line("Theirs"))) == (0, 1, 0)
    job.refresh_from_db()
    assert (job.created_by_id, job.cron_expression) == (a_user.pk, "0 2 * * *")


# ---- states -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *((word, True) for word in ("enable", "enabled", "Active", "TRUE", "1", " enabled ")),
        *((word, False) for word in ("disable", "Disabled", "inactive", "paused", "false", "0")),
    ],
)
def test_status_words(user_api: ApiClient, a_user: Any, word: str, state: bool) -> None:
    JobFactory(name="Old", created_by=a_user, is_active=not state, next_run_at=None)

    answer = upload(user_api, line("New", status=word), line("Old", status=word))

    assert [job["is_active"] for job in answer["jobs"]] == [state, state]


def test_a_blank_status_enables_a_new_job_and_leaves_an_old_one(user_api: ApiClient, a_user: Any) -> None:
    JobFactory(name="Rests", created_by=a_user, paused=True)
    JobFactory(name="Runs", created_by=a_user)

    answer = upload(user_api, line("New"), line("Rests"), line("Runs"))

    assert [job["is_active"] for job in answer["jobs"]] == [True, False, True]


def test_an_unknown_status_is_an_error_row(user_api: ApiClient) -> None:
    answer = upload(user_api, line(status="sleeping"))

    assert counts(answer) == (0, 0, 1)
    assert 'Status "sleeping" is not known: write enabled or disabled' in answer["errors"][0]["error"]


def test_an_update_validates_what_it_changes(user_api: ApiClient, a_user: Any) -> None:
    """Ended, its team disabled since: put back whole it passes, and may be paused; it may not be enabled."""
    ended = clock.now().date() - timedelta(days=30)
    team = TeamFactory(slug="gone", is_active=False)
    for name in ("Same", "Wakes"):
        JobFactory(
            name=name,
            created_by=a_user,
            end_date=ended,
            pic_team=team,
            paused=True,
            cron_expression="0 2 * * *",
        )
    old = {"team": "gone", "end": ended.isoformat()}

    answer = upload(user_api, line("Same", **old), line("Wakes", status="enabled", **old))

    assert counts(answer) == (0, 1, 1)
    assert answer["errors"][0]["error"] == (
        f"This job ended on {ended}: give it a later end_date to enable it."
    )


# ---- rows at fault ----------------------------------------------------------------------------


def test_one_bad_row_never_stops_the_others(user_api: ApiClient) -> None:
    answer = upload(
        user_api,
        line("A"),
        line(""),
        line("B", cron="61 * * * *"),
        line("C", team="nobody"),
        line("D", end="2020-01-01"),
        line("E", url=""),
        line("F", url="ftp://example.com"),
        line("x" * 256),
        "G,only two",
        line("H") + ",more,cells",
        line("Z"),
    )

    assert counts(answer) == (2, 0, 9)
    assert [error["row"] for error in answer["errors"]] == list(range(3, 12))
    assert [error["name"] for error in answer["errors"]] == ["", *"BCDEF", "x" * 255, "G", "H"]
    assert answer["errors"][0]["error"] == "name is required."
    assert set(Job.objects.values_list("name", flat=True)) == {"A", "Z"}


def test_all_faults_of_a_row_are_told_at_once(user_api: ApiClient) -> None:
    header = f"{HEADER},Request Body,max_retries"

    answer = upload(user_api, line("A", cron="x", status="?", end="soon") + ",{,many", header=header)

    error = answer["errors"][0]["error"]
    for words in ("five fields", "Status", "YYYY-MM-DD", "not valid JSON", "max_retries"):
        assert words in error


def test_a_name_for_the_second_time_is_an_error_row(user_api: ApiClient) -> None:
    answer = upload(user_api, line("Same"), line("Other"), line("SAME ", cron="0 3 * * *"))

    assert counts(answer) == (2, 0, 1)
    assert answer["errors"][0]["row"] == 4
    assert "row 2 already" in answer["errors"][0]["error"]
    assert Job.objects.get(name="Same").cron_expression == "0 2 * * *"


def test_a_row_after_a_bad_one_of_its_name_is_still_the_second(user_api: ApiClient) -> None:
    assert counts(upload(user_api, line("Same", cron="x"), line("Same"))) == (0, 0, 2)


def test_at_most_a_thousand_jobs_are_shown_and_all_are_counted(
    user_api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.services.bulk_upload.report.JOBS_SHOWN", 2)

    answer = upload(user_api, *(line(f"Job {number}") for number in range(5)))

    assert (answer["created"], len(answer["jobs"])) == (5, 2)


# ---- structural faults ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\r\n \r\n\t\r\n", "is empty"),
        (b",,\r\n,,\r\n", "must name the columns"),
        (b"1,2,3\r\n4,5,6\r\n", "missing: Job Name, Cron Schedule, PIC Team, End Date"),
        (csv_file(header=HEADER.replace("PIC Team", "Team")), "missing: PIC Team"),
        (csv_file(header=f"{HEADER},name"), '"Job Name" and "name" mean the same'),
        (csv_file(line("a\x00b")), "Row 2 holds a NUL character"),
        (csv_file(line("ok")) + b"\xff\xfe\xfa,\r\n", "Row 3 is not UTF-8"),
        (
            f"{HEADER}\r\n{line('日報バックアップ')}".encode("cp932"),
            "Row 2 is not UTF-8. It looks like Shift-JIS.",
        ),
        (csv_file(line("ok"), '"never closed,0 2 * * *'), "Row 3 opens a quote"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\x00" * 100, "NUL"),
        (HEADER.encode("utf-32"), "UTF-32"),
    ],
)
def test_a_structural_fault_is_400_and_stores_nothing(
    user_api: ApiClient, content: bytes, words: str
) -> None:
    response = send(user_api, content)

    body = response.json()
    assert (response.status_code, body["error"]) == (400, "Invalid file")
    assert words in body["message"]
    assert body["details"] == {"file": [body["message"]]}
    assert not Job.objects.exists()


def test_no_file_is_400(user_api: ApiClient) -> None:
    for response in (send(user_api, None), send(user_api, None, file="name,cron")):
        assert response.status_code == 400
        assert response.json()["error"] == "No file"


def test_what_is_no_form_is_refused(user_api: ApiClient) -> None:
    assert user_api.post(PATH, {"file": "x"}).status_code == 415
    assert user_api.post(PATH, b"x", content_type="multipart/form-data; boundary=y").status_code == 400
    assert user_api.post(PATH, b"x", content_type="multipart/form-data").status_code == 400
    assert user_api.get(PATH).status_code == 405


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"dry_run": "maybe"}, "dry_run"),
        ({"default_github_owner": "a/b"}, "default_github_owner"),
        ({"default_github_owner": "a\x00"}, "default_github_owner"),
    ],
)
def test_a_bad_form_field_is_400(user_api: ApiClient, form: dict[str, str], field: str) -> None:
    response = send(user_api, csv_file(line()), **form)

    assert response.status_code == 400
    assert field in response.json()["details"]
    assert not Job.objects.exists()


@pytest.mark.parametrize("slack", [1, 200_000])
def test_too_large_is_413(user_api: ApiClient, settings: Any, slack: int) -> None:
    """By the size of the file, and by the length of the request before any of it is read."""
    content = csv_file(line())
    settings.UPLOAD_MAX_BYTES = len(content)
    assert send(user_api, content).status_code == 200

    response = send(user_api, content + b" " * slack)

    assert response.status_code == 413
    assert response.json()["error"] == "Payload too large"
    assert str(len(content)) in response.json()["message"]


def test_a_header_alone_is_no_fault(user_api: ApiClient) -> None:
    assert counts(upload(user_api)) == (0, 0, 0)


# ---- columns ----------------------------------------------------------------------------------


def test_every_field_of_a_job(user_api: ApiClient) -> None:
    header = (
        "name,CRON EXPRESSION,is_active,target_url,GITHUB OWNER,Github_Repo,workflow_name,category,Pic_Team,"
        "end date,METADATA,Branch,enable_email_notifications,notification_emails,notify_on_success,timezone,"
        "catch_up,max_retries,timeout_seconds,follow_run,follow_timeout_minutes,github_correlation_input,"
        "alert_after,Remarks,"
    )
    row = (
        "ジョブ 🚀,*/5 * * * *,paused,https://a.example.com/,,acme/app,nightly.yml,General,"
        'devops チーム,2030/1/5,"{""a"": ""é"", ""b"": [1]}",release,yes,"a@example.com; b@example.com",no,'
        "Europe/Berlin,latest,3,30.0,no,90.0,run_key,2,left aside,dropped"
    )

    answer = upload(user_api, row, header=header)

    assert answer["errors"] == []
    assert answer["stats"]["unknown_columns"] == ["Remarks"]
    job = answer["jobs"][0]
    assert {key: job[key] for key in job if key not in ("id", "created_by", "created_at", "updated_at")} == {
        "name": "ジョブ 🚀",
        "cron_expression": "*/5 * * * *",
        "timezone": "Europe/Berlin",
        "catch_up": "latest",
        "target_url": "https://a.example.com/",
        "github_owner": "acme",
        "github_repo": "app",
        "github_workflow_name": "nightly.yml",
        "metadata": {"a": "é", "b": [1], "branchDetails": "release"},
        "timeout_seconds": 30,
        "max_retries": 3,
        "follow_run": False,
        "follow_timeout_minutes": 90,
        "github_correlation_input": "run_key",
        "category": "general",
        "pic_team": "devops",
        "end_date": "2030-01-05",
        "enable_email_notifications": True,
        "notification_emails": ["a@example.com", "b@example.com"],
        "notify_on_success": False,
        "alert_after": 2,
        "is_active": False,
        "paused_reason": "by_hand",
        "last_execution_at": None,
        "last_status": None,
        "next_execution_at": None,
        "is_signed": False,
    }


def test_a_blank_cell_clears_what_may_be_empty_and_keeps_the_rest(user_api: ApiClient, a_user: Any) -> None:
    JobFactory(
        name="Old", created_by=a_user, category=CategoryFactory(slug="reports"), metadata={"a": 1},
        github=True, target_url="https://example.com/", notification_emails=["a@example.com"], timezone="UTC",
        timeout_seconds=5, max_retries=2, catch_up="all", notify_on_success=True, end_date=date(2030, 5, 5),
    )  # fmt: skip
    header = (
        "name,cron,PIC Team,End Date,Target URL,GitHub Owner,Repo,Workflow Name,Category,metadata,timezone,"
        "timeout_seconds,max_retries,catch_up,notify_on_success,notification_emails"
    )

    job = upload(user_api, "Old,,,,,acme,app,nightly.yml", header=header)["jobs"][0]

    cleared = {
        "target_url": None, "metadata": {}, "timezone": None, "timeout_seconds": None,
        "notification_emails": [],
    }  # fmt: skip
    kept = {
        "category": "reports", "max_retries": 2, "catch_up": "all", "notify_on_success": True,
        "end_date": "2030-05-05", "cron_expression": "* * * * *",
    }  # fmt: skip
    assert {key: job[key] for key in (*cleared, *kept)} == {**cleared, **kept}


@pytest.mark.parametrize(
    ("cells", "owner"),
    [
        ("app,", "dflt"),
        ("acme/app,", "acme"),
        ("app,acme", "acme"),
        ("acme/app,ACME", "acme"),
    ],
)
def test_the_default_owner_is_for_repositories_without_one(
    user_api: ApiClient, cells: str, owner: str
) -> None:
    header = "name,cron,PIC Team,End Date,Workflow Name,Repo,GitHub Owner"

    answer = upload(
        user_api, f"A,0 2 * * *,devops,2030-12-31,n.yml,{cells}", header=header, default_github_owner="dflt"
    )

    assert answer["jobs"][0]["github_owner"] == owner


def test_a_default_owner_moves_no_job_that_has_one(user_api: ApiClient, a_user: Any) -> None:
    JobFactory(name="A", created_by=a_user, github=True)
    JobFactory(name="B", created_by=a_user)
    header = "name,cron,PIC Team,End Date,Repo,Target URL"

    rows = "A,,,,app,", "B,,,,,https://b.example.com/"
    jobs = upload(user_api, *rows, header=header, default_github_owner="dflt")["jobs"]

    assert [(job["github_owner"], job["target_url"]) for job in jobs] == [
        ("acme", None),
        (None, "https://b.example.com/"),
    ]


@pytest.mark.parametrize(
    ("stored", "body", "branch", "metadata"),
    [
        ({}, None, "main", {"branchDetails": "main"}),
        ({"a": 1}, None, "main", {"a": 1, "branchDetails": "main"}),
        ({"branchDetails": "kept"}, None, "main", {"branchDetails": "kept"}),
        ({"a": 1}, {"b": 2}, "main", {"b": 2, "branchDetails": "main"}),
        ({}, {"branchDetails": "own"}, "main", {"branchDetails": "own"}),
        ({"a": 1}, None, "", {"a": 1}),
    ],
)
def test_branch_is_for_metadata_without_one(
    user_api: ApiClient, a_user: Any, stored: Any, body: Any, branch: str, metadata: Any
) -> None:
    JobFactory(name="A", created_by=a_user, metadata=stored)
    cells, header = ["A", "", "", "", branch], "name,cron,PIC Team,End Date,Branch"
    if body is not None:
        header += ",Request Body"
        cells.append('"' + json.dumps(body).replace('"', '""') + '"')

    assert upload(user_api, ",".join(cells), header=header)["jobs"][0]["metadata"] == metadata


# ---- one notice -------------------------------------------------------------------------------


def test_one_notice_tells_of_a_whole_upload(user_api: ApiClient, a_user: Any, an_admin: Any) -> None:
    JobFactory(name="Old", created_by=a_user, next_run_at=None)

    upload(user_api, line("One"), line("Two"), line("Old"), line("Bad", cron="x"))

    notices = Notification.objects.order_by("user__username")
    assert {notice.user_id for notice in notices} == {a_user.pk, an_admin.pk}
    assert len(notices) == 2
    notice = notices[0]
    assert (notice.type, notice.title) == ("info", "Jobs were uploaded: 2 created, 1 updated")
    assert notice.message == "By uma_user. 1 row was refused."


def test_an_upload_that_changes_nothing_is_not_told(user_api: ApiClient) -> None:
    upload(user_api, line("One"))
    Notification.objects.all().delete()

    upload(user_api, line("One"), line("Bad", cron="x"))

    assert not Notification.objects.exists()
