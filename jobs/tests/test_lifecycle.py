from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from accounts.tests.factories import UserFactory
from cronsched.core.errors import DomainError, InvalidInput, NotFound
from cronsched.testing.threads import at_once
from jobs.choices import PausedReason, Status, TriggerType
from jobs.models import Job, JobExecution, UntoldRun
from jobs.services import history
from jobs.services.lifecycle import create_job, delete_job, pause_job, resume_job, update_job
from jobs.services.validation import Lookups
from jobs.signals import job_changed, runs_finished
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.models import Notification
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
LATER = NOON + timedelta(hours=1)


def payload(**values: Any) -> dict[str, Any]:
    CategoryFactory()
    TeamFactory(slug="devops") if not values.get("pic_team") else None
    return {
        "name": "Backup",
        "cron_expression": "0 2 * * *",
        "pic_team": "devops",
        "end_date": "2030-12-31",
        "target_url": "https://hooks.example.com/run",
        **values,
    }


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []

    def listen(**event: Any) -> None:
        events.append(event)

    job_changed.connect(listen)
    yield events
    job_changed.disconnect(listen)


# ---- creating -----------------------------------------------------------------------------------


def test_created_job_is_scheduled_and_owned() -> None:
    owner = UserFactory()

    job = create_job(data=payload(), by=owner, now=NOON)

    job.refresh_from_db()
    # 02:00 in Tokyo is 17:00 UTC.
    assert job.next_run_at == datetime(2026, 3, 10, 17, 0, tzinfo=UTC)
    assert job.planned_schedule == "0 2 * * *|Asia/Tokyo"
    assert (job.created_by, job.created_at, job.updated_at) == (owner, NOON, NOON)
    assert (job.name_key, job.schedule_version, job.paused_reason) == ("backup", 1, "")


def test_created_job_has_its_own_zone() -> None:
    job = create_job(data=payload(timezone="America/New_York"), by=None, now=NOON)

    assert job.next_run_at == datetime(2026, 3, 11, 6, 0, tzinfo=UTC)
    assert job.planned_schedule == "0 2 * * *|America/New_York"


def test_job_created_paused_has_no_next_run() -> None:
    job = create_job(data=payload(is_active=False), by=None, now=NOON)

    assert (job.next_run_at, job.planned_schedule) == (None, "")
    assert job.paused_reason == PausedReason.BY_HAND


def test_slot_after_the_end_date_is_no_slot() -> None:
    # The next 02:00 is on the 11th in Tokyo.
    assert create_job(data=payload(end_date="2026-03-10"), by=None, now=NOON).next_run_at is None


def test_slot_that_is_now_has_gone_by() -> None:
    job = create_job(data=payload(cron_expression="0 21 * * *"), by=None, now=NOON)

    assert job.next_run_at == NOON + timedelta(days=1)


@pytest.mark.parametrize(("role", "is_heard"), [("admin", True), ("user", False)])
def test_only_an_admin_gives_a_job_to_another(role: str, is_heard: bool) -> None:
    by, other = UserFactory(role=role), UserFactory()

    job = create_job(data=payload(created_by=str(other.pk)), by=by, now=NOON)

    assert job.created_by_id == (other.pk if is_heard else by.pk)


def test_admin_may_create_a_job_of_nobody() -> None:
    job = create_job(data=payload(created_by=None), by=UserFactory(admin=True), now=NOON)

    assert job.created_by_id is None


def test_what_others_say_of_the_owner_is_not_even_checked() -> None:
    by = UserFactory()

    assert create_job(data=payload(created_by="nonsense"), by=by, now=NOON).created_by_id == by.pk


@pytest.mark.databases
def test_create_that_loses_the_race_for_a_name_is_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory(name="BACKUP")
    monkeypatch.setattr(Lookups, "is_name_taken", lambda self, key, except_for: False)

    with pytest.raises(InvalidInput) as refusal:
        create_job(data=payload(), by=None, now=NOON)

    assert (refusal.value.error, refusal.value.status) == ("Duplicate job name", 400)
    assert Job.objects.count() == 1


# ---- updating -----------------------------------------------------------------------------------


def test_edit_of_the_schedule_moves_the_next_run_from_now_on() -> None:
    job = JobFactory(next_run_at=NOON + timedelta(days=9), planned_schedule="0 2 * * *|Asia/Tokyo")

    job = update_job(job, data={"cron_expression": "*/5 * * * *"}, by=None, now=NOON)

    job.refresh_from_db()
    assert job.next_run_at == NOON + 5 * MINUTE
    assert (job.planned_schedule, job.schedule_version) == ("*/5 * * * *|Asia/Tokyo", 2)
    assert job.updated_at == NOON


