"""Every page of the site: axe finds nothing, nothing is too wide, nothing fails in the browser.

tests/browser/addresses.py finds the pages; tests/browser/world.py gives them something to show.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import pytest
from django.urls import reverse

from notifications.audience import FAILURES
from notifications.unsubscribe import unsubscribe_url
from tests.browser.addresses import models_without_rows, pages_of
from tests.browser.conftest import NAMES, user_of
from tests.browser.pages import ALL_LOOKS, SHORT_LOOKS, Look, Site
from tests.browser.world import populate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# What people have before them most of the day.
DAILY = (
    "index",
    "jobs_job_changelist",
    "jobs_job_change",
    "jobs_jobexecution_changelist",
    "accounts_user_change",
)


def expect_no_faults(site: Site, pages: dict[str, str], looks: Iterable[Look]) -> None:
    """Look at each page in each look; fail with all that is wrong, by page, width and colours."""
    faults: list[str] = []
    for name, path in pages.items():
        site.open(path)
        faults += site.faults_in(looks, of=name)
        assert site.page.title() != "broken", name
    if faults:
        pytest.fail("\n".join(faults))


@pytest.mark.smoke
def test_the_pages_of_every_day(open_site):
    admin = user_of("admin")
    populate(admin)
    pages = pages_of(admin, only=DAILY)

    assert set(pages) == set(DAILY)
    expect_no_faults(open_site(admin), pages, SHORT_LOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("role", NAMES)
def test_every_page_of_the_admin_site(open_site, role):
    user = user_of(role)
    populate(user)
    assert models_without_rows() == [], "tests/browser/world.py: make a row of each"

    expect_no_faults(open_site(user), pages_of(user), ALL_LOOKS)


@pytest.mark.slow
def test_pages_of_nobody_signed_in(open_site):
    site = open_site()
    site.expect_status(404)
    pages = {
        "login": reverse("admin:login"),
        "unsubscribe": urlsplit(unsubscribe_url("ada@example.com", [FAILURES])).path,
        "unsubscribe, broken": reverse("unsubscribe", args=["no-such-token"]),
        "404": "/nothing/here",
    }

    expect_no_faults(site, pages, ALL_LOOKS)


@pytest.mark.slow
def test_pages_of_refusals(open_site):
    site = open_site("viewer")
    site.expect_status(403, 404)
    pages = {"403": reverse("admin:accounts_user_changelist"), "404": reverse("admin:index") + "nothing/"}

    expect_no_faults(site, pages, ALL_LOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("role", NAMES)
def test_an_empty_installation(open_site, role):
    user = user_of(role)

    expect_no_faults(open_site(user), pages_of(user), SHORT_LOOKS)
