from __future__ import annotations

import pytest
from django.test import override_settings

from accounts.tests.factories import UserFactory
from cronsched.guide import COOKIE, FEW_JOBS
from cronsched.testing.fixtures_admin import Visitor
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.models import SlackSettings
from taxonomy.tests.factories import TeamFactory

pytestmark = pytest.mark.django_db


def ticks(site: Visitor) -> list[bool] | None:
    shown = site.open("index").context["guide"]
    return [step.is_done for step in shown["steps"]] if shown else None


def test_what_is_done_is_ticked_until_nothing_is_left(admin_site: Visitor):
    assert ticks(admin_site) == [False, False, False, False]
    team = TeamFactory()
    assert ticks(admin_site) == [True, False, False, False]
    SlackSettings.objects.create(is_enabled=True)
    job = JobFactory(pic_team=team)
    assert ticks(admin_site) == [True, True, True, False]
    ExecutionFactory(job=job)
    assert ticks(admin_site) is None


@override_settings(MAIL_ENABLED=True)
def test_mail_will_do_in_the_place_of_slack(admin_site: Visitor):
    assert ticks(admin_site) == [False, True, False, False]


def test_a_user_is_told_what_an_admin_does(user_site: Visitor):
    steps = user_site.open("index").context["guide"]["steps"]

    assert [bool(step.url) for step in steps] == [False, False, True, False]
    assert steps[0].who == "An admin does this."


def test_a_viewer_needs_no_guide(viewer_site: Visitor):
    assert ticks(viewer_site) is None


def test_it_can_be_hidden(admin_site: Visitor):
    assert admin_site.open("hide_guide").status_code == 405
    answer = admin_site.send("hide_guide")

    assert answer.cookies[COOKIE]["httponly"]
    assert ticks(admin_site) is None


def test_with_several_jobs_nobody_begins(admin_site: Visitor):
    JobFactory.create_batch(FEW_JOBS, created_by=UserFactory())

    assert ticks(admin_site) is None
