"""The language and the time zone of the viewer, on the site and not in the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation

from accounts import services
from accounts.tests.factories import UserFactory
from accounts.viewing import zone_names
from cronsched.core.errors import InvalidInput
from cronsched.testing.fixtures_admin import Visitor, messages_of
from cronsched.testing.fixtures_api import ApiClient
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.models import Notification
from taxonomy.tests.factories import CategoryFactory

pytestmark = pytest.mark.django_db
JAPANESE = "ja,en;q=0.5"


def text_of(response) -> str:
    return str(response.content.decode())


@pytest.mark.parametrize(
    ("chosen", "browser", "words"),
    [
        ("", "en", "Executions"),
        ("", JAPANESE, "実行履歴"),
        ("", "fr", "Executions"),
        ("ja", "en", "実行履歴"),
        ("en", JAPANESE, "Executions"),
        ("xx", JAPANESE, "実行履歴"),
    ],
)
def test_a_page_speaks_the_language_that_was_chosen_or_the_browsers(chosen, browser, words):
    visitor = Visitor(UserFactory(language=chosen))

    page = visitor.get(reverse("admin:index"), headers={"accept-language": browser})

    assert words in text_of(page)
    assert page.headers["Content-Language"] == ("ja" if words == "実行履歴" else "en")


def test_the_sign_in_page_speaks_the_browsers_language():
    page = Client().get(reverse("admin:login"), headers={"accept-language": JAPANESE})

    assert "ユーザー名またはメールアドレス" in text_of(page)
    assert '<html lang="ja"' in text_of(page)
    assert "Accept-Language" in page.headers["Vary"]


def test_the_api_speaks_english_to_everybody():
    api = ApiClient(UserFactory(admin=True, language="ja", time_zone="Europe/Berlin"))

    answer = api.post("/jobs", {"name": ""}, headers={"accept-language": "ja"}).json()
    missing = api.get("/nothing", headers={"accept-language": "ja"}).json()

    assert answer["details"]["end_date"] == ["end_date is required."]
    assert missing["message"] == "There is nothing at this address."


def test_one_request_leaves_no_language_to_the_next():
    Visitor(UserFactory(language="ja")).open("index")

    assert translation.get_language() == "en"


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("", "2026-03-10 21:00 JST"),
        ("Europe/Berlin", "2026-03-10 13:00 CET"),
        ("America/New_York", "2026-03-10 08:00 EDT"),
        ("Nowhere/Gone", "2026-03-10 21:00 JST"),
    ],
)
def test_times_are_shown_in_the_viewers_zone_and_say_so(zone, shown):
    job = JobFactory(next_run_at=NOON)
    visitor = Visitor(UserFactory(time_zone=zone))

    assert shown in text_of(visitor.open("jobs_job_page", job.pk)) + text_of(
        visitor.open("jobs_job_changelist")
    )


def test_everybody_chooses_for_themselves():
    user = UserFactory(viewer=True)
    visitor = Visitor(user)

    answer = visitor.send("viewing", language="ja", time_zone="Europe/Berlin")
    user.refresh_from_db()

    assert answer.status_code == 302
    assert messages_of(answer) == ["保存しました。"]
    assert (user.language, user.time_zone) == ("ja", "Europe/Berlin")
    assert "言語と時刻" in text_of(visitor.open("viewing"))


@pytest.mark.parametrize(("field", "value"), [("language", "de"), ("time_zone", "Mars/Olympus")])
def test_what_is_not_offered_is_refused(field, value):
    user = UserFactory()

    page = Visitor(user).send("viewing", **{field: value})
    with pytest.raises(InvalidInput) as refusal:
        services.choose_viewing(user, **{"language": "", "time_zone": "", field: value}, now=NOON)

    assert page.context["form"].errors
    assert list(refusal.value.details) == [field]


def test_places_and_utc_are_offered():
    assert zone_names()[0] == "UTC"
    assert {"Asia/Tokyo", "Europe/Berlin", "America/Argentina/Buenos_Aires"} <= set(zone_names())
    assert not {"EST", "Etc/GMT+5", "posixrules"} & set(zone_names())


def test_what_is_stored_speaks_english_whoever_acts():
    """Everybody reads it; it is translated for whoever looks."""
    category = CategoryFactory(slug="nightly", name="Nightly")
    visitor = Visitor(UserFactory(admin=True, language="ja"))

    visitor.submit("taxonomy_jobcategory_change", category.pk, name="Daily")

    assert "Category Daily was updated" in Notification.objects.values_list("title", flat=True)
    page = visitor.open("notifications_notification_changelist")
    assert "カテゴリ Daily が更新されました" in text_of(page)


def test_a_refusal_is_told_in_the_viewers_language_with_the_labels_of_the_form():
    CategoryFactory()
    job = JobFactory()
    visitor = Visitor(UserFactory(admin=True, language="ja"))

    page = visitor.submit("jobs_job_change", job.pk, end_date="tomorrow")

    errors = page.context["adminform"].form.errors
    assert errors["end_date"] == ["終了日 は YYYY-MM-DD 形式の日付にしてください。"]


def test_a_period_is_read_in_the_viewers_zone():
    run = ExecutionFactory(started_at=datetime(2026, 3, 9, 23, 30, tzinfo=UTC))
    query = {"started_at_from_0": "2026-03-10", "started_at_to_0": "2026-03-10"}

    in_berlin = Visitor(UserFactory(time_zone="Europe/Berlin")).open("jobs_jobexecution_changelist", **query)
    in_utc = Visitor(UserFactory(time_zone="UTC")).open("jobs_jobexecution_changelist", **query)

    assert str(run.pk) in text_of(in_berlin)
    assert str(run.pk) not in text_of(in_utc)
