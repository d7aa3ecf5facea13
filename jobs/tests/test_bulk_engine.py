"""The engine of bulk uploads: what it stores, what it costs, and what it meets on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from cronsched.testing.threads import at_once
from jobs.choices import Status
from jobs.models import Job, JobExecution
from jobs.services.bulk_upload import engine
from jobs.services.bulk_upload.columns import Entry
from jobs.services.bulk_upload.engine import Action, Outcome, Upload, upload_jobs
from jobs.services.lifecycle import create_job, delete_job, update_job
from jobs.services.validation import RULES
from jobs.signals import job_batch_changed, job_changed, jobs_uploaded
from jobs.tests.factories import NOON, JobFactory
from taxonomy.models import PicTeam
from taxonomy.services import update_team
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
# Real transactions: what one thread commits the others see.
AT_ONCE = pytest.mark.django_db(transaction=True)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    CategoryFactory()
    TeamFactory(slug="devops", name="DevOps")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cronsched.core.db.SQLITE_TURN_S", 0)


def entry(name: str = "Job", row: int = 2, **data: Any) -> Entry:
    values = {
        "name": name,
        "cron_expression": "0 2 * * *",
        "pic_team": "devops",
        "end_date": "2030-12-31",
        "target_url": "https://hooks.example.com/run",
        **data,
    }
    return Entry(row=row, name=name, data=values)


def entries(count: int, **data: Any) -> list[Entry]:
    return [entry(f"Job {number}", row=number + 2, **data) for number in range(count)]


def run(rows: Iterable[Entry], *, by: Any = None, **options: Any) -> list[Outcome]:
    owner_id = by.pk if by else None
    return list(upload_jobs(iter(rows), Upload(by=by, owner_id=owner_id, now=NOON, **options)))


def actions(outcomes: Iterable[Outcome]) -> list[str]:
    return [str(outcome.action) for outcome in outcomes]


class Heard:
    """Everything one signal said."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, sender: object, **values: Any) -> None:
        self.calls.append(values)


@pytest.fixture
def heard() -> Any:
    connected = []

    def listen(signal: Any) -> Heard:
        handler = Heard()
        signal.connect(handler)
        connected.append((signal, handler))
        return handler

    yield listen
    for signal, handler in connected:
        signal.disconnect(handler)


# ---- the same as one by one -------------------------------------------------------------------


@pytest.mark.databases
def test_an_upload_stores_what_the_api_would(heard: Any) -> None:
    """Created and edited in bulk or alone: the same rows, to the column."""
    uma = UserFactory()
    values: dict[str, Any] = {
        "metadata": {"é": ["🚀", None, 1.5]},
        "github_repo": "acme/app",
        "github_workflow_name": "n.yml",
        "notification_emails": ["a@example.com"],
        "timezone": "Europe/Berlin",
        "timeout_seconds": 5,
        "max_retries": 2,
        "catch_up": "latest",
    }
    edits: list[dict[str, Any]] = [
        {"name": "renamed"},
        {"cron_expression": "*/5 * * * *"},
        {"is_active": False},
        {"metadata": {}, "target_url": ""},
        {},
    ]
    alone, bulk = [], []
    for number, edit in enumerate(edits):
        name = f"job {number}"
        one = create_job(data=entry(f"{name} alone", **values).data, by=uma, now=NOON)
        edited = {**edit, **({"name": f"{name} ALONE"} if "name" in edit else {})}
        alone.append(update_job(one, data=edited, by=uma, now=NOON + MINUTE))
        run([entry(f"{name} bulk", **values)], by=uma)
        spelled = f"{name} BULK" if "name" in edit else f"{name} bulk"
        data = {**{key: value for key, value in edit.items() if key != "name"}, "name": spelled}
        upload = Upload(by=uma, owner_id=uma.pk, now=NOON + MINUTE)
        bulk += [outcome.job for outcome in upload_jobs([Entry(row=2, name=spelled, data=data)], upload)]

    def stored(job: Any, word: str) -> dict[str, Any]:
        row = Job.objects.filter(pk=job.pk).values().get()
        del row["id"]
        for key in ("name", "name_key", "search_text"):
            row[key] = row[key].replace(word, "").replace(word.upper(), "")
        return row

    for one, other in zip(alone, bulk, strict=True):
        assert stored(other, "bulk") == stored(one, "alone")