@pytest.mark.parametrize(
    ("data", "next_run_at"),
    [
        ({"timezone": "Asia/Kolkata"}, NOON + 30 * MINUTE),
        ({"end_date": "2026-03-10"}, NOON + 60 * MINUTE),
        ({"is_active": False}, None),
    ],
)
def test_zone_end_and_state_are_the_schedule_too(data: dict[str, Any], next_run_at: datetime | None) -> None:
    job = JobFactory(cron_expression="0 * * * *", next_run_at=NOON + timedelta(days=9))

    assert update_job(job, data=data, by=None, now=NOON).next_run_at == next_run_at


@pytest.mark.parametrize(
    "data",
    [{"name": "New"}, {"metadata": {"a": 1}}, {"target_url": "https://x.example.com/"}, {"pic_team": "t"}],
)
def test_other_edits_leave_the_next_run_alone(data: dict[str, Any]) -> None:
    TeamFactory(slug="t")
    job = JobFactory(next_run_at=NOON - MINUTE)

    edited = update_job(job, data=data, by=None, now=NOON)

    edited.refresh_from_db()
    assert edited.next_run_at == NOON - MINUTE
    assert edited.schedule_version == 2


def test_update_that_changes_nothing_writes_nothing(told: list[Any]) -> None:
    job = JobFactory(next_run_at=NOON - MINUTE)

    edited = update_job(job, data={"name": job.name, "is_active": True, "colour": "red"}, by=None, now=LATER)

    edited.refresh_from_db()
    assert (edited.schedule_version, edited.next_run_at) == (1, NOON - MINUTE)
    assert edited.updated_at != LATER
    assert told == []


def test_rename_moves_what_search_looks_through() -> None:
    job = JobFactory(name="Old")

    update_job(job, data={"name": "Straße", "target_url": "https://new.example.com/"}, by=None, now=NOON)

    assert list(Job.objects.matching("STRASSE")) == [job]
    assert list(Job.objects.matching("new.example")) == [job]
    assert list(Job.objects.matching("Old")) == []


def test_edits_of_different_fields_both_stay() -> None:
    job = JobFactory(name="Old")
    one, other = Job.objects.get(pk=job.pk), Job.objects.get(pk=job.pk)

    update_job(one, data={"name": "New"}, by=None, now=NOON)
    update_job(other, data={"metadata": {"a": 1}}, by=None, now=NOON)

    job.refresh_from_db()
    assert (job.name, job.metadata, job.schedule_version) == ("New", {"a": 1}, 3)


def test_edit_keeps_what_the_engine_wrote_meanwhile() -> None:
    job = JobFactory(name="Old")
    Job.objects.filter(pk=job.pk).update(last_status=Status.FAILED, next_run_at=LATER)

    update_job(job, data={"name": "New"}, by=None, now=NOON)

    job.refresh_from_db()
    assert (job.last_status, job.next_run_at) == (Status.FAILED, LATER)


def test_update_of_a_deleted_job_is_not_found() -> None:
    job = JobFactory()
    Job.objects.filter(pk=job.pk).delete()

    with pytest.raises(NotFound) as refusal:
        update_job(job, data={"name": "New"}, by=None, now=NOON)

    assert refusal.value.error == "Job not found"


def test_refused_update_changes_nothing() -> None:
    job = JobFactory(name="Old")

    with pytest.raises(InvalidInput):
        update_job(job, data={"name": "New", "cron_expression": "x"}, by=None, now=NOON)

    job.refresh_from_db()
    assert (job.name, job.schedule_version) == ("Old", 1)


@pytest.mark.databases
def test_rename_that_loses_the_race_is_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory(name="Taken")
    job = JobFactory(name="Old")
    monkeypatch.setattr(Lookups, "is_name_taken", lambda self, key, except_for: False)

    with pytest.raises(InvalidInput, match='A job named "taken" already exists'):
        update_job(job, data={"name": "taken"}, by=None, now=NOON)


def test_owner_changes_by_an_admin_only() -> None:
    job, other = JobFactory(), UserFactory()

    assert update_job(job, data={"created_by": str(other.pk)}, by=job.created_by, now=NOON).created_by_id == (
        job.created_by_id
    )
    assert (
        update_job(
            job, data={"created_by": str(other.pk)}, by=UserFactory(admin=True), now=NOON
        ).created_by_id
        == other.pk
    )


def test_job_with_a_broken_schedule_says_so_when_it_is_woken() -> None:
    job = JobFactory(paused=True, cron_expression="nonsense")

    with pytest.raises(InvalidInput) as refusal:
        resume_job(job, by=None, now=NOON)

    assert list(refusal.value.details) == ["cron_expression"]


# ---- pausing and resuming -----------------------------------------------------------------------


