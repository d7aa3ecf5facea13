from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest

from accounts.tests.factories import UserFactory
from cronsched.core.errors import InvalidInput
from jobs.models import Job
from jobs.services.validation import RULES, clean_job, clean_run
from jobs.tests.factories import NOON, JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
# NOON is 10 March 2026, 21:00 in Tokyo.
TODAY = "2026-03-10"


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> None:
    CategoryFactory(slug="general", name="General")
    CategoryFactory(slug="reports", name="Monthly Reports")
    TeamFactory(slug="devops", name="DevOps チーム")


def payload(**values: Any) -> dict[str, Any]:
    return {
        "name": "Backup",
        "cron_expression": "0 2 * * *",
        "pic_team": "devops",
        "end_date": "2030-12-31",
        "target_url": "https://hooks.example.com/run",
        **values,
    }


def clean(instance: Job | None = None, **values: Any) -> dict[str, Any]:
    """A new job's payload, or the changes alone where there is an instance."""
    data = payload(**values) if instance is None else values
    return clean_job(data, instance=instance, now=NOON)


def refusal(instance: Job | None = None, **values: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        clean(instance, **values)
    return caught.value


# ---- a new job --------------------------------------------------------------------------------


def test_new_job_has_every_field_with_its_default() -> None:
    values = clean()

    assert set(values) == {*RULES, "category", "pic_team"}
    assert values["is_active"] is True
    assert values["enable_email_notifications"] is values["notify_on_success"] is False
    assert values["category"].slug == "general"
    assert values["end_date"] == date(2030, 12, 31)
    assert (values["metadata"], values["notification_emails"], values["timezone"]) == ({}, [], "")


def test_defaults_are_not_shared_between_jobs() -> None:
    clean()["metadata"]["seen"] = True

    assert clean()["metadata"] == {}


@pytest.mark.parametrize("field", ["name", "cron_expression", "pic_team", "end_date"])
def test_new_job_needs(field: str) -> None:
    data = payload()
    del data[field]

    with pytest.raises(InvalidInput) as caught:
        clean_job(data, instance=None, now=NOON)

    assert caught.value.details == {field: [f"{field} is required."]}


def test_all_faults_are_told_at_once() -> None:
    found = refusal(
        name=" ", cron_expression="x", pic_team="nobody", end_date="soon", metadata=[], target_url=""
    )

    assert set(found.details) == {"name", "cron_expression", "pic_team", "end_date", "metadata", "target_url"}
    assert found.error == "Validation error"
    assert all(message in found.message for messages in found.details.values() for message in messages)


def test_unknown_keys_are_ignored() -> None:
    assert "colour" not in clean(
        colour="red", id="x", next_run_at="now", signing_secret="s", schedule_version=9
    )


GOOD = [
    ("name", "  Ａ  job\u3000", "Ａ  job"),
    ("name", "e\u0301", "é"),
    ("name", "مهمة 🚀", "مهمة 🚀"),
    ("name", "x" * 255, "x" * 255),
    ("cron_expression", " 0\t2  * * 1-5 ", "0 2 * * 1-5"),
    ("cron_expression", "0 0 * * 7", "0 0 * * 7"),
    ("timezone", "Europe/Berlin", "Europe/Berlin"),
    ("timezone", None, ""),
    ("timezone", "", ""),
    ("end_date", TODAY, date(2026, 3, 10)),
    ("end_date", date(2026, 3, 10), date(2026, 3, 10)),
    ("is_active", False, False),
    ("target_url", " https://example.com/ ", "https://example.com/"),
    ("target_url", "https://example.com/" + "x" * 480, "https://example.com/" + "x" * 480),
    ("metadata", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ("metadata", None, {}),
    ("timeout_seconds", 1, 1),
    ("timeout_seconds", 3600.0, 3600),
    ("timeout_seconds", None, None),
    ("max_retries", 0, 0),
    ("max_retries", 10.0, 10),
    ("catch_up", " latest ", "latest"),
    ("notification_emails", ["a@example.com"], ["a@example.com"]),
    ("notification_emails", " a@example.com, b@example.com,,", ["a@example.com", "b@example.com"]),
    ("notification_emails", ["a@example.com", "A@Example.com", " "], ["a@example.com"]),
    ("notification_emails", None, []),
]


@pytest.mark.parametrize(("field", "given", "kept"), GOOD)
def test_value_is_taken_and_tidied(field: str, given: Any, kept: Any) -> None:
    assert clean(**{field: given})[field] == kept


NO_STORE = "{} holds a character that cannot be stored, such as NUL."
BAD = [
    ("name", None, "name is required."),
    ("name", 5, "name must be text."),
    ("name", "", "name must have 1 to 255 characters."),
    ("name", "x" * 256, "name must have 1 to 255 characters."),
    ("name", "a\x00b", NO_STORE.format("name")),
    ("name", "a\ud800", NO_STORE.format("name")),
    ("name", "two\nlines", "name must be one line, without control characters."),
    ("name", "\u202eevil", "name must be one line, without control characters."),
    ("cron_expression", None, "cron_expression is required."),
    ("cron_expression", ["*"], "cron_expression must be text."),
    ("cron_expression", "0 2 \x00 * *", NO_STORE.format("cron_expression")),
    ("timezone", 9, "timezone must be text."),
    ("end_date", None, "end_date is required."),
    ("end_date", "2026-03-09", "end_date must be 2026-03-10 or later (Asia/Tokyo)."),
    ("end_date", "20300101", "end_date must be a date, written YYYY-MM-DD."),
    ("end_date", "2030-02-30", "end_date must be a date, written YYYY-MM-DD."),
    ("end_date", "2030-W01-1", "end_date must be a date, written YYYY-MM-DD."),
    ("end_date", "２０３０-01-01", "end_date must be a date, written YYYY-MM-DD."),
    ("end_date", 20300101, "end_date must be text."),
    ("is_active", None, "is_active must be true or false."),
    ("is_active", 1, "is_active must be true or false."),
    ("is_active", "true", "is_active must be true or false."),
    ("enable_email_notifications", None, "enable_email_notifications must be true or false."),
    ("notify_on_success", "no", "notify_on_success must be true or false."),
    ("target_url", 7, "target_url must be text."),
    ("target_url", "https://example.com/" + "x" * 481, "target_url must have at most 500 characters."),
    ("target_url", "https://example.com/\x00", NO_STORE.format("target_url")),
    ("metadata", [], "metadata must be a JSON object."),
    ("metadata", "{}", "metadata must be a JSON object."),
    ("metadata", {"a": ["x\x00"]}, NO_STORE.format("metadata")),
    ("metadata", {"a\x00": 1}, NO_STORE.format("metadata")),
    ("metadata", {"a": float("inf")}, "metadata holds a number that JSON cannot carry."),
    ("timeout_seconds", 0, "timeout_seconds must be from 1 to 3600 seconds."),
    ("timeout_seconds", 3601, "timeout_seconds must be from 1 to 3600 seconds."),
    ("timeout_seconds", "30", "timeout_seconds must be a whole number of seconds, or null."),
    ("timeout_seconds", True, "timeout_seconds must be a whole number of seconds, or null."),
    ("timeout_seconds", 1.5, "timeout_seconds must be a whole number of seconds, or null."),
    ("max_retries", -1, "max_retries must be from 0 to 10."),
    ("max_retries", 11, "max_retries must be from 0 to 10."),
    ("max_retries", None, "max_retries must be a whole number."),
    ("max_retries", "3", "max_retries must be a whole number."),
    ("max_retries", True, "max_retries must be a whole number."),
    ("catch_up", "sometimes", "catch_up must be one of: skip, latest, all."),
    ("catch_up", None, "catch_up is required."),
    ("notification_emails", [1], "notification_emails must be a list of e-mail addresses."),
    ("notification_emails", {"a": 1}, "notification_emails must be a list of e-mail addresses."),
    ("notification_emails", ["x@"], "notification_emails holds what is no e-mail address: x@."),
    (
        "notification_emails",
        ["a@example.com\nBcc: b@example.com"],
        "notification_emails holds what is no e-mail address: a@example.com\nBcc: b@example.com.",
    ),
    ("category", None, "category is required."),
    ("category", 3, "category must be text."),
    ("category", "nothing", 'Category "nothing" does not exist.'),
    ("pic_team", None, "pic_team is required."),
    ("pic_team", " ", "pic_team is required."),
    ("pic_team", "nobody", 'PIC team "nobody" does not exist.'),
    ("created_by", "not-an-id", "created_by must be the id of a user, or null."),
    ("created_by", 5, "created_by must be text."),
    ("created_by", str(UUID(int=5)), "created_by must be the id of an active user, or null."),
]


@pytest.mark.parametrize(("field", "given", "message"), BAD)
def test_value_is_refused_with_the_way_out(field: str, given: Any, message: str) -> None:
    assert refusal(**{field: given}).details == {field: [message]}


@pytest.mark.parametrize(
    ("expression", "fragment"),
    [
        ("@daily", 'write "0 0 * * *"'),
        ("* * * * * *", "6 fields"),
        ("0 0 L * *", "day-of-month"),
        ("0 0 * * 1#2", "day-of-week"),
        ("0 0 ? * 1", 'write "*"'),
        ("0 0 30 2 *", "never fire"),
        ("0 22-2 * * *", 'write "22-23,0-2"'),
        ("0 0 * * FRI-MON", "write"),
        ("*/61 * * * *", "step"),
        ("", "is needed"),
        ("0 " * 60, "at most 100"),
    ],
)
def test_cron_expression_is_refused_by_the_schedules_own_words(expression: str, fragment: str) -> None:
    assert fragment in refusal(cron_expression=expression).details["cron_expression"][0]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "asia/tokyo ", "../etc/passwd", "JST"])
