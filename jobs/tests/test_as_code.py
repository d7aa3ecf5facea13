"""Jobs as text in git: what files say, and what comes of it."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import time_machine
import yaml
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.tests.factories import UserFactory
from jobs.models import Job, JobExecution
from jobs.services.as_code import export
from jobs.services.as_code.document import read_files
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.models import Notification
from taxonomy.models import JobCategory, PicTeam
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
JOB = """
jobs:
  - name: Nightly
    cron_expression: "0 2 * * *"
    pic_team: devops
    end_date: 2030-12-31
    target_url: https://hooks.example.com/run
"""


@pytest.fixture(autouse=True)
def _taxonomy(db: None) -> Any:
    CategoryFactory(slug="general", name="General")
    TeamFactory(slug="devops", name="DevOps", slack_handle="@devops")
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def apply(tmp_path: Path) -> Any:
    """Apply a text; the plan, or what was wrong."""

    def run(text: str, *options: str) -> str:
        file = tmp_path / "jobs.yaml"
        file.write_text(dedent(text), encoding="utf-8")
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command("apply", str(file), *options, stdout=out, stderr=err)
        except CommandError as error:
            return f"{err.getvalue()}{error}".replace(f"{tmp_path}/", "")
        except SystemExit as end:
            return f"{out.getvalue()}exit {end.code}".replace(f"{tmp_path}/", "")
        return out.getvalue().replace(f"{tmp_path}/", "")

    return run


def exported() -> str:
    out = io.StringIO()
    call_command("export_jobs", "--format=yaml", stdout=out)
    return out.getvalue()


# ---- there and back ---------------------------------------------------------------------------


def test_what_was_exported_changes_nothing_but_whose_it_is(apply):
    owner = UserFactory(username="tanaka")
    CategoryFactory(slug="old", name="Old", is_active=False)
    JobFactory(name="* odd: #1", created_by=owner, metadata={"a": [1, None, "2026-01-01", "yes"], "日": {}})
    JobFactory(
        github=True, paused=True, max_retries=2, timeout_seconds=7, notification_emails=["a@b.example"]
    )
    JobFactory(pic_team=None, end_date=None, created_by=None, cron_expression="*/5 * * * *")
    before = list(Job.objects.order_by("pk").values())
    text = exported()

    assert "3 changed, 0 pruned" in apply(text)
    assert "0 created, 0 changed, 0 pruned; 8 unchanged" in apply(text)

    after = [{**row, "managed_by": ""} for row in Job.objects.order_by("pk").values()]
    assert after == before
    assert exported() == text


def test_an_export_is_in_order_and_without_secrets_and_defaults():
    JobFactory(name="b", signing_secret="gAAAA-secret", metadata={})
    JobFactory(name="A")

    text = exported()

    assert text.index("name: A") < text.index("name: b")
    assert "secret" not in text
    assert "metadata" not in text
    assert "end_date: 2030-12-31" in text
    assert 'cron_expression: "* * * * *"' in text


# ---- the plan ---------------------------------------------------------------------------------


def test_a_new_job_is_created_and_the_second_time_unchanged(apply):
    told = apply(JOB)

    job = Job.objects.get()
    assert (job.name, job.end_date, job.managed_by) == ("Nightly", date(2030, 12, 31), "default")
    assert job.next_run_at is not None
    assert '+ job "Nightly" (jobs.yaml:3)' in told
    assert 'cron_expression: "0 2 * * *"' in told
    assert "1 created" in told
    assert "0 created, 0 changed, 0 pruned; 1 unchanged." in apply(JOB)


def test_a_change_shows_old_and_new(apply):
    apply(JOB)

    told = apply(JOB.replace("0 2", "0 3") + "    max_retries: 2\n")

    assert '~ job "Nightly"' in told
    assert 'cron_expression: "0 2 * * *" → "0 3 * * *"' in told
    assert "max_retries: 0 → 2" in told
    assert Job.objects.get().max_retries == 2


def test_a_field_taken_out_of_the_file_has_its_default_again(apply):
    apply(JOB + "    max_retries: 2\n    metadata: {a: 1}\n")

    told = apply(JOB)

    assert "max_retries: 2 → 0" in told
    assert Job.objects.get().metadata == {}


def test_a_job_paused_by_hand_stays_so_until_the_file_says_otherwise(apply):
    apply(JOB)
    Job.objects.update(is_active=False, next_run_at=None)

    assert "1 unchanged" in apply(JOB)
    assert not Job.objects.get().is_active
    assert "is_active: false → true" in apply(JOB + "    is_active: true\n")
    assert Job.objects.get().next_run_at is not None


def test_a_dry_run_shows_the_plan_and_stores_nothing(apply):
    told = apply(JOB + "teams:\n  - name: Data\n    slack_handle: '@data'\n", "--dry-run")

    assert "Plan (dry run, nothing was stored): 2 to create, 0 to change, 0 to prune" in told
    assert not Job.objects.exists()
    assert not PicTeam.objects.filter(slug="data").exists()
    assert not Notification.objects.exists()


@pytest.mark.parametrize(("times", "ending"), [(1, "exit 2"), (2, "unchanged.\n")])
def test_the_exit_code_may_tell_of_changes(apply, times, ending):
    for _ in range(times):
        told = apply(JOB, "--detailed-exitcode")

    assert told.endswith(ending)


# ---- categories and teams ---------------------------------------------------------------------


def test_teams_and_categories_come_before_the_jobs_that_name_them(apply):
    text = JOB.replace("devops", "data") + "    category: feeds\n"
    text += "teams:\n  - name: Data\n    slack_handle: '@data'\ncategories:\n  - name: Feeds\n"

    assert "3 created" in apply(text)

    job = Job.objects.get()
    assert (job.pic_team.slug, job.category.slug) == ("data", "feeds")
    assert "3 unchanged" in apply(text)


def test_a_team_is_changed_disabled_and_renamed(apply):
    apply("teams:\n  - slug: devops\n    name: DevOps\n    slack_handle: '@new'\n    is_active: false\n")
    team = PicTeam.objects.get()
    assert (team.slack_handle, team.is_active) == ("@new", False)

    renamed = "teams:\n  - slug: devops\n    name: Platform\n    slack_handle: '@new'\n"
    told = apply(renamed)

    assert 'slug: "devops" → "platform"' in told
    assert PicTeam.objects.get().slug == "platform"
    assert "1 unchanged" in apply(renamed)


# ---- pruning ----------------------------------------------------------------------------------


def test_prune_takes_only_jobs_of_its_set_that_no_file_names(apply):
    JobFactory(name="By hand")
    other = JobFactory(name="Other set", managed_by="infra")
    gone = JobFactory(name="Gone", managed_by="default")
    ExecutionFactory(job=gone)

    assert '- job "Gone" is deleted, with 1 of its runs' in apply(JOB, "--prune", "--dry-run")
    assert Job.objects.filter(pk=gone.pk).exists()
    assert "1 pruned" in apply(JOB, "--prune")

    assert set(Job.objects.values_list("name", flat=True)) == {"By hand", "Other set", "Nightly"}
    assert not JobExecution.objects.exists()
    assert Job.objects.get(pk=other.pk).managed_by == "infra"


def test_prune_may_pause_instead(apply):
    gone = JobFactory(name="Gone", managed_by="default")

    assert '- job "Gone" is paused' in apply(JOB, "--prune=pause")

    assert not Job.objects.get(pk=gone.pk).is_active
    assert "0 pruned" in apply(JOB, "--prune=pause")


@pytest.mark.parametrize("text", ["", "# nothing\n", "jobs:\n", "jobs: []\n", "---\n---\n"])
@pytest.mark.parametrize("option", ["--prune", "--prune=pause"])
def test_files_that_name_no_job_prune_nothing(apply, text, option):
    gone = JobFactory(managed_by="default")

    said = apply(text, option)

    assert '--prune: The files name no job, so that all 1 of the set "default" would go' in said
    assert "nothing was stored." in said
    assert Job.objects.get(pk=gone.pk).is_active


def test_a_set_without_jobs_may_be_applied_with_prune(apply):
    JobFactory(managed_by="infra")

    assert "0 pruned" in apply("jobs: []\n", "--prune")


def test_a_job_of_another_set_is_refused(apply):
    JobFactory(name="Nightly", managed_by="infra")

    assert 'jobs.yaml:3: This job belongs to the set "infra"' in apply(JOB)


def test_nothing_is_pruned_where_something_is_wrong(apply):
    JobFactory(name="Gone", managed_by="default")

    apply(JOB.replace("0 2", "99 2"), "--prune")

    assert list(Job.objects.values_list("name", flat=True)) == ["Gone"]


# ---- anchors and merge keys -------------------------------------------------------------------


def test_own_keys_win_over_merged_ones(apply):
    text = JOB.replace("- name: Nightly", "- &first\n    name: Nightly\n    metadata: &body {a: 1, b: 2}")
    text += """
  - <<: *first
    name: Weekly
    metadata: {<<: *body, b: 3}
  - name: Monthly
    <<: [{max_retries: 3}, *first]
    max_retries: 1
