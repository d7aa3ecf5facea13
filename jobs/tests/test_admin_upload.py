from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings
from django.urls import reverse

from accounts.models import User
from cronsched.testing.fixtures_admin import BACKEND, Visitor
from jobs.models import Job, JobUpload
from jobs.tests.factories import JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db

FORM, PAGE = "jobs_job_upload", "jobs_job_upload_page"
HEADER = "Job Name,Cron Schedule,Target URL,PIC Team,End Date\n"
GOOD = "Nightly,0 1 * * *,https://hooks.example.com/run,devops,2090-12-31\n"


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")


def choose(site: Visitor, text: str, **more: Any) -> Any:
    file = SimpleUploadedFile("jobs.csv", text.encode(), content_type="text/csv")
    return site.send(FORM, file=file, **more)


def checked(site: Visitor, text: str) -> JobUpload:
    choose(site, text)
    upload: JobUpload = JobUpload.objects.get(user=site.user)
    site.send("jobs_job_upload_step", upload.pk)
    upload.refresh_from_db()
    return upload


def test_a_file_is_checked_confirmed_and_stored(user_site: Visitor):
    evil = "<script>alert(1)</script>,0 1 * * *,https://x.example.com,nobody,2090-12-31\n"
    JobFactory(name="Mine", created_by=user_site.user, cron_expression="0 5 * * *")
    mine = GOOD.replace("Nightly", "Mine")
    upload = checked(user_site, HEADER + GOOD + mine + evil)

    text = user_site.open(PAGE, upload.pk).content.decode()
    assert "Nightly" in text
    assert "0 5 * * *" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)" not in text
    assert Job.objects.count() == 1

    user_site.send("jobs_job_upload_confirm", upload.pk)
    user_site.send("jobs_job_upload_step", upload.pk)
    assert set(Job.objects.values_list("name", flat=True)) == {"Nightly", "Mine"}
    assert "The upload is done" in user_site.open(PAGE, upload.pk).content.decode()


def test_a_script_is_told_how_far_it_is(user_site: Visitor):
    choose(user_site, HEADER + GOOD)
    upload = JobUpload.objects.get()
    url = reverse("admin:jobs_job_upload_step", args=[upload.pk])
    answer = user_site.post(url, headers={"Accept": "application/json"}).json()

    assert answer == {
        "is_at_work": False,
        "page": reverse(f"admin:{PAGE}", args=[upload.pk]),
        "position": 1,
        "total": 1,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Other,Header\n1,2\n", "must name the columns"),
        ("", "empty"),
        ("PK\x03\x04", "Excel"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_its_field(user_site: Visitor, text, words):
    page = choose(user_site, text)

    assert page.status_code == 400
    assert words in " ".join(page.context["faults"]["file"])


def test_no_file_is_said(user_site: Visitor):
    assert "Choose a file first." in user_site.send(FORM).content.decode()


def test_a_bad_owner_is_said_at_its_field(user_site: Visitor):
    page = choose(user_site, HEADER + GOOD, default_github_owner="a/b")
    assert list(page.context["faults"]) == ["default_github_owner"]


@override_settings(UPLOAD_MAX_BYTES=100)
def test_a_large_file_is_refused(user_site: Visitor):
    assert choose(user_site, HEADER + GOOD * 10).status_code in {400, 413}
    assert not JobUpload.objects.exists()


@override_settings(UPLOAD_MAX_BYTES=100)
def test_a_huge_body_is_refused_before_it_is_read(user_site: Visitor):
    page = choose(user_site, HEADER + GOOD * 2000)

    assert page.status_code == 413
    assert "larger than 100 bytes" in page.content.decode()


def test_a_forged_form_is_refused(a_user: User):
    client = Client(enforce_csrf_checks=True)
    client.force_login(a_user, backend=BACKEND)
    file = SimpleUploadedFile("jobs.csv", (HEADER + GOOD).encode())

    assert client.post(reverse(f"admin:{FORM}"), {"file": file}).status_code == 403
    assert not JobUpload.objects.exists()


VIEWS = ("upload_page", "upload_step", "upload_confirm", "upload_refused")


@pytest.mark.parametrize("name", VIEWS)
def test_an_upload_is_its_users_alone(user_site: Visitor, admin_site: Visitor, name):
    choose(user_site, HEADER + GOOD)
    upload = JobUpload.objects.get()
    verb = admin_site.send if name in {"upload_step", "upload_confirm"} else admin_site.open

    assert verb(f"jobs_job_{name}", upload.pk).status_code == 404


def test_a_viewer_uploads_nothing(viewer_site: Visitor):
    assert viewer_site.open(FORM).status_code == 403
    assert choose(viewer_site, HEADER + GOOD).status_code == 403
    assert viewer_site.open("jobs_job_upload_template").status_code == 403


def test_who_was_demoted_meanwhile_stores_nothing(user_site: Visitor):
    upload = checked(user_site, HEADER + GOOD)
    User.objects.filter(pk=user_site.user.pk).update(role="viewer")

    assert user_site.send("jobs_job_upload_confirm", upload.pk).status_code == 403
    assert not Job.objects.exists()


def test_the_refused_rows_are_a_file(user_site: Visitor):
    upload = checked(user_site, HEADER + GOOD.replace("devops", "nobody"))
    answer = user_site.open("jobs_job_upload_refused", upload.pk)
    text = b"".join(answer.streaming_content).decode("utf-8-sig")

    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(each["Job Name"], each["Error"]) for each in rows] == [
        ("Nightly", 'PIC team "nobody" does not exist.')
    ]


def test_the_template_can_be_uploaded_as_it_is(user_site: Visitor):
    text = b"".join(user_site.open("jobs_job_upload_template").streaming_content).decode()
    upload = checked(user_site, text)

    assert upload.report["counts"] == {"created": 2, "updated": 0, "unchanged": 0, "failed": 0}


def test_an_export_holds_what_the_list_shows(viewer_site: Visitor):
    JobFactory(name="Shown", paused=True)
    JobFactory(name="Left out")
    answer = viewer_site.open("jobs_job_export", state="paused")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")

    assert [row["Job Name"] for row in csv.DictReader(io.StringIO(text))] == ["Shown"]


def test_a_key_that_is_gone_asks_for_the_file_again(user_site: Visitor):
    choose(user_site, HEADER + GOOD)
    upload = JobUpload.objects.get()
    JobUpload.objects.update(content="broken")
    answer = user_site.send("jobs_job_upload_step", upload.pk)

    assert answer.headers["Location"] == reverse(f"admin:{FORM}")
    assert not JobUpload.objects.exists()