def test_every_field_that_validation_knows_can_be_uploaded() -> None:
    """A field added to the rules is stored by the engine without a line of its own."""
    run([entry("Job")])
    job = Job.objects.get()
    others = {
        "is_active": False, "target_url": "https://x.example.com/", "github_owner": "o", "github_repo": "r",
        "github_workflow_name": "w.yml", "metadata": {"a": 1}, "timezone": "UTC", "timeout_seconds": 9,
        "max_retries": 1, "catch_up": "all", "enable_email_notifications": True, "notify_on_success": True,
        "notification_emails": ["a@b.co"], "cron_expression": "1 1 * * *", "end_date": "2031-01-01",
        "name": "JOB", "alert_after": 2, "follow_run": False, "follow_timeout_minutes": 30,
        "github_correlation_input": "id",
    }  # fmt: skip

    run([Entry(row=2, name="job", data=others)])

    job.refresh_from_db()
    for field in others:
        value = getattr(job, field)
        assert (value.isoformat() if isinstance(value, date) else value) == others[field]
    assert others.keys() == RULES.keys()


def test_the_changes_of_an_update_are_told_field_by_field() -> None:
    TeamFactory(slug="other")
    run([entry("Job")])

    outcome = run([entry("Job", pic_team="other", end_date="2031-01-01", metadata={"a": 1})])[0]

    assert outcome.changes == {
        "pic_team": ("devops", "other"),
        "end_date": ("2030-12-31", "2031-01-01"),
        "metadata": ({}, {"a": 1}),
    }


# ---- what it costs ----------------------------------------------------------------------------


def statements(rows: list[Entry], **options: Any) -> int:
    with CaptureQueriesContext(connection) as queries:
        outcomes = run(rows, **options)
    assert Action.FAILED not in {outcome.action for outcome in outcomes}
    return len(queries)


@pytest.mark.databases
def test_a_batch_costs_some_statements_and_a_row_none(heard: Any) -> None:
    """Counted with the savepoints: those that stand for a transaction in a test, and those that keep a notice
    that cannot be told from costing the change. With the notice at the end, and the history of changes."""
    uma = UserFactory(admin=True)
    heard(job_batch_changed)
    changed = {"cron_expression": "0 3 * * *", "metadata": {"new": True}, "name": "x"}
    costs = {}
    for count in (5, engine.BATCH):
        Job.objects.all().delete()
        costs[count] = [
            statements(entries(count), by=uma),
            statements(entries(count), by=uma),
            statements(entries(count, cron_expression=changed["cron_expression"]), by=uma),
            statements(entries(count, is_active=False), by=uma, dry_run=True),
        ]

    assert costs[5] == costs[engine.BATCH]
    # PostgreSQL sees to it that whoever is told is still there when the transaction ends.
    assert max(costs[engine.BATCH]) <= (19 if connection.vendor == "postgresql" else 17)


def test_ten_batches_cost_ten_times_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 10)
    monkeypatch.setattr(engine, "tell_uploaded", lambda **values: None)
    one = statements(entries(10))

    assert statements(entries(100, cron_expression="0 5 * * *")) <= 10 * (one + 1)


def test_slots_that_came_due_cost_no_statement_per_row() -> None:
    """No scheduler ran for a day, and an upload pauses all: each job's missed slots have their row."""

    def cost(count: int) -> int:
        JobExecution.objects.all().delete()
        Job.objects.all().delete()
        run(entries(count))
        Job.objects.update(next_run_at=NOON - timedelta(days=1), planned_schedule="0 2 * * *|Asia/Tokyo")
        with CaptureQueriesContext(connection) as queries:
            run(entries(count, is_active=False))
        assert JobExecution.objects.filter(status=Status.MISSED).count() == count
        assert set(Job.objects.values_list("last_status", "next_run_at")) == {("missed", None)}
        return len(queries)

    assert cost(3) == cost(60)


