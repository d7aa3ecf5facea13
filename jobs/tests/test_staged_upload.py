from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.test import override_settings

from accounts.tests.factories import UserFactory
from cronsched.core.errors import Conflict, InvalidInput, TooLarge
from cronsched.core.masking import CHANGED, SET
from jobs.models import Job, JobUpload, UploadPhase
from jobs.services.bulk_upload import staged
from jobs.services.bulk_upload.sheet import Sheet
from jobs.services.bulk_upload.table import TableFault
from jobs.signals import jobs_uploaded
from jobs.tests.factories import NOON, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]

HEADER = "Job Name,Cron Schedule,Target URL,PIC Team,End Date"


@pytest.fixture
def uma():
    TeamFactory(slug="devops", name="DevOps")
    CategoryFactory(slug="general")
    return UserFactory(username="uma")


def row(name: str, *, cron: str = "0 1 * * *", team: str = "devops") -> str:
    return f"{name},{cron},https://hooks.example.com/run,{team},2030-12-31"


def begin(user, *rows: str, header: str = HEADER) -> JobUpload:
    content = "\n".join([header, *rows]).encode()
    return staged.begin_upload(
        file=io.BytesIO(content),
        size=len(content),
        filename="jobs.csv",
        default_github_owner="",
        by=user,
        now=NOON,
    )


def through(upload: JobUpload, user, *, count: int = staged.STEP) -> JobUpload:
    """Steps until the phase is over."""
    phase = upload.phase
    while upload.phase == phase:
        upload = staged.take_step(upload, by=user, now=NOON, count=count)
    return upload


def test_nothing_is_stored_before_it_is_confirmed(uma):
    JobFactory(name="Old", created_by=uma, cron_expression="0 2 * * *")
    upload = through(begin(uma, row("New"), row("Old"), row("Bad", team="nobody")), uma)

    assert upload.phase == UploadPhase.CHECKED
    assert upload.report["counts"] == {"created": 1, "updated": 1, "unchanged": 0, "failed": 1}
    assert upload.report["created"] == [
        [2, "New", ["0 1 * * *", "https://hooks.example.com/run", "DevOps", "2030-12-31"]]
    ]
    number, name, changes = upload.report["updated"][0]
    assert (number, name, changes["cron_expression"]) == (3, "Old", ["0 2 * * *", "0 1 * * *"])
    assert upload.report["refused"] == [[4, "Bad", 'PIC team "nobody" does not exist.']]
    assert list(Job.objects.values_list("name", flat=True)) == ["Old"]


def test_what_was_confirmed_is_stored_part_by_part_and_told_once(uma):
    heard = []

    def listen(**told):
        heard.append((told["created"], told["updated"], told["failed"]))

    jobs_uploaded.connect(listen)
    try:
        upload = through(begin(uma, *(row(f"J{n}") for n in range(5)), row("Bad", cron="x")), uma, count=2)
        staged.confirm(upload, now=NOON)
        upload.refresh_from_db()
        upload = through(upload, uma, count=2)
    finally:
        jobs_uploaded.disconnect(listen)

    assert upload.phase == UploadPhase.DONE
    assert upload.report["counts"] == {"created": 5, "updated": 0, "unchanged": 0, "failed": 1}
    assert Job.objects.filter(created_by=uma).count() == 5
    assert heard == [(5, 0, 1)]


def test_a_repeated_name_is_found_across_the_parts(uma):
    upload = through(begin(uma, row("Same"), row("Other"), row("same")), uma, count=1)

    assert [(number, name) for number, name, _ in upload.report["refused"]] == [(4, "same")]


def test_a_step_that_was_cut_short_is_done_again(uma):
    upload = through(begin(uma, row("A"), row("B")), uma)
    staged.confirm(upload, now=NOON)
    upload.refresh_from_db()
    # Its jobs were stored, its place was not.
    through(JobUpload.objects.get(pk=upload.pk), uma)
    JobUpload.objects.filter(pk=upload.pk).update(
        phase=UploadPhase.STORING, position=0, report=staged._empty_report(), content=upload.content
    )

    done = through(JobUpload.objects.get(pk=upload.pk), uma)
    assert done.report["counts"] == {"created": 0, "updated": 0, "unchanged": 2, "failed": 0}