def test_pause_takes_the_next_run_away_and_says_why() -> None:
    job = pause_job(JobFactory(), by=None, now=NOON, reason=PausedReason.BROKEN, note="x")

    job.refresh_from_db()
    assert (job.is_active, job.next_run_at, job.planned_schedule) == (False, None, "")
    assert (job.paused_reason, job.paused_note) == (PausedReason.BROKEN, "x")


def test_pause_keeps_the_reason_of_the_first(told: list[Any]) -> None:
    job = JobFactory(paused=True, paused_reason=PausedReason.EXPIRED)

    assert pause_job(job, by=None, now=NOON).paused_reason == PausedReason.EXPIRED
    assert told == []


def test_resume_never_back_fills() -> None:
    job = JobFactory(
        paused=True, paused_reason=PausedReason.BY_HAND, paused_note="x", cron_expression="0 * * * *"
    )

    job = resume_job(job, by=None, now=NOON + MINUTE)

    assert job.next_run_at == LATER
    assert (job.paused_reason, job.paused_note) == ("", "")
    assert not JobExecution.objects.exists()


def test_resume_of_an_ended_job_is_refused() -> None:
    with pytest.raises(InvalidInput, match="ended on 2026-03-09"):
        resume_job(JobFactory(paused=True, end_date=date(2026, 3, 9)), by=None, now=NOON)


# ---- slots that came due before the edit ----------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        lambda job: update_job(job, data={"cron_expression": "0 0 1 1 *"}, by=None, now=NOON + 10 * MINUTE),
        lambda job: pause_job(job, by=None, now=NOON + 10 * MINUTE),
    ],
)
def test_slots_due_before_an_edit_of_the_schedule_become_one_missed_row(edit: Callable[[Job], Job]) -> None:
    heard: list[JobExecution] = []

    def listen(runs: list[JobExecution], **kwargs: Any) -> None:
        heard.extend(runs)

    runs_finished.connect(listen)
    job = JobFactory(next_run_at=NOON)
    edited = edit(job)
    runs_finished.disconnect(listen)

    run = JobExecution.objects.get()
    assert (run.status, run.trigger_type) == (Status.MISSED, TriggerType.SCHEDULED)
    assert (run.scheduled_for, run.missed_last_at, run.missed_count) == (NOON, NOON + 10 * MINUTE, 11)
    assert heard == [run]
    edited.refresh_from_db()
    assert edited.last_status == Status.MISSED


def test_slot_that_has_its_row_is_not_missed_again() -> None:
    job = JobFactory(next_run_at=NOON)
    ExecutionFactory(job=job, scheduled_for=NOON)

    pause_job(job, by=None, now=NOON)

    assert JobExecution.objects.count() == 1


def test_slots_after_one_that_has_its_row_are_missed_all_the_same() -> None:
    """The clock was set back: the first slot of the stretch has fired, those after it have not."""
    job = JobFactory(next_run_at=NOON)
    ExecutionFactory(job=job, scheduled_for=NOON)

    update_job(job, data={"cron_expression": "0 0 1 1 *"}, by=None, now=NOON + 2 * MINUTE)

    run = JobExecution.objects.get(status="missed")
    assert (run.scheduled_for, run.missed_last_at, run.missed_count) == (NOON + MINUTE, NOON + 2 * MINUTE, 2)
    assert "2 slots" in run.error_message


def test_the_slot_of_a_job_that_cannot_be_read_is_missed_when_it_is_mended() -> None:
    job = JobFactory(next_run_at=NOON, cron_expression="bad", planned_schedule="bad|Asia/Tokyo")

    update_job(job, data={"cron_expression": "0 0 1 1 *"}, by=None, now=NOON + 2 * MINUTE)

    assert JobExecution.objects.get().scheduled_for == NOON


@pytest.mark.parametrize(
    "values",
    [
        {"next_run_at": NOON + MINUTE},
        {"end_date": date(2026, 3, 9)},
        {"planned_schedule": "0 0 * * *|Asia/Tokyo"},
    ],
)
def test_edit_leaves_no_row_where_nothing_was_due(values: dict[str, Any]) -> None:
    pause_job(JobFactory(**{"next_run_at": NOON, **values}), by=None, now=NOON)

    assert not JobExecution.objects.exists()


# ---- telling ------------------------------------------------------------------------------------


def test_each_change_is_told_once_with_what_changed(told: list[dict[str, Any]]) -> None:
    admin = UserFactory(admin=True)
    team = TeamFactory(slug="other")
    job = create_job(data=payload(name="A"), by=admin, now=NOON)
    update_job(
        job, data={"name": "B", "pic_team": team.slug, "created_by": None}, by=admin, now=NOON, via="csv"
    )
    pause_job(job, by=admin, now=NOON)
    resume_job(job, by=admin, now=NOON)
    pause_job(job, by=None, now=NOON, reason=PausedReason.EXPIRED)
    delete_job(job, by=admin, now=NOON, via="admin")

    actions = ["created", "updated", "disabled", "enabled", "expired", "deleted"]
    assert [event["action"] for event in told] == actions
    assert told[1]["changes"] == {
        "name": ("A", "B"),
        "pic_team": ("devops", "other"),
        "created_by": (str(admin.pk), None),
    }
    assert [event["via"] for event in told] == ["api", "csv", "api", "api", "api", "admin"]
    assert told[-1]["job"].name == "B"


