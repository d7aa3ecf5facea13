"""What the history keeps of jobs, from every way in; and putting a job back to an earlier version."""

from __future__ import annotations

import io
from datetime import date, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.choices import AuditKind
from accounts.models import AuditEntry
from accounts.services import update_user
from accounts.tests.factories import UserFactory
from cronsched.core.errors import InvalidInput, NotFound
from jobs.engine.broken import switch_off
from jobs.models import Job
from jobs.services import lifecycle
from jobs.services.bulk_upload.engine import Upload, upload_jobs
from jobs.services.bulk_upload.sheet import Sheet
from jobs.services.maintenance import expire_jobs
from jobs.services.manual import run_job_now
from jobs.services.restore import restore_job, version_of
from jobs.tests.factories import NOON, JobFactory
from taxonomy.services import update_category
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]


def lines() -> list[tuple[str, str, str, dict]]:
    entries = AuditEntry.objects.filter(kind=AuditKind.JOB).order_by("at", "id")
    return [(entry.action, entry.actor_name, entry.via, entry.changes) for entry in entries]


def edit(job: Job, by, *, minutes: int = 0, via: str = "api", **data) -> AuditEntry | None:
    lifecycle.update_job(job, data=data, by=by, now=NOON + timedelta(minutes=minutes), via=via)
    return AuditEntry.objects.filter(object_id=str(job.pk)).first()