def test_one_request_works_on_it_at_a_time(uma):
    upload = begin(uma, row("A"))
    JobUpload.objects.update(busy_until=NOON + timedelta(seconds=5))

    assert staged.take_step(upload, by=uma, now=NOON).phase == UploadPhase.CHECKING
    later = NOON + timedelta(seconds=6)
    assert staged.take_step(upload, by=uma, now=later).phase == UploadPhase.CHECKED


def test_it_is_confirmed_once(uma):
    upload = through(begin(uma, row("A")), uma)
    staged.confirm(upload, now=NOON)

    with pytest.raises(Conflict):
        staged.confirm(upload, now=NOON)


def test_the_refused_rows_can_be_mended_and_uploaded_again(uma):
    upload = through(
        begin(uma, row("Good"), row("=Bad", team="nobody"), "Short,x", header=f"{HEADER},Error"), uma
    )
    text = "".join(staged.refused_lines(upload))
    rows = list(csv.reader(io.StringIO(text)))

    assert rows[0] == [*HEADER.split(","), "Error"]
    assert rows[1] == [
        "'=Bad",
        "0 1 * * *",
        "https://hooks.example.com/run",
        "nobody",
        "2030-12-31",
        'PIC team "nobody" does not exist.',
    ]
    assert rows[2][:3] == ["Short", "x", ""]
    mended = text.replace("nobody", "devops").encode()
    names = [entry.name for entry in Sheet(io.BytesIO(mended)).entries()]
    assert names == ["=Bad", "Short"]


def test_a_file_is_kept_encrypted_and_no_longer_than_needed(uma):
    upload = begin(uma, f"{row('A')},whsec-visible-secret", header=f"{HEADER},signing_secret")
    assert "whsec" not in upload.content
    upload = through(upload, uma)
    assert "visible-secret" not in str(upload.report)
    staged.confirm(upload, now=NOON)
    upload.refresh_from_db()

    assert through(upload, uma).content == ""


def test_a_changed_secret_is_told_by_a_word(uma):
    JobFactory(name="A", created_by=uma, signing_secret="x")
    upload = begin(uma, f"{row('A')},another-secret", header=f"{HEADER},signing_secret")

    changes = through(upload, uma).report["updated"][0][2]
    assert changes["signing_secret"] == [SET, CHANGED]


def test_another_file_takes_the_place_of_one_that_waits(uma):
    first = begin(uma, row("A"))
    other = begin(UserFactory(), row("A"))
    second = begin(uma, row("B"))

    assert set(JobUpload.objects.all()) == {other, second}
    # A step of the one that is gone harms nobody.
    assert not JobUpload.objects.filter(pk=first.pk).exists()


def test_what_nobody_came_back_for_is_deleted(uma):
    begin(uma, row("A"))

    assert staged.delete_old_uploads(now=NOON + timedelta(hours=23)) == 0
    assert staged.delete_old_uploads(now=NOON + timedelta(hours=25)) == 1


def test_what_cannot_be_used_as_a_whole_is_not_kept(uma):
    with pytest.raises(TableFault):
        begin(uma, row("A"), header="Something,Else")
    with override_settings(UPLOAD_MAX_BYTES=10), pytest.raises(TooLarge):
        begin(uma, row("A"))
    with pytest.raises(InvalidInput):
        staged.begin_upload(
            file=io.BytesIO(HEADER.encode()),
            size=9,
            filename="f",
            default_github_owner="no/owner",
            by=uma,
            now=NOON,
        )
    assert not JobUpload.objects.exists()


def test_a_file_without_rows_is_checked_at_once(uma):
    assert through(begin(uma), uma).report["counts"]["created"] == 0
