from __future__ import annotations

import uuid
from typing import Any

import pytest

from jobs.tests.factories import JobFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
NOWHERE = str(uuid.UUID(int=1))
CATEGORY_KEYS = {"id", "slug", "name", "is_active", "created_at", "updated_at"}


def test_lists_hold_the_active_ones_by_name(viewer_api: Any) -> None:
    for slug, name in (("b", "beta"), ("a", "Alpha"), ("c", "Gamma")):
        CategoryFactory(slug=slug, name=name)
        TeamFactory(slug=slug, name=name)
    CategoryFactory(slug="off", name="Off", is_active=False)
    TeamFactory(slug="off", name="Off", is_active=False)

    categories = viewer_api.get("/job-categories?include_inactive=true").json()
    teams = viewer_api.get("/pic-teams?include_inactive=1").json()

    assert [row["slug"] for row in categories["categories"]] == ["a", "b", "c"]
    assert [row["slug"] for row in teams["pic_teams"]] == ["a", "b", "c"]
    assert set(categories["categories"][0]) == CATEGORY_KEYS
    assert set(teams["pic_teams"][0]) == CATEGORY_KEYS | {"slack_handle", "send_queue"}
    assert categories["categories"][0]["created_at"].endswith("Z")


@pytest.mark.parametrize(("asked", "slugs"), [("true", ["off", "on"]), ("no", ["on"]), ("", ["on"])])
def test_admin_may_ask_for_the_disabled_ones(admin_api: Any, asked: str, slugs: list[str]) -> None:
    TeamFactory(slug="on", name="On")
    TeamFactory(slug="off", name="Off", is_active=False)

    answer = admin_api.get(f"/pic-teams{f'?include_inactive={asked}' if asked else ''}").json()

    assert [row["slug"] for row in answer["pic_teams"]] == slugs


def test_word_that_is_no_boolean_is_refused(admin_api: Any) -> None:
    assert admin_api.get("/pic-teams?include_inactive=perhaps").status_code == 400


@pytest.mark.parametrize(
    ("kind", "factory"), [("job-categories", CategoryFactory), ("pic-teams", TeamFactory)]
)
def test_list_costs_the_same_for_any_number_of_rows(
    viewer_api: Any, django_assert_num_queries: Any, kind: str, factory: Any
) -> None:
    for number in range(7):
        factory(slug=f"row-{number}", name=f"Row {number}")

    # The caller, and the rows.
    with django_assert_num_queries(2):
        assert viewer_api.get(f"/{kind}").status_code == 200


def test_create_category(admin_api: Any) -> None:
    answer = admin_api.post("/job-categories", {"name": "Month end"})

    assert answer.status_code == 201
    assert answer.json()["message"] == "Category created"
    category = answer.json()["category"]
    assert (category["name"], category["slug"], category["is_active"]) == ("Month end", "month-end", True)


def test_create_team(admin_api: Any) -> None:
    answer = admin_api.post("/pic-teams", {"name": "データ", "slack_handle": "@data", "slug": "data"})

    assert answer.status_code == 201
    assert answer.json()["message"] == "PIC team created"
    assert answer.json()["pic_team"]["slug"] == "data"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "answer"),
    [
        (
            "post",
            "/job-categories",
            {"name": "Taken"},
            409,
            {"error": "Duplicate slug", "message": 'Category slug "taken" already exists.'},
        ),
        (
            "post",
            "/pic-teams",
            {"name": "Taken", "slack_handle": "@x"},
            409,
            {"error": "Duplicate slug", "message": 'PIC team slug "taken" already exists.'},
        ),
        (
            "post",
            "/pic-teams",
            {"name": "New"},
            400,
            {"error": "Invalid slack_handle", "message": "slack_handle cannot be empty."},
        ),
        (
            "put",
            f"/job-categories/{NOWHERE}",
            {"name": "x"},
            404,
            {"error": "Not found", "message": f"No category found with ID: {NOWHERE}"},
        ),
        (
            "put",
            "/pic-teams/nothing",
            {"name": "x"},
            404,
            {"error": "Not found", "message": "No PIC team found with ID: nothing"},
        ),
        (
            "put",
            "/job-categories/{general}",
            {"name": "Other"},
            400,
            {"error": "Invalid category", "message": 'The "General" category cannot be renamed.'},
        ),
        (
            "put",
            "/job-categories/{category}",
            {"slug": "other"},
            400,
            {
                "error": "Invalid payload",
                "message": "Slug cannot be edited directly; it is derived from name.",
            },
        ),
        (
            "put",
            "/pic-teams/{team}",
            {"slug": "other", "name": "x"},
            400,
            {
                "error": "Invalid payload",
                "message": "Slug cannot be edited directly; it is derived from name.",
            },
        ),
        (
            "put",
            "/pic-teams/{team}",
            {"slack_handle": "  "},
            400,
            {"error": "Invalid slack_handle", "message": "slack_handle cannot be empty."},
        ),
        (
            "put",
            "/job-categories/{category}",
            {"name": "Taken"},
            409,
            {"error": "Duplicate slug", "message": 'Category slug "taken" already exists.'},
        ),
        (
            "delete",
            "/job-categories/{general}",
            None,
            400,
            {"error": "Invalid category", "message": 'The "General" category cannot be disabled.'},
        ),
    ],
)
def test_refusals_have_the_words_of_the_contract(
    admin_api: Any, method: str, path: str, body: Any, status: int, answer: dict[str, str]
) -> None:
    ids = {
        "general": CategoryFactory(slug="general", name="General").pk,
        "category": CategoryFactory(slug="mine", name="Mine").pk,
        "team": TeamFactory(slug="mine", name="Mine").pk,
    }
    CategoryFactory(slug="taken", name="Taken")
    TeamFactory(slug="taken", name="Taken")

    response = getattr(admin_api, method)(path.format(**ids), body)

    assert response.status_code == status
    assert {key: response.json()[key] for key in ("error", "message")} == answer


def test_rename_moves_the_slug_and_jobs_follow(admin_api: Any) -> None:
    team = TeamFactory(slug="old", name="Old")
    job = JobFactory(pic_team=team)

    answer = admin_api.put(f"/pic-teams/{team.pk}", {"name": "New", "slack_handle": "@new"}).json()

    assert answer["message"] == "PIC team updated"
    assert (answer["pic_team"]["slug"], answer["jobs_updated"]) == ("new", 1)
    assert admin_api.get(f"/jobs/{job.pk}").json()["job"]["pic_team"] == "new"


def test_rename_of_a_category_says_how_many_jobs_follow(admin_api: Any) -> None:
    category = CategoryFactory(slug="old", name="Old")
    JobFactory.create_batch(2, category=category)

    answer = admin_api.put(f"/job-categories/{category.pk}", {"name": "New"}).json()

    assert (answer["message"], answer["jobs_updated"]) == ("Category updated", 2)
    assert set(answer["category"]) == CATEGORY_KEYS


@pytest.mark.parametrize(
    ("path", "message", "key"),
    [
        ("/job-categories", "Category disabled", "category"),
        ("/pic-teams", "PIC team disabled", "pic_team"),
    ],
)
def test_delete_disables_and_update_enables_again(admin_api: Any, path: str, message: str, key: str) -> None:
    row = (CategoryFactory if key == "category" else TeamFactory)(slug="row", name="Row")

    gone = admin_api.delete(f"{path}/{row.pk}").json()
    back = admin_api.put(f"{path}/{row.pk}", {"is_active": True}).json()

    assert (gone["message"], gone[key]["is_active"]) == (message, False)
    assert back[key]["is_active"] is True
