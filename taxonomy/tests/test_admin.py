from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cronsched.testing.fixtures_admin import errors_of, messages_of
from jobs.tests.factories import JobFactory
from taxonomy.models import JobCategory, PicTeam
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db


def test_a_team_is_created_with_a_slug_of_its_name(admin_site):
    admin_site.submit("taxonomy_picteam_add", name="Data Platform", slack_handle="@data")

    team = PicTeam.objects.get()
    assert (team.name, team.slug) == ("Data Platform", "data-platform")


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"name": "", "slack_handle": "@x"}, "name", "Name must have 1 to 255 characters."),
        ({"name": "X", "slack_handle": " "}, "slack_handle", "Slack handle cannot be empty."),
        (
            {"name": "X", "slack_handle": "@x", "slug": "Taken"},
            "slug",
            'PIC team slug "taken" already exists.',
        ),
    ],
)
def test_a_refusal_stands_on_its_field(admin_site, values, field, words):
    TeamFactory(slug="taken")

    errors = errors_of(admin_site.submit("taxonomy_picteam_add", **values))

    assert list(errors) == [field]
    assert words in errors[field][0]


def test_a_rename_moves_the_slug_and_the_jobs_follow(admin_site):
    category = CategoryFactory(slug="old", name="Old")
    job = JobFactory(category=category)

    admin_site.submit("taxonomy_jobcategory_change", category.pk, name="Brand new")

    job.refresh_from_db()
    assert job.category.slug == "brand-new"


def test_the_slug_of_a_row_cannot_be_posted(admin_site):
    team = TeamFactory(slug="mine")

    admin_site.submit("taxonomy_picteam_change", team.pk, slug="other", slack_handle="@new")

    team.refresh_from_db()
    assert (team.slug, team.slack_handle) == ("mine", "@new")


def test_general_stays(admin_site):
    general = CategoryFactory(slug="general", name="General")

    renamed = admin_site.submit("taxonomy_jobcategory_change", general.pk, name="Other")
    disabled = admin_site.act("disable", "taxonomy_jobcategory_changelist", general.pk)

    assert errors_of(renamed) == {"name": ['The "General" category cannot be renamed.']}
    assert messages_of(disabled) == ['General: Invalid category. The "General" category cannot be disabled.']
    assert JobCategory.objects.get().is_active


def test_disabling_keeps_the_row_and_nothing_deletes_it(admin_site):
    team = TeamFactory()

    admin_site.act("disable", "taxonomy_picteam_changelist", team.pk)
    admin_site.act("delete_selected", "taxonomy_picteam_changelist", team.pk, post="yes")

    assert admin_site.send("taxonomy_picteam_delete", team.pk, post="yes").status_code == 403
    team.refresh_from_db()
    assert not team.is_active


@pytest.mark.parametrize("page", ["taxonomy_jobcategory", "taxonomy_picteam"])
def test_others_read_and_change_nothing(user_site, viewer_site, page):
    row = (CategoryFactory if page.endswith("category") else TeamFactory)()

    for site in (user_site, viewer_site):
        assert site.open(f"{page}_changelist").status_code == 200
        assert site.open(f"{page}_change", row.pk).status_code == 200
        assert site.open(f"{page}_add").status_code == 403
        assert site.send(f"{page}_change", row.pk, name="Renamed").status_code == 403
        site.act("disable", f"{page}_changelist", row.pk)
    row.refresh_from_db()
    assert row.is_active


def test_the_list_counts_jobs_in_one_query_and_escapes_names(viewer_site):
    JobFactory(pic_team=TeamFactory(name="<script>alert(1)</script>"))
    viewer_site.open("taxonomy_picteam_changelist")

    def open_list():
        with CaptureQueriesContext(connection) as caught:
            page = viewer_site.open("taxonomy_picteam_changelist").content.decode()
        return len(caught), page

    few, page = open_list()
    assert "<script>alert(1)" not in page
    TeamFactory.create_batch(10)
    assert open_list()[0] == few <= 8


def test_a_rename_tells_how_many_jobs_followed(admin_site):
    category = CategoryFactory(name="Reports", slug="reports")
    JobFactory.create_batch(2, category=category)

    page = admin_site.open("taxonomy_jobcategory_change", category.pk)
    assert "will follow when you rename it" in page.content.decode()
    answer = admin_site.submit("taxonomy_jobcategory_change", category.pk, name="Figures")

    assert "2 jobs followed: they answer with figures now." in messages_of(answer)


def test_a_row_shows_its_changes(admin_site):
    team = TeamFactory(name="Old")
    admin_site.submit("taxonomy_picteam_change", team.pk, name="New")

    text = admin_site.open("taxonomy_picteam_change", team.pk).content.decode()
    assert "Changes" in text
    assert "<ins>New</ins>" in text