def test_a_new_job_is_written_down_with_what_it_begins_with():
    uma = UserFactory(username="uma")
    team, category = TeamFactory(slug="devops"), CategoryFactory(slug="reports")
    job = lifecycle.create_job(
        data={
            "name": "Backup",
            "cron_expression": "0 2 * * *",
            "target_url": "https://hooks.example.com/x?token=abc",
            "pic_team": team,
            "category": category,
            "end_date": "2030-12-31",
            "metadata": {"api_key": "abc", "env": "production"},
            "signing_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        },
        by=uma,
        now=NOON,
        via="admin",
    )

    action, who, via, changes = lines()[0]
    assert (action, who, via) == ("created", "uma", "admin")
    assert {name: new for name, (_old, new) in changes.items()} == {
        "name": "Backup",
        "cron_expression": "0 2 * * *",
        "catch_up": "skip",
        "target_url": "https://hooks.example.com/x?token=[set]",
        "pic_team": "devops",
        "category": "reports",
        "follow_run": True,
        "end_date": "2030-12-31",
        "metadata": {"api_key": "[set]", "env": "production"},
        "signing_secret": "[set]",
        "alert_after": 1,
        "created_by": "uma",
    }
    assert "abc" not in str(AuditEntry.objects.get(object_id=str(job.pk)).changes)


@pytest.mark.parametrize(
    ("data", "action", "changes"),
    [
        (
            {"cron_expression": "5 * * * *"},
            "updated",
            {"cron_expression": ["* * * * *", "5 * * * *"]},
        ),
        ({"is_active": False}, "disabled", {"is_active": [True, False]}),
        ({"created_by": None}, "handed_over", {"created_by": ["otto", None]}),
        (
            {"created_by": None, "name": "New"},
            "updated",
            {"name": ["Backup", "New"], "created_by": ["otto", None]},
        ),
    ],
)
def test_an_update_says_what_changed(data, action, changes):
    boss = UserFactory(username="boss", admin=True)
    job = JobFactory(name="Backup", created_by=UserFactory(username="otto"))

    edit(job, boss, **data)

    assert lines() == [(action, "boss", "api", changes)]


def test_an_update_that_changes_nothing_leaves_no_line():
    job = JobFactory()
    lifecycle.update_job(job, data={"name": job.name}, by=None, now=NOON)

    assert lines() == []


def test_a_changed_signing_secret_is_told_by_a_word():
    job = JobFactory()
    edit(job, None, signing_secret="first-secret")
    edit(job, None, minutes=1, signing_secret="second-secret")
    edit(job, None, minutes=2, signing_secret="")

    assert [line[3]["signing_secret"] for line in lines()] == [
        [None, "[set]"],
        ["[set]", "[changed]"],
        ["[set]", None],
    ]


def test_a_deleted_job_leaves_what_it_was():
    job = JobFactory(name="Backup")
    lifecycle.delete_job(job, by=UserFactory(username="boss", admin=True), now=NOON)

    action, who, _via, changes = lines()[0]
    assert (action, who) == ("deleted", "boss")
    assert changes["name"] == ["Backup", None]
    assert changes["target_url"] == ["https://hooks.example.com/run", None]


def test_what_the_engine_switches_off_is_the_schedulers():
    expired = JobFactory(end_date=date(2026, 3, 1))
    broken = JobFactory()
    expire_jobs(now=NOON)
    switch_off(broken, note="Unreadable.", now=NOON)

    off = {"is_active": [True, False]}
    assert lines() == [("expired", "scheduler", "scheduler", off), ("broken", "scheduler", "scheduler", off)]
    notes = dict(AuditEntry.objects.values_list("action", "note"))
    assert notes == {"expired": "Its end date, 2026-03-01, has gone by.", "broken": "Unreadable."}
    assert AuditEntry.objects.get(action="expired").object_id == str(expired.pk)


def test_a_run_of_an_ended_job_pauses_it_in_the_name_of_who_ran_it():
    uma = UserFactory(username="uma")
    with pytest.raises(InvalidInput):
        run_job_now(JobFactory(end_date=date(2026, 3, 1)), by=uma, now=NOON, via="admin")

    assert [line[:3] for line in lines()] == [("expired", "uma", "admin")]


HEADER = "Job Name,Cron Schedule,Target URL,PIC Team,End Date\n"


def csv_of(count: int, *, minute: int) -> Sheet:
    rows = (f"J{n},{minute} * * * *,https://h.example.com/{n},devops,2030-12-31\n" for n in range(count))
    return Sheet(io.BytesIO((HEADER + "".join(rows)).encode()))


def test_an_upload_leaves_a_line_for_each_job_at_the_cost_of_a_statement_for_each_batch():
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")
    uma = UserFactory(username="uma")
    upload = Upload(by=uma, owner_id=uma.pk, now=NOON)
    list(upload_jobs(csv_of(20, minute=1).entries(), upload))
    list(upload_jobs(csv_of(20, minute=1).entries(), upload))

    with CaptureQueriesContext(connection) as queries:
        list(upload_jobs(csv_of(20, minute=2).entries(), upload))

    inserts = {q["sql"].split("VALUES")[0] for q in queries if "accounts_auditentry" in q["sql"]}
    assert len(inserts) == 1
    counts = [line[:3] for line in lines()]
    assert counts.count(("created", "uma", "csv")) == 20
    assert counts.count(("updated", "uma", "csv")) == 20
    assert len(counts) == 40


def test_a_dry_run_leaves_no_line():
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")
    list(upload_jobs(csv_of(2, minute=1).entries(), Upload(by=None, owner_id=None, now=NOON, dry_run=True)))

    assert lines() == []


def test_import_jobs_says_command(tmp_path):
    TeamFactory(slug="devops")
    CategoryFactory(slug="general")
    file = tmp_path / "jobs.csv"
    file.write_text(HEADER + "J,1 * * * *,https://h.example.com/,devops,2090-12-31\n")
    call_command("import_jobs", str(file), stdout=io.StringIO(), stderr=io.StringIO())

    assert [line[:3] for line in lines()] == [("created", "command", "command")]


def test_the_api_says_api(user_api, a_user):
    job = JobFactory(created_by=a_user)
    user_api.put(f"/jobs/{job.pk}", {"max_retries": 2})

    assert lines() == [("updated", "uma_user", "api", {"max_retries": [0, 2]})]


def test_the_admin_site_says_admin(user_site, a_user):
    job = JobFactory(created_by=a_user)
    user_site.submit("jobs_job_change", job.pk, max_retries=2)

    assert lines() == [("updated", "uma_user", "admin", {"max_retries": [0, 2]})]


# ---- restoring ----------------------------------------------------------------------------------


def test_a_version_is_put_back_by_an_update_of_its_own():
    uma = UserFactory(username="uma")
    job = JobFactory(created_by=uma, name="Backup", cron_expression="0 1 * * *")
    first = edit(job, uma, cron_expression="0 2 * * *")
    edit(job, uma, minutes=1, cron_expression="0 3 * * *", name="Nightly")
    edit(job, uma, minutes=2, max_retries=3)

    restored = restore_job(job, entry=first, by=uma, now=NOON + timedelta(minutes=3), via="admin")

    assert (restored.name, restored.cron_expression, restored.max_retries) == ("Backup", "0 2 * * *", 0)
    action, who, via, changes = lines()[-1]
    assert (action, who, via) == ("restored", "uma", "admin")
    assert changes == {
        "name": ["Nightly", "Backup"],
        "cron_expression": ["0 3 * * *", "0 2 * * *"],
        "max_retries": [3, 0],
    }
    assert AuditEntry.objects.first().note == "The version of 2026-03-10 12:00:00 UTC."


def test_only_chosen_fields_are_put_back():
    uma = UserFactory()
    job = JobFactory(created_by=uma, name="Backup", end_date=date(2026, 3, 20))
    first = edit(job, uma, max_retries=1)
    edit(job, uma, minutes=1, end_date="2030-01-01", name="Nightly")
    later = NOON + timedelta(days=30)

    with pytest.raises(InvalidInput) as refusal:
        restore_job(job, entry=first, by=uma, now=later)
    assert list(refusal.value.details) == ["end_date"]

    restored = restore_job(job, entry=first, by=uma, now=later, fields={"name"})
    assert (restored.name, restored.end_date) == ("Backup", date(2030, 1, 1))


def test_a_name_that_is_taken_meanwhile_is_refused():
    uma = UserFactory()
    job = JobFactory(created_by=uma, name="Backup")
    first = edit(job, uma, max_retries=1)
    edit(job, uma, minutes=1, name="Nightly")
    JobFactory(name="backup")

    with pytest.raises(InvalidInput, match='"Backup" already exists'):
        restore_job(job, entry=first, by=uma, now=NOON)


def test_a_secret_inside_the_metadata_is_kept_from_the_job_as_it_is():
    uma = UserFactory()
    job = JobFactory(created_by=uma, metadata={"env": "test", "token": "t1"})
    first = edit(job, uma, max_retries=1)
    edit(job, uma, minutes=1, metadata={"env": "production", "token": "t2"})

    restored = restore_job(job, entry=first, by=uma, now=NOON)
    assert restored.metadata == {"env": "test", "token": "t2"}


def test_what_cannot_be_put_back_is_said():
    boss = UserFactory(admin=True)
    gone = UserFactory(username="gone")
    job = JobFactory(created_by=gone, metadata={"token": "t1"})
    first = edit(job, boss, max_retries=1)
    edit(job, boss, minutes=1, metadata={}, created_by=str(boss.pk), signing_secret="a-secret")
    update_user(gone, changes={"is_active": False}, by=boss, now=NOON)

    version = version_of(job := Job.objects.get(pk=job.pk), first, by=boss)
    assert set(version.left_out) == {"metadata", "created_by", "signing_secret"}
    assert version.data == {}
    with pytest.raises(InvalidInput, match="nothing to put back"):
        restore_job(job, entry=first, by=boss, now=NOON)


def test_a_category_that_was_renamed_since_is_found():
    boss = UserFactory(admin=True)
    category = CategoryFactory(slug="reports", name="Reports")
    job = JobFactory(created_by=boss, category=category)
    first = edit(job, boss, max_retries=1)
    edit(job, boss, minutes=1, category=CategoryFactory().slug)
    update_category(category, data={"name": "Figures"}, by=boss, now=NOON)

    assert restore_job(job, entry=first, by=boss, now=NOON).category_id == category.pk


def test_only_an_admin_gives_a_job_back_to_its_owner():
    uma, otto, boss = UserFactory(), UserFactory(username="otto"), UserFactory(admin=True)
    job = JobFactory(created_by=otto, name="Backup")
    first = edit(job, boss, max_retries=1)
    edit(job, boss, minutes=1, created_by=str(uma.pk), name="Nightly")
    job.refresh_from_db()

    assert set(version_of(job, first, by=uma).differences) == {"name"}
    assert set(version_of(job, first, by=boss).differences) == {"name", "created_by"}
    assert restore_job(job, entry=first, by=boss, now=NOON).created_by == otto


def test_an_entry_of_another_job_is_no_version():
    boss = UserFactory(admin=True)
    other = edit(JobFactory(), boss, max_retries=1)

    with pytest.raises(NotFound):
        version_of(JobFactory(), other, by=boss)