def test_zone_that_is_none_is_refused(zone: str) -> None:
    assert list(refusal(timezone=zone).details) == ["timezone"]


def test_deep_metadata_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}

    assert "nested" in refusal(metadata=deep).details["metadata"][0]


# ---- the target -------------------------------------------------------------------------------

NO_URL: dict[str, Any] = {"target_url": None}
GITHUB = {"github_owner": "acme", "github_repo": "app", "github_workflow_name": "nightly.yml"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({**NO_URL, **GITHUB}, {"target_url": "", **GITHUB}),
        (GITHUB, {"target_url": "https://hooks.example.com/run", **GITHUB}),
        ({**NO_URL, "github_repo": "acme/app", "github_workflow_name": "nightly.yml"}, GITHUB),
        ({**NO_URL, **GITHUB, "github_repo": "Acme/app"}, {**GITHUB, "github_owner": "Acme"}),
        ({**NO_URL, **GITHUB, "github_workflow_name": " a b.yaml "}, {"github_workflow_name": "a b.yaml"}),
        ({"github_owner": "acme"}, {"github_owner": "acme", "github_repo": ""}),
    ],
)
def test_target_is_a_url_or_a_workflow_or_both(given: dict[str, Any], kept: dict[str, str]) -> None:
    values = clean(**given)

    assert {field: values[field] for field in kept} == kept


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (NO_URL, "target_url"),
        ({"target_url": "  "}, "target_url"),
        ({**NO_URL, **GITHUB, "github_owner": ""}, "github_owner"),
        ({**GITHUB, "github_owner": None}, "github_owner"),
        ({**NO_URL, **GITHUB, "github_workflow_name": None}, "github_workflow_name"),
        ({**NO_URL, **GITHUB, "github_repo": ""}, "github_repo"),
        ({"github_owner": "a/b"}, "github_owner"),
        ({"github_owner": "."}, "github_owner"),
        ({"github_owner": "äcme"}, "github_owner"),
        ({"github_owner": "x" * 256}, "github_owner"),
        ({"github_repo": ".."}, "github_repo"),
        ({"github_repo": "a b"}, "github_repo"),
        ({"github_repo": "a/b/c"}, "github_repo"),
        ({"github_repo": "other/app", "github_owner": "acme"}, "github_repo"),
        ({"github_repo": 5}, "github_repo"),
        ({"github_workflow_name": "nightly"}, "github_workflow_name"),
        ({"github_workflow_name": "nightly.YML"}, "github_workflow_name"),
        ({"github_workflow_name": ".github/workflows/nightly.yml"}, "github_workflow_name"),
        ({"github_workflow_name": "a\nb.yml"}, "github_workflow_name"),
        ({"github_workflow_name": "x" * 252 + ".yml"}, "github_workflow_name"),
    ],
)
def test_target_is_refused(given: dict[str, Any], field: str) -> None:
    assert list(refusal(**given).details) == [field]