def test_memory_holds_a_batch_not_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 10)
    read: list[int] = []

    def reading() -> Iterable[Entry]:
        for item in entries(100):
            read.append(item.row)
            yield item

    outcomes = upload_jobs(reading(), Upload(by=None, owner_id=None, now=NOON))
    next(outcomes)

    assert len(read) == 10


# ---- telling ----------------------------------------------------------------------------------


def test_signals_tell_batches_and_the_whole_and_no_single_job(
    heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH", 2)
    run([entry("Old")])
    single, batch, whole = heard(job_changed), heard(job_batch_changed), heard(jobs_uploaded)

    run(
        [entry("Old", is_active=False), entry("A", row=3), entry("B", row=4), entry("C", row=5, pic_team="?")]
    )

    assert single.calls == []
    told = [[(change.job.name, change.action) for change in call["changes"]] for call in batch.calls]
    assert told == [[("A", "created"), ("Old", "disabled")], [("B", "created")]]
    assert batch.calls[0]["changes"][1].changes == {"is_active": (True, False)}
    assert [(call["created"], call["updated"], call["failed"]) for call in whole.calls] == [(2, 1, 1)]
    assert (whole.calls[0]["via"], whole.calls[0]["by"]) == ("csv", None)


def test_a_handler_that_fails_costs_no_job(heard: Any) -> None:
    def broken(sender: object, **values: Any) -> None:
        raise RuntimeError("no")

    for signal in (job_batch_changed, jobs_uploaded):
        signal.connect(broken)
    try:
        assert actions(run(entries(2))) == ["created", "created"]
    finally:
        for signal in (job_batch_changed, jobs_uploaded):
            signal.disconnect(broken)
    assert Job.objects.count() == 2


def test_what_was_stored_is_told_although_the_database_goes(
    heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH", 2)
    whole, real, calls = heard(jobs_uploaded), engine.insert_each, []

    def gone(rows: Any) -> None:
        calls.append(rows)
        if len(calls) == 2:
            raise OperationalError("server has gone away")
        real(rows)

    monkeypatch.setattr(engine, "insert_each", gone)

    with pytest.raises(OperationalError):
        run(entries(4))

    assert Job.objects.count() == 2
    assert [call["created"] for call in whole.calls] == [2]


# ---- one bad row, and the database --------------------------------------------------------------


@pytest.mark.databases
@pytest.mark.parametrize("error", [IntegrityError, DataError])
def test_a_row_that_the_database_refuses_stops_no_other(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.insert_each

    def refuse(rows: list[Job]) -> None:
        if any(job.name == "Job 3" for job in rows):
            raise error("no such value")
        real(rows)

    monkeypatch.setattr(engine, "insert_each", refuse)

    outcomes = run(entries(6))

    assert actions(outcomes) == ["created"] * 3 + ["failed"] + ["created"] * 2
    assert [outcome.row for outcome in outcomes] == [2, 3, 4, 5, 6, 7]
    assert "upload it again" in outcomes[3].error
    assert Job.objects.count() == 5


def test_a_name_taken_meanwhile_becomes_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and inserting, somebody else creates one of the names: the batch is read anew."""
    real, raced = engine.insert_each, []

    def race(rows: list[Job]) -> None:
        if not raced:
            raced.append(True)
            raise IntegrityError("UNIQUE constraint failed: jobs_job.name_key")
        real(rows)

    monkeypatch.setattr(engine, "insert_each", race)

    assert actions(run(entries(3))) == ["created"] * 3


def test_a_stored_schedule_that_cannot_be_read_is_that_rows_error() -> None:
    job = JobFactory(name="Broken", paused=True)
    Job.objects.filter(pk=job.pk).update(cron_expression="nonsense")

    data = {"name": "Broken", "is_active": True}
    outcomes = run([Entry(row=2, name="Broken", data=data), entry("Fine", row=3)])

    assert actions(outcomes) == ["failed", "created"]
    assert "five fields" in outcomes[0].error


@pytest.mark.parametrize(
    "data",
    [
        {"name": 5}, {"name": None}, {"name": []}, {"github_repo": 5}, {"metadata": []}, {"pic_team": 3},
        {"category": {}}, {"end_date": 20300101}, {"is_active": "yes"}, {"cron_expression": None},
        {"metadata": {"a": float("nan")}}, {"target_url": "\x00"}, {"created_by": "x"},
        {"created_by": str(uuid4())},
    ],
)  # fmt: skip
def test_values_of_any_type_are_an_error_row(data: dict[str, Any]) -> None:
    """A YAML file, say, has more types than a cell."""
    row = replace(entry(), data={**entry().data, **data})

    assert actions(run([row], default_github_owner="acme")) == ["failed"]


@pytest.mark.databases
@pytest.mark.parametrize("name", ["日本語 🚀", "مهمة", "é", "x" * 255, "ß", "İ"])
def test_names_of_any_language_are_found_again(name: str) -> None:
    run([entry(name)])

    assert actions(run([entry(f" {name} ")])) == ["unchanged"]
    assert actions(run([entry(name.upper()[:255])])) in (["updated"], ["unchanged"])
    assert Job.objects.count() == 1


# ---- at once, for real --------------------------------------------------------------------------


@pytest.mark.databases
@AT_ONCE
def test_two_uploads_of_one_file_at_once_create_each_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 20)
    rows = entries(60)

    found = at_once(lambda: actions(run(rows)), lambda: actions(run(list(reversed(rows)))))

    assert Job.objects.count() == 60
    for outcomes in found:
        assert isinstance(outcomes, list), outcomes
        assert set(outcomes) <= {"created", "unchanged"}
    assert sum(outcomes.count("created") for outcomes in found) == 60


@pytest.mark.databases
@AT_ONCE
def test_an_edit_a_rename_and_a_delete_during_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field keeps who wrote it last; what was deleted is made again or gone; nothing is half-done."""
    monkeypatch.setattr(engine, "BATCH", 10)
    run(entries(60))
    edited, deleted = Job.objects.get(name="Job 40"), Job.objects.get(name="Job 50")
    team = PicTeam.objects.get()

    found = at_once(
        lambda: actions(run(entries(60, cron_expression="0 4 * * *"))),
        lambda: update_job(edited, data={"metadata": {"kept": True}}, by=None, now=NOON),
        lambda: delete_job(deleted, by=None, now=NOON),
        lambda: update_team(team, data={"name": "Renamed"}, by=None, now=NOON),
    )

    assert isinstance(found[0], list), found[0]
    assert not [error for error in found[1:] if isinstance(error, Exception)]
    assert set(found[0]) <= {"updated", "created", "failed"}
    edited.refresh_from_db()
    assert edited.metadata == {"kept": True}
    if "failed" not in found[0]:
        assert edited.cron_expression == "0 4 * * *"
    assert Job.objects.exclude(name="Job 50").count() == 59
    assert set(Job.objects.values_list("pic_team__slug", flat=True)) == {"renamed"}


@AT_ONCE
def test_a_team_disabled_between_two_batches_refuses_the_rows_that_come_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "BATCH", 2)
    outcomes = upload_jobs(iter(entries(4)), Upload(by=None, owner_id=None, now=NOON))
    found = [next(outcomes), next(outcomes)]
    PicTeam.objects.update(is_active=False)

    found += outcomes

    assert actions(found) == ["created", "created", "failed", "failed"]
    assert "is disabled" in found[2].error


@AT_ONCE
def test_a_batch_that_meets_another_writer_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, met = engine.insert_each, []

    def meet(rows: list[Job]) -> None:
        real(rows)
        if not met:
            met.append(True)
            raise OperationalError("database is locked")

    monkeypatch.setattr(engine, "insert_each", meet)

    assert actions(run(entries(3))) == ["created"] * 3
    assert Job.objects.count() == 3
