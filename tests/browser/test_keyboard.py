"""Everything by keyboard: past the navigation, into the menus, back out of them, and always seen."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import user_of
from tests.browser.pages import PHONE
from tests.browser.world import populate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# What has the focus: whether it can be seen, and whether it shows that it has it.
FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  const framed = one.parentElement ? getComputedStyle(one.parentElement) : style;
  return {
    html: one.outerHTML.slice(0, 100),
    seen: box.width > 0 && box.height > 0,
    marked: [style, framed].some(it => it.outlineStyle !== 'none' && parseFloat(it.outlineWidth) >= 2),
  };
}"""
STEPS_MAX = 120


def walk(page) -> list[dict]:
    """Press Tab until the end of the page; everything that had the focus on the way."""
    found = []
    for _ in range(STEPS_MAX):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (found and focused["html"] == found[0]["html"]):
            break
        found.append(focused)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jobs_job_add", "jobs_job_changelist"])
def test_whatever_takes_the_focus_is_seen_and_shows_it(open_site, name):
    admin = user_of("admin")
    populate(admin)
    site = open_site(admin)
    site.go(name)

    found = walk(site.page)

    assert len(found) > 20
    assert [one["html"] for one in found if not one["seen"]] == []
    assert [one["html"] for one in found if not one["marked"]] == []


@pytest.mark.smoke
def test_the_menus_open_and_close_by_keyboard(as_viewer):
    site, page = as_viewer, as_viewer.page
    site.go("jobs_job_changelist")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")

    account = page.get_by_role("button", name="vera_viewer")
    account.focus()
    page.keyboard.press("Enter")
    expect(account).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("link", name="Change password")).to_be_visible()
    page.get_by_role("button", name="Dark").press("Space")
    expect(page.locator("html")).to_have_class("dark")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Change password")).to_be_hidden()
    expect(account).to_be_focused()

    navigation = page.get_by_role("button", name="Navigation")
    navigation.press("Enter")
    expect(page.locator("#nav-sidebar")).to_be_hidden()
    navigation.press("Enter")
    expect(page.locator("#nav-sidebar")).to_be_visible()

    filters = page.get_by_role("button", name="Filters")
    filters.press("Enter")
    expect(page.locator("#filter-form :focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#filter-form")).to_be_hidden()
    expect(filters).to_be_focused()


@pytest.mark.slow
def test_the_navigation_of_a_phone_opens_and_closes_by_keyboard(open_site):
    site = open_site("viewer", viewport=PHONE)
    site.go("index")

    site.page.get_by_role("button", name="Navigation").press("Enter")
    expect(site.page.locator("#nav-sidebar")).to_be_visible()
    site.page.get_by_role("button", name="Close the navigation").press("Enter")
    expect(site.page.locator("#nav-sidebar")).to_be_hidden()


def test_a_form_is_sent_once(as_admin):
    site, page = as_admin, as_admin.page
    site.go("viewing")
    sent = []
    page.on("request", lambda request: sent.append(request.method) if request.method == "POST" else None)

    # Two clicks before the answer, as impatient people do.
    page.get_by_role("button", name="Save").dblclick()
    expect(page.get_by_text("Saved.")).to_be_visible()

    assert sent == ["POST"]


@pytest.mark.slow
def test_the_sign_in_begins_in_its_first_field(open_site):
    site = open_site()
    site.go("login")

    expect(site.page.get_by_label("Username or e-mail")).to_be_focused()
