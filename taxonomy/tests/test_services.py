from __future__ import annotations

from typing import Any

import pytest

from accounts.tests.factories import UserFactory
from cronsched.core.errors import Conflict, DomainError, InvalidInput
from cronsched.testing.threads import at_once
from jobs.tests.factories import NOON, JobFactory
from taxonomy import services
from taxonomy.models import JobCategory, PicTeam
from taxonomy.services import resolve_category, resolve_team
from taxonomy.signals import taxon_changed
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
WHO = {"by": None, "now": NOON}


def team(**values: Any) -> PicTeam:
    return services.create_team(**{"name": "DevOps", "slack_handle": "@devops", **values}, **WHO)


# ---- finding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["data-team", "Data Team", " DATA TEAM ", "DATA-TEAM"])
def test_team_is_found_by_slug_or_name_without_case(text: str) -> None:
    found = TeamFactory(slug="data-team", name="Data Team")

    assert resolve_team(text) == found


def test_names_with_accents_and_emoji_are_not_mixed_up() -> None:
    TeamFactory(slug="plain", name="Resume")
    accented = TeamFactory(slug="accented", name="Résumé")
    rocket, bee = TeamFactory(slug="r", name="🚀"), TeamFactory(slug="b", name="🐝")

    assert resolve_team("Re\u0301sume\u0301") == accented
    assert (resolve_team("🚀"), resolve_team("🐝")) == (rocket, bee)


def test_slug_goes_before_a_name_that_is_spelled_like_it() -> None:
    TeamFactory(slug="other", name="ops")
    by_slug = TeamFactory(slug="ops", name="Operations")

    assert resolve_team("ops") == by_slug


def test_disabled_one_does_not_hide_an_active_one_of_that_name() -> None:
    TeamFactory(slug="ops", name="Operations", is_active=False)
    active = TeamFactory(slug="other", name="ops")

    assert resolve_team("ops") == active


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody", 'Category "nobody" does not exist.'),
        ("old", 'Category "old" is disabled; choose an active one.'),
        ("a\x00b", 'Category "a\x00b" does not exist.'),
    ],
)
def test_resolve_says_why_there_is_none(text: str, message: str) -> None:
    CategoryFactory(slug="old", is_active=False)

    with pytest.raises(InvalidInput) as refusal:
        resolve_category(text)

    assert refusal.value.details == {"category": [message]}


# ---- creating ---------------------------------------------------------------------------------


def test_create_makes_slug_from_name() -> None:
    category = services.create_category(name="  Month End ", **WHO)

    assert (category.name, category.slug, category.is_active) == ("Month End", "month-end", True)


def test_japanese_name_gets_a_slug() -> None:
    category = services.create_category(name="営業部", **WHO)

    assert resolve_category("営業部") == category
    assert category.slug.startswith("category-")


@pytest.mark.parametrize(("given", "slug"), [("My Slug!", "my-slug"), ("ops", "ops"), (None, "month-end")])
def test_given_slug_is_slugified(given: Any, slug: str) -> None:
    assert services.create_category(name="Month End", slug=given, **WHO).slug == slug


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"name": None}, "name", "name is required, as text."),
        ({"name": 7}, "name", "name is required, as text."),
        ({"name": "  "}, "name", "name must have 1 to 255 characters."),
        ({"name": "x" * 256}, "name", "name must have 1 to 255 characters."),
        ({"name": "a\u2028b"}, "name", "name must be one line, without control characters."),
        ({"name": "a\x00b"}, "name", "name holds a character that cannot be stored, such as NUL."),
        ({"slug": "営業"}, "slug", "slug must hold a letter a-z or a digit; leave it out to have one made."),
        ({"slug": 5}, "slug", "slug must hold a letter a-z or a digit; leave it out to have one made."),
        ({"slack_handle": ""}, "slack_handle", "slack_handle cannot be empty."),
        ({"slack_handle": None}, "slack_handle", "slack_handle cannot be empty."),
        ({"slack_handle": ["@x"]}, "slack_handle", "slack_handle must be text."),
        ({"slack_handle": "x" * 256}, "slack_handle", "slack_handle must have at most 255 characters."),
        (
            {"slack_handle": "\ud800"},
            "slack_handle",
            "slack_handle holds a character that cannot be stored, such as NUL.",
        ),
    ],
)
def test_create_refuses(values: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        team(**values)

    assert refusal.value.details == {field: [message]}
    assert not PicTeam.objects.exists()


def test_empty_handle_has_the_error_of_the_contract() -> None:
    with pytest.raises(InvalidInput) as refusal:
        team(slack_handle=" ")

    assert (refusal.value.error, refusal.value.message) == (
        "Invalid slack_handle",
        "slack_handle cannot be empty.",
    )


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"name": "DEVOPS"}, "Duplicate slug", 'PIC team slug "devops" already exists.'),
        ({"name": "Else", "slug": "DevOps"}, "Duplicate slug", 'PIC team slug "devops" already exists.'),
        ({"name": "devops ", "slug": "x"}, "Duplicate name", 'PIC team name "devops" already exists.'),
    ],
)
def test_taken_slug_or_name_is_a_conflict(values: dict[str, Any], error: str, message: str) -> None:
    team()

    with pytest.raises(Conflict) as refusal:
        team(**values)

    assert (refusal.value.status, refusal.value.error, refusal.value.message) == (409, error, message)


def test_slug_of_a_disabled_one_stays_taken() -> None:
    services.disable_team(team(), **WHO)

    with pytest.raises(Conflict):
        team()