def test_listener_that_fails_costs_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def fail(**event: Any) -> None:
        TeamFactory(slug="of-the-listener")
        raise RuntimeError("broken listener")

    job = JobFactory(name="Old")
    job_changed.connect(fail)
    try:
        update_job(job, data={"name": "New"}, by=None, now=NOON)
    finally:
        job_changed.disconnect(fail)

    job.refresh_from_db()
    assert job.name == "New"
    assert not type(job.pic_team).objects.filter(slug="of-the-listener").exists()
    assert "broken listener" in caplog.text


# ---- deleting -----------------------------------------------------------------------------------


@pytest.mark.databases
def test_delete_takes_the_history_and_leaves_the_notices() -> None:
    job, other = JobFactory(), JobFactory()
    runs = [ExecutionFactory(job=job) for _ in range(3)]
    kept = ExecutionFactory(job=other)
    UntoldRun.objects.create(execution=runs[0], since=NOON)
    notice = Notification.objects.create(
        user=job.created_by,
        type="error",
        title="t",
        message="m",
        related_job=job,
        related_execution=runs[1],
        created_at=NOON,
    )

    delete_job(job, by=None, now=NOON)

    assert list(Job.objects.all()) == [other]
    assert list(JobExecution.objects.all()) == [kept]
    assert not UntoldRun.objects.exists()
    notice.refresh_from_db()
    assert (notice.related_job_id, notice.related_execution_id) == (None, None)


def test_delete_costs_the_same_for_any_history(django_assert_max_num_queries: Any) -> None:
    job = JobFactory()
    JobExecution.objects.bulk_create(ExecutionFactory.build(job=job, manual=True) for _ in range(2000))

    # With the line in the history of changes, the job's tallies, and what else hangs on runs: followed ones,
    # attempts, and stops not told.
    with django_assert_max_num_queries(28):
        delete_job(job, by=None, now=NOON)

    assert not JobExecution.objects.exists()


def test_delete_twice_is_not_found() -> None:
    job = JobFactory()
    delete_job(Job.objects.get(pk=job.pk), by=None, now=NOON)

    with pytest.raises(NotFound):
        delete_job(job, by=None, now=NOON)


def test_delete_names_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    relation = history._pointing_at_runs()[0]
    monkeypatch.setattr(relation, "on_delete", "something new")

    with pytest.raises(NotImplementedError):
        history.delete_runs(JobFactory().executions.all())


# ---- at once, for real --------------------------------------------------------------------------


def in_short(outcome: Any) -> Any:
    """A refusal by its short type."""
    return outcome.error if isinstance(outcome, DomainError) else outcome


@pytest.mark.databases
@pytest.mark.django_db(transaction=True)
def test_of_four_creates_of_one_name_one_wins() -> None:
    data = payload()
    outcomes = at_once(*[lambda: create_job(data=data, by=None, now=NOON).name] * 4)

    assert sorted(map(in_short, outcomes)) == ["Backup", *["Duplicate job name"] * 3]


@pytest.mark.databases
@pytest.mark.django_db(transaction=True)
def test_two_updates_at_once_keep_both_their_fields() -> None:
    job = JobFactory(name="Old", next_run_at=LATER)
    fields: list[dict[str, Any]] = [{"name": "New"}, {"cron_expression": "0 5 * * *"}, {"metadata": {"a": 1}}]

    at_once(*[lambda data=data: update_job(job, data=data, by=None, now=NOON) for data in fields])

    job.refresh_from_db()
    assert (job.name, job.cron_expression, job.metadata) == ("New", "0 5 * * *", {"a": 1})
    assert (job.schedule_version, job.planned_schedule) == (4, "0 5 * * *|Asia/Tokyo")


@pytest.mark.databases
@pytest.mark.django_db(transaction=True)
def test_update_and_delete_at_once_end_without_the_job() -> None:
    job = JobFactory(next_run_at=LATER)
    ExecutionFactory(job=job)

    outcomes = at_once(
        lambda: bool(update_job(job, data={"name": "New"}, by=None, now=NOON)),
        lambda: delete_job(job, by=None, now=NOON),
    )

    assert in_short(outcomes[0]) in (True, "Job not found")
    assert not Job.objects.exists()
    assert not JobExecution.objects.exists()