"""

    assert "3 created" in apply(text)

    weekly, monthly = Job.objects.get(name="Weekly"), Job.objects.get(name="Monthly")
    assert (weekly.metadata, weekly.cron_expression) == ({"a": 1, "b": 3}, "0 2 * * *")
    assert (monthly.metadata, monthly.max_retries) == ({"a": 1, "b": 2}, 1)


def test_a_thousand_jobs_may_share_their_fields():
    text = JOB.replace("- name", "- &first\n    name")
    text += "".join(f"  - {{<<: *first, name: Job {number}}}\n" for number in range(1000))

    reading = read_files([("jobs.yaml", text)])

    assert (len(reading.items), reading.faults) == (1001, [])


BOMB = "a: &a0 [x, x]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40))
MERGES = "a: &a0 {x: 1}\n" + "".join(f"b{n}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(40))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "Its aliases come to too much"),
        (MERGES, "Its aliases come to too much"),
        (f"jobs:\n  - metadata:\n{' ' * 6}" + BOMB.replace("\n", f"\n{' ' * 6}"), "come to too much"),
        (JOB + "    metadata: &m {a: [*m]}\n", "jobs.yaml:8: An alias stands inside of what it names."),
        (JOB + "    metadata: &m {<<: *m}\n", "jobs.yaml:8: An alias stands inside of what it names."),
        (JOB + f"    metadata: {{a: {'[' * 200}{']' * 200}}}\n", "jobs.yaml:8: It is nested more than 100"),
        (JOB + "    metadata:\n      a: 1\n      a: 2\n", "jobs.yaml:10: a stands in line 9 already."),
        (JOB + "    metadata: {a: !!int 1_000}\n", 'jobs.yaml:8: This is not YAML: "1_000" is no int.'),
        (JOB + "    metadata: {a: !!bool maybe}\n", 'jobs.yaml:8: This is not YAML: "maybe" is no bool.'),
        ("jobs: \x07\n", "jobs.yaml: This is not YAML: unacceptable character #x0007"),
    ],
)
def test_what_is_too_intricate_or_stands_twice_is_told(apply, text, told):
    assert told in apply(text)


# ---- plain text, numbers and words ------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12:30", "12:30"), ("1:30.5", "1:30.5"), ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("off", "off"),
        ("1_000", "1_000"), ("0b11", "0b11"), ("2030-12-31", "2030-12-31"), ("=", "="), ("y", "y"),
        ("010", 10), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+7", 7), ("017", 17), ("089", 89),
        ("1e3", 1000.0), ("12e03", 12000.0), (".5", 0.5), ("1.", 1.0), ("-1.5E-2", -0.015),
        ("1.2.3", "1.2.3"), ("!!timestamp soon", "soon"), ("!!timestamp 2030-12-31", "2030-12-31"),
        ("true", True), ("False", False), ("~", None), ("", None), ("NULL", None), ("nULL", "nULL"),
        ("'010'", "010"), ('"true"', "true"), ("!!str 010", "010"), ("!!int 0o10", 8), ("1e", "1e"),
    ],
)  # fmt: skip
def test_plain_text_is_read_by_the_core_schema(written, value):
    reading = read_files([("jobs.yaml", f"jobs:\n  - metadata:\n      a: {written}\n")])

    (item,) = reading.items
    assert reading.faults == []
    assert (item.data["metadata"]["a"], type(item.data["metadata"]["a"])) == (value, type(value))


def test_a_word_that_is_no_boolean_is_refused_where_one_is_due(apply):
    assert "jobs.yaml:8: is_active" in apply(JOB + "    is_active: yes\n")


# Of what YAML 1.1 and 1.2 make something, and of what a line ends with.
_ODD = [
    "12:30", "1:30.5", "no", "No", "y", "N", "on", "OFF", "010", "0o17", "0x1F", "0b11", "1_000", "1e3",
    "12e03", ".5", "1.", ".inf", ".nan", "~", "null", "", " ", "true", "<<", "=", "2030-12-31", "089",
    "2001-12-14 21:59:43", "a\u2028b", "a\u2029", "\u0085", "\u2028", "a\r\nb", "\n", "a\n\n b\n", "\ufeff",
    "x" * 120 + " " + "y" * 50, "x\u2028 " * 40, "- a", "#", "a: b", "a #b", "&a", "*a", "!a", "%", "@", "`",
    "\x0b", "\x0c", "\x1c", "\x7f", "\x80", "🎉", "---", "...", "'", '"', "\\", "\t", "日 本",
]  # fmt: skip
_TEXTS = st.one_of(
    st.sampled_from(_ODD),
    st.text(st.sampled_from("\x85\u2028\u2029\n\r\t '\":#-a0.1_yYnNeExXoO")),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
_VALUES = st.recursive(
    _TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(value=_ODD)
@example(value={text: text for text in _ODD})
@given(value=_VALUES)
def test_what_is_written_is_read_as_it_was(value):
    text = f"jobs:\n{export._entry({'name': 'x', 'metadata': {'a': value}})}"

    reading = read_files([("jobs.yaml", text)])

    assert reading.faults == []
    assert reading.items[0].data["metadata"] == {"a": value}
    # Whoever reads it by YAML 1.1 finds the same.
    assert yaml.safe_load(text)["jobs"][0]["metadata"] == {"a": value}


@pytest.mark.parametrize("text", ["y", "n", "0o17", "12e03", "12:30"])
def test_what_some_reader_takes_for_something_else_stands_in_quotes(text):
    JobFactory(metadata={"a": text})

    assert f"a: '{text}'" in exported()


def test_odd_texts_survive_the_way_there_and_back(apply):
    JobFactory(metadata={"texts": _ODD, "keys": {text: text for text in _ODD}})
    before = Job.objects.values("metadata").get()

    assert "1 changed, 0 pruned" in apply(exported())

    assert Job.objects.values("metadata").get() == before
    assert "0 changed, 0 pruned" in apply(exported())


# ---- what is wrong, and where -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (JOB.replace('"0 2 * * *"', '"61 * * * *"'), "jobs.yaml:4: In the minute field"),
        (JOB.replace("devops", "nobody"), 'jobs.yaml:5: PIC team "nobody" does not exist.'),
        (JOB.replace("2030", "2020"), "jobs.yaml:6: end_date must be 2026-03-10 or later"),
        (JOB.replace("https", "http"), "jobs.yaml:7: target_url"),
        (JOB.replace("    pic_team: devops\n", ""), "jobs.yaml:3: pic_team is required."),
        (JOB + "    max_retries: many\n", "jobs.yaml:8: max_retries must be a whole number."),
        (JOB + "    colour: red\n", 'jobs.yaml:8: "colour" is not known; jobs have: category'),
        (JOB + "    signing_secret: whsec_x\n", "jobs.yaml:8: signing_secret does not belong in a file"),
        (JOB + "    name: Twice\n", "jobs.yaml:8: name stands in line 3 already."),
        (JOB + "    owner: nobody\n", 'jobs.yaml:8: There is no user "nobody".'),
        (JOB + "    metadata: {1: a}\n", "jobs.yaml:8: metadata holds the key 1"),
        (JOB + "    metadata: !!binary aGk=\n", "jobs.yaml:8: metadata holds a bytes"),
        (JOB + "  - name: NIGHTLY\n", 'jobs.yaml:8: "NIGHTLY" stands in jobs.yaml:3 already.'),
        (JOB + "  - cron_expression: x\n", "jobs.yaml:8: name is required"),
        (JOB + "  - name: 17\n", "jobs.yaml:8: name is required"),
        (JOB.replace('"0 2 * * *"', "* * * * *"), "jobs.yaml:4: This is not YAML"),
        (JOB.replace('"0 2 * * *"', "*/5 * * * *"), "A text that begins with * must be in quotes."),
        ("tasks:\n  - name: x\n", 'jobs.yaml:1: "tasks" is not known: a file holds categories, teams, jobs.'),
        ("jobs: {a: 1}\n", "jobs.yaml:1: jobs must be a list"),
        ("- name: x\n", "jobs.yaml:1: A file must be fields with values"),
        ("jobs:\n  - text\n", "jobs.yaml:2: An entry of jobs must be fields with values"),
        ("jobs: [\n", "This is not YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 'jobs.yaml:1: "a" is not known'),
        (JOB + "    metadata: !!python/object/apply:os.system [ls]\n", "This is not YAML"),
        ("teams:\n  - name: New\n", "jobs.yaml:2: slack_handle cannot be empty."),
        ("categories:\n  - slug: general\n    name: Other\n", 'jobs.yaml:3: The "General" category cannot'),
    ],
)
def test_a_fault_names_file_line_and_field_and_nothing_is_stored(apply, text, told):
    before = (Job.objects.count(), PicTeam.objects.count(), JobCategory.objects.count())

    said = apply(text)

    assert told in said
    assert "nothing was stored." in said
    assert (Job.objects.count(), PicTeam.objects.count(), JobCategory.objects.count()) == before


def test_all_faults_are_told_at_once_and_the_good_ones_wait(apply):
    text = JOB + '  - name: Bad\n    cron_expression: "0 2 * *"\n    end_date: never\n'

    said = apply(text)

    assert "jobs.yaml:9:" in said
    assert "jobs.yaml:10: end_date must be a date" in said
    assert "4 faults: nothing was stored." in said
    assert not Job.objects.exists()


def test_a_file_may_be_empty_and_have_several_documents(apply):
    assert "0 created" in apply("# nothing yet\n")
    assert "1 created" in apply(f"---\n{JOB}\n---\ncategories: []\n")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CommandError, match="holds no"):
        call_command("apply", str(tmp_path), "--prune")


# ---- rights -----------------------------------------------------------------------------------


def test_without_a_user_all_is_allowed_and_jobs_have_no_owner(apply):
    apply(JOB)

    assert Job.objects.get().created_by is None


def test_a_user_applies_with_their_rights_and_owns_what_they_create(apply):
    user = UserFactory(username="tanaka")
    JobFactory(name="Foreign", created_by=UserFactory())

    apply(JOB, "--as=tanaka")
    assert Job.objects.get(name="Nightly").created_by == user

    assert "may not change this job" in apply(JOB.replace("Nightly", "Foreign"), "--as=tanaka")
    assert "that takes an admin" in apply("teams:\n  - name: X\n    slack_handle: x\n", "--as=tanaka")


def test_a_viewer_applies_nothing(apply):
    UserFactory(username="looker", viewer=True)

    assert "may not create jobs" in apply(JOB, "--as=looker")
    assert "there is no active user" in apply(JOB, "--as=nobody")


def test_only_an_admin_gives_jobs_away(apply):
    UserFactory(username="tanaka")
    boss, other = UserFactory(username="boss", admin=True), UserFactory(username="suzuki")
    text = JOB + "    owner: suzuki\n"

    assert "jobs.yaml:8: Only an admin gives jobs to others." in apply(text, "--as=tanaka")
    apply(text, f"--as={boss.username}")

    assert Job.objects.get().created_by == other


def test_the_example_of_the_documents_applies(apply):
    example = Path(__file__).parents[2] / "docs/examples/jobs.yaml"

    assert "4 created" in apply(example.read_text(encoding="utf-8"))