# ---- changing ---------------------------------------------------------------------------------


def test_rename_moves_the_slug_and_counts_the_jobs_that_follow() -> None:
    category = CategoryFactory(slug="reports", name="Reports")
    JobFactory.create_batch(2, category=category)
    JobFactory()

    done = services.update_category(category, data={"name": "月次 Reports"}, **WHO)

    assert done.category.slug.startswith("reports-")
    assert done.jobs_updated == 2
    assert set(category.jobs.values_list("category__slug", flat=True)) == {done.category.slug}


@pytest.mark.parametrize("data", [{"name": "Reports"}, {"name": " Reports "}, {"is_active": True}])
def test_update_that_changes_nothing_moves_no_slug(data: dict[str, Any]) -> None:
    category = CategoryFactory(slug="custom", name="Reports")
    JobFactory(category=category)

    done = services.update_category(category, data=data, **WHO)

    assert (done.category.slug, done.jobs_updated) == ("custom", 0)


def test_name_that_keeps_its_slug_moves_no_job() -> None:
    category = CategoryFactory(slug="reports", name="Reports")
    JobFactory(category=category)

    done = services.update_category(category, data={"name": "REPORTS"}, **WHO)

    assert (done.category.name, done.jobs_updated) == ("REPORTS", 0)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"name": "Else"}, "Invalid category", 'The "General" category cannot be renamed.'),
        ({"is_active": False}, "Invalid category", 'The "General" category cannot be disabled.'),
        (
            {"slug": "other"},
            "Invalid payload",
            "Slug cannot be edited directly; it is derived from name.",
        ),
        ({}, "No valid fields to update", "Send at least one of: name, is_active."),
        ({"colour": "red"}, "No valid fields to update", "Send at least one of: name, is_active."),
        ({"is_active": None}, "Validation error", "is_active must be true or false."),
        ({"is_active": "no"}, "Validation error", "is_active must be true or false."),
    ],
)
def test_update_of_general_refuses(data: dict[str, Any], error: str, message: str) -> None:
    general = CategoryFactory(slug="general", name="General")

    with pytest.raises(InvalidInput) as refusal:
        services.update_category(general, data=data, **WHO)

    assert (refusal.value.error, refusal.value.message) == (error, message)


def test_general_cannot_be_disabled() -> None:
    general = CategoryFactory(slug="general", name="General")

    with pytest.raises(InvalidInput, match="cannot be disabled"):
        services.disable_category(general, **WHO)


def test_team_called_general_is_a_team_like_others() -> None:
    general = TeamFactory(slug="general", name="General")

    assert not services.disable_team(general, **WHO).is_active


def test_rename_to_a_taken_name_is_a_conflict_and_changes_nothing() -> None:
    team()
    other = team(name="Platform")

    with pytest.raises(Conflict, match='PIC team slug "devops" already exists'):
        services.update_team(other, data={"name": "Devops"}, **WHO)

    other.refresh_from_db()
    assert other.slug == "platform"


def test_team_update_changes_handle_and_state_only() -> None:
    found = team()

    done = services.update_team(found, data={"slack_handle": " @new ", "is_active": False}, **WHO)

    found.refresh_from_db()
    assert (found.slug, found.slack_handle, found.is_active) == ("devops", "@new", False)
    assert done.jobs_updated == 0


# ---- telling, and two at once -----------------------------------------------------------------


@pytest.fixture
def told() -> Any:
    events: list[dict[str, Any]] = []

    def listen(**event: Any) -> None:
        events.append(event)

    taxon_changed.connect(listen)
    yield events
    taxon_changed.disconnect(listen)


def test_changes_are_told_with_old_and_new(told: list[dict[str, Any]]) -> None:
    admin = UserFactory(admin=True)
    found = services.create_team(name="DevOps", slack_handle="@devops", by=admin, now=NOON)
    services.update_team(found, data={"name": "Platform"}, by=admin, now=NOON)
    services.disable_team(found, by=admin, now=NOON)
    services.disable_team(found, by=admin, now=NOON)

    assert [event["action"] for event in told] == ["created", "updated", "disabled"]
    assert told[1]["changes"] == {"name": ("DevOps", "Platform"), "slug": ("devops", "platform")}
    assert {event["by"] for event in told} == {admin}


def test_listener_that_fails_costs_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def fail(**event: Any) -> None:
        TeamFactory(slug="of-the-listener")
        raise RuntimeError("broken listener")

    taxon_changed.connect(fail)
    try:
        team()
    finally:
        taxon_changed.disconnect(fail)

    assert [row.slug for row in PicTeam.objects.all()] == ["devops"]
    assert "broken listener" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_two_creates_of_one_name_at_once_end_in_one_row_and_one_conflict() -> None:
    outcomes = at_once(*[lambda: services.create_category(name="Month End", **WHO).slug] * 2)

    told = [outcome.error if isinstance(outcome, DomainError) else outcome for outcome in outcomes]
    assert sorted(told) == ["Duplicate slug", "month-end"]
    assert JobCategory.objects.filter(slug="month-end").count() == 1


def test_insert_that_meets_a_faster_one_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    team()
    answers = iter([None])
    refuse = services._refuse_taken
    # The first look finds nothing, as if the other insert had not been there yet.
    monkeypatch.setattr(services, "_refuse_taken", lambda taxon: next(answers, "look") and refuse(taxon))

    with pytest.raises(Conflict, match="already exists"):
        team()
