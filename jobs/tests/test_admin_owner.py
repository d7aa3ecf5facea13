"""Jobs whose owner is gone: found, and handed over in one action."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_admin import messages_of
from jobs.models import Job
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db
PAGE = "jobs_job_changelist"


@pytest.fixture
def ownerless() -> list[Job]:
    JobFactory(name="Owned")
    return [JobFactory(name="Deleted", created_by=None), JobFactory(created_by=UserFactory(inactive=True))]


def test_ownerless_jobs_are_a_filter(admin_site: Any, ownerless: list[Job]) -> None:
    listed = admin_site.open(PAGE, owner="ownerless").context["cl"].result_list

    assert set(listed) == set(ownerless)
    assert list(admin_site.open(PAGE, owner="nobody").context["cl"].result_list) == ownerless[:1]


def test_an_admin_hands_jobs_over(admin_site: Any, ownerless: list[Job]) -> None:
    new = UserFactory(username="new_owner")
    UserFactory(username="only_a_reader", viewer=True)
    ids = [job.pk for job in ownerless]

    question = admin_site.act("hand_over", PAGE, *ids)
    assert question.status_code == 200
    assert "new_owner" in question.content.decode()
    assert "only_a_reader" not in question.content.decode()
    answer = admin_site.act("hand_over", PAGE, *ids, to=str(new.pk), answered=1)

    assert messages_of(answer) == ["Handed over to new_owner: 2."]
    assert set(Job.objects.filter(pk__in=ids).values_list("created_by", flat=True)) == {new.pk}


@pytest.mark.parametrize("to", ["", "x", "00000000-0000-4000-8000-000000000000"])
def test_nobody_gets_them_without_a_choice(admin_site: Any, ownerless: list[Job], to: str) -> None:
    answer = admin_site.act("hand_over", PAGE, ownerless[0].pk, to=to, answered=1)

    assert answer.status_code == 200
    assert Job.objects.ownerless().count() == 2


def test_only_admins_hand_over(user_site: Any, ownerless: list[Job]) -> None:
    user_site.act("hand_over", PAGE, *[job.pk for job in ownerless], to=str(user_site.user.pk), answered=1)

    assert Job.objects.ownerless().count() == 2


def test_a_link_opens_a_job_with_its_end_date_in_focus(admin_site: Any) -> None:
    """By a fragment, which a link would lose on its way through the sign-in."""
    job = JobFactory()

    answer = admin_site.open("jobs_job_change", job.pk, focus="end_date")

    assert answer.status_code == 302
    assert answer.url.endswith(f"/{job.pk}/change/#id_end_date")
    assert admin_site.open("jobs_job_change", job.pk, focus="nonsense").status_code == 200