def test_owner_has_a_default_that_is_kept_on_the_job(settings: Any) -> None:
    settings.GITHUB_DEFAULT_OWNER = "the-org"

    assert clean(**NO_URL, github_repo="app", github_workflow_name="x.yml")["github_owner"] == "the-org"
    assert clean()["github_owner"] == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "example.com",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://exa mple.com/",
        "javascript:alert(1)",
    ],
)
def test_url_is_refused_without_a_look_up(url: str) -> None:
    assert list(refusal(target_url=url).details) == ["target_url"]


def test_url_may_be_what_the_operator_allows(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True

    assert clean(target_url="http://127.0.0.1:8000/")["target_url"] == "http://127.0.0.1:8000/"


# ---- names ------------------------------------------------------------------------------------


@pytest.mark.databases
@pytest.mark.parametrize("name", ["Straße", "STRASSE ", " strasse"])
def test_name_is_taken_without_regard_to_case(name: str) -> None:
    JobFactory(name="Strasse")

    found = refusal(name=name)

    assert (found.error, list(found.details)) == ("Duplicate job name", ["name"])


@pytest.mark.databases
@pytest.mark.parametrize(
    ("one", "other"), [("Resume", "Résumé"), ("🚀", "🐝"), ("か", "が"), ("a b", "a  b")]
)
def test_names_that_differ_are_two(one: str, other: str) -> None:
    JobFactory(name=one)

    assert clean(name=other)["name"] == other


@pytest.mark.databases
def test_composed_and_decomposed_name_are_one() -> None:
    JobFactory(name="Café が")

    assert refusal(name="Cafe\u0301 か\u3099").error == "Duplicate job name"


def test_duplicate_among_other_faults_is_a_validation_error() -> None:
    JobFactory(name="Backup")

    found = refusal(end_date="soon")

    assert found.error == "Validation error"
    assert set(found.details) == {"name", "end_date"}


# ---- an update validates what it changes --------------------------------------------------------


@pytest.fixture
def job() -> Job:
    created: Job = JobFactory(name="Backup", target_url="https://hooks.example.com/run", metadata={"n": 1})
    return created


def test_job_put_back_whole_changes_nothing(job: Job) -> None:
    whole = {
        **{field: getattr(job, field) for field in RULES},
        "category": job.category.slug,
        "pic_team": job.pic_team.slug,
        "end_date": str(job.end_date),
        "created_by": str(job.created_by_id),
        "github_owner": None,
        "timezone": None,
    }

    assert clean_job(whole, instance=job, now=NOON) == {}


def test_what_has_become_invalid_may_be_put_back(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(
        end_date=date(2020, 1, 1),
        cron_expression="61 * * * *",
        target_url="http://10.0.0.1/",
        timezone="Old/Zone",
    )
    type(job.pic_team).objects.update(is_active=False)
    type(job.created_by).objects.update(is_active=False)
    job = Job.objects.get(pk=job.pk)

    assert (
        clean(
            job,
            end_date="2020-01-01",
            cron_expression="61 * * * *",
            target_url="http://10.0.0.1/",
            timezone="Old/Zone",
            pic_team=job.pic_team.name.upper(),
            created_by=str(job.created_by_id),
        )
        == {}
    )


@pytest.mark.parametrize("field", ["end_date", "pic_team"])
def test_null_of_the_earlier_system_may_be_put_back(job: Job, field: str) -> None:
    Job.objects.filter(pk=job.pk).update(**{field: None})

    assert clean(Job.objects.get(pk=job.pk), **{field: None}) == {}


@pytest.mark.parametrize(
    ("field", "value"), [("end_date", "2026-03-09"), ("pic_team", "nobody"), ("cron_expression", "@daily")]
)
def test_changed_value_is_checked(job: Job, field: str, value: str) -> None:
    assert list(refusal(job, **{field: value}).details) == [field]


def test_true_is_not_one(job: Job) -> None:
    assert clean(job, metadata={"n": True}) == {"metadata": {"n": True}}
    assert clean(job, metadata={"n": 1}) == {}


def test_own_name_in_another_case_is_no_duplicate(job: Job) -> None:
    assert clean(job, name="BACKUP") == {"name": "BACKUP"}


def test_name_of_another_job_is_one(job: Job) -> None:
    JobFactory(name="Other")

    assert refusal(job, name="other").error == "Duplicate job name"


@pytest.mark.parametrize(
    "values", [{"target_url": None}, {"target_url": ""}, {"target_url": None, "github_repo": "acme/app"}]
)
def test_update_may_not_leave_a_job_without_a_target(job: Job, values: dict[str, Any]) -> None:
    assert refusal(job, **values).error == "Validation error"


def test_update_may_change_one_target_for_the_other(job: Job) -> None:
    assert clean(job, target_url=None, **GITHUB) == {"target_url": "", **GITHUB}


def test_job_without_a_target_of_the_earlier_system_may_be_renamed(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(target_url="")

    assert clean(Job.objects.get(pk=job.pk), name="New", target_url=None) == {"name": "New"}


def test_category_may_be_given_as_a_row(job: Job) -> None:
    reports = CategoryFactory(slug="reports")

    assert clean(job, category=reports) == {"category": reports}
    assert clean(job, category=job.category, pic_team=job.pic_team) == {}


def test_blank_category_is_general() -> None:
    assert clean(category="")["category"].slug == "general"


# ---- enabling, and owners -----------------------------------------------------------------------


@pytest.fixture
def ended() -> Job:
    created: Job = JobFactory(paused=True, end_date=date(2026, 3, 9))
    return created


def test_ended_job_is_not_enabled(ended: Job) -> None:
    found = refusal(ended, is_active=True)

    assert found.details == {
        "is_active": ["This job ended on 2026-03-09: give it a later end_date to enable it."]
    }


@pytest.mark.parametrize("end_date", ["2026-03-10", "2030-01-01"])
def test_ended_job_is_enabled_where_the_same_call_moves_its_end(ended: Job, end_date: str) -> None:
    assert clean(ended, is_active=True, end_date=end_date)["is_active"] is True


def test_end_that_is_put_back_does_not_enable(ended: Job) -> None:
    assert list(refusal(ended, is_active=True, end_date="2026-03-09").details) == ["is_active"]


def test_end_moved_to_the_past_is_told_once(ended: Job) -> None:
    assert list(refusal(ended, is_active=True, end_date="2026-03-08").details) == ["end_date"]


def test_job_on_its_last_day_is_enabled() -> None:
    assert clean(JobFactory(paused=True, end_date=date(2026, 3, 10)), is_active=True) == {"is_active": True}


def test_owner_may_be_an_active_user_or_nobody(job: Job) -> None:
    other, gone = UserFactory(), UserFactory(inactive=True)

    assert clean(job, created_by=str(other.pk)) == {"created_by_id": other.pk}
    assert clean(job, created_by=other) == {"created_by_id": other.pk}
    assert clean(job, created_by=None) == {"created_by_id": None}
    assert list(refusal(job, created_by=str(gone.pk)).details) == ["created_by"]
    assert list(refusal(job, created_by=str(uuid4())).details) == ["created_by"]


# ---- one run's own ------------------------------------------------------------------------------

STORED = {"target_url": "https://hooks.example.com/run", **dict.fromkeys(GITHUB, "")}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {}),
        ({"colour": "red"}, {}),
        ({"metadata": {"a": 1}}, {"metadata": {"a": 1}}),
        ({"inputs": {"day": 1}, "ref": " main "}, {"inputs": {"day": 1}, "ref": "main"}),
        ({"github_token": "ghp_abc"}, {"github_token": "ghp_abc"}),
        ({"inputs": None, "ref": None, "github_token": None}, {"inputs": {}, "ref": "", "github_token": ""}),
        (GITHUB, GITHUB),
        (
            {"target_url": "https://other.example.com/"},
            {"target_url": "https://other.example.com/", **dict.fromkeys(GITHUB, "")},
        ),
    ],
)
def test_run_may_have_its_own(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert clean_run(given, stored=STORED) == kept


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"metadata": []}, "metadata"),
        ({"inputs": "x"}, "inputs"),
        ({"target_url": "http://10.0.0.1/"}, "target_url"),
        ({"target_url": None}, "target_url"),
        ({"github_owner": ".."}, "github_owner"),
        ({"github_repo": "app", "github_workflow_name": "x.yml"}, "github_owner"),
        ({"github_workflow_name": "x"}, "github_workflow_name"),
        ({"ref": "a\nb"}, "ref"),
        ({"ref": 5}, "ref"),
        ({"github_token": "a b"}, "github_token"),
        ({"github_token": "x" * 501}, "github_token"),
    ],
)
def test_runs_own_obeys_the_same_rules(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        clean_run(given, stored=STORED)

    assert list(caught.value.details) == [field]


def test_refused_token_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        clean_run({"github_token": "ghp_secret with a blank"}, stored=STORED)

    assert "ghp_secret" not in str(caught.value.message)


@pytest.mark.parametrize("value", [0, -1, 1001, 1.5, "two", True, None, [1]])
def test_alert_after_is_a_number_of_failures(value: Any) -> None:
    assert list(refusal(alert_after=value).details) == ["alert_after"]


def test_alert_after_is_stored() -> None:
    assert clean(alert_after=3)["alert_after"] == 3


# ---- what GitHub takes ------------------------------------------------------------------------

ON_GITHUB = {"target_url": None, "github_repo": "acme/app", "github_workflow_name": "nightly.yml"}


@pytest.mark.parametrize("value", [0, -1, 50_401, 1.5, "two", True])
def test_the_longest_wait_is_a_number_of_minutes(value: Any) -> None:
    assert list(refusal(follow_timeout_minutes=value).details) == ["follow_timeout_minutes"]


@pytest.mark.parametrize("value", ["1st", "with blank", "a.b", "x" * 101, "日本"])
def test_the_input_for_our_id_has_a_name_that_an_input_may_have(value: str) -> None:
    assert list(refusal(github_correlation_input=value).details) == ["github_correlation_input"]


def test_github_takes_25_inputs() -> None:
    inputs = {f"input{number}": number for number in range(25)}
    clean(**ON_GITHUB, metadata={**inputs, "branchDetails": "main"})

    fault = refusal(**ON_GITHUB, metadata={**inputs, "one_more": 1})

    assert fault.details == {"metadata": ["GitHub takes at most 25 inputs for a workflow; these are 26."]}


def test_the_input_for_our_id_counts_among_them() -> None:
    inputs = {f"input{number}": number for number in range(25)}

    assert list(refusal(**ON_GITHUB, metadata=inputs, github_correlation_input="id").details) == ["metadata"]
    clean(**ON_GITHUB, metadata=inputs, github_correlation_input="input3")


def test_github_takes_65535_characters_of_inputs() -> None:
    room = 65_535 - len('{"a":""}')
    clean(**ON_GITHUB, metadata={"a": "ä" * room})

    assert "65,536" in refusal(**ON_GITHUB, metadata={"a": "ä" * (room + 1)}).message


def test_a_webhook_may_be_given_more() -> None:
    clean(metadata={f"field{number}": "x" * 3000 for number in range(30)})


def test_a_job_that_becomes_one_of_github_is_judged_with_what_it_has() -> None:
    job = JobFactory(metadata={f"field{number}": 1 for number in range(30)})

    assert list(refusal(job, **ON_GITHUB).details) == ["metadata"]
    assert clean(job, name="Other") == {"name": "Other"}
