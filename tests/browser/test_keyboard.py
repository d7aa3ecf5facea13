"""Everything by keyboard: past the navigation, into the menus, back out of them, and always seen."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.addresses import pages_of
from tests.browser.conftest import NAMES, user_of
from tests.browser.pages import PHONE
from tests.browser.world import populate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# Remember what Tab has to reach; of the radio buttons of one name it reaches one.
REMEMBER = """() => {
  const can = 'a[href], button, input, select, textarea, summary, [tabindex], iframe, [contenteditable]';
  const key = one => one.type === 'radio' ? one.form?.action + one.name : one;
  const all = [...document.querySelectorAll(can)].filter(one =>
    one.tabIndex >= 0 && !one.disabled && one.type !== 'hidden' && !one.closest('[inert]')
    && one.checkVisibility({ visibilityProperty: true }));
  // From the top, where the page has set the focus elsewhere.
  const top = document.body.insertBefore(document.createElement('button'), document.body.firstChild);
  top.focus();
  top.remove();
  window.toReach = new Map(all.map(one => [key(one), one]));
  window.reached = key;
}"""
# What has the focus: whether it can be seen, and whether it shows that it has it.
FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  window.toReach.delete(window.reached(one));
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  const framed = one.parentElement ? getComputedStyle(one.parentElement) : style;
  window.seen ??= [];
  if (!window.seen.includes(one)) window.seen.push(one);
  return {
    number: window.seen.indexOf(one),
    html: one.outerHTML.slice(0, 100),
    seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
    marked: [style, framed].some(it => it.outlineStyle !== 'none' && parseFloat(it.outlineWidth) >= 2),
  };
}"""
LEFT = "() => [...window.toReach.values()].map(one => one.outerHTML.slice(0, 100))"
# Far more than any page has; and more than a date has parts.
STEPS_MAX, STAYS_MAX = 600, 6


def walk(page: Any) -> list[str]:
    """Press Tab from the beginning of the page to its end; what is wrong on the way."""
    page.evaluate(REMEMBER)
    found, numbers = [], []
    for _ in range(STEPS_MAX):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        # Round again, or out of the page.
        if focused is None or (focused["number"] == 0 and len(set(numbers)) > 1):
            return [*found, *(f"never reached: {html}" for html in page.evaluate(LEFT))]
        numbers.append(focused["number"])
        if len(numbers) > STAYS_MAX and len(set(numbers[-STAYS_MAX:])) == 1:
            return [*found, f"no way out of: {focused['html']}"]
        found += [f"not {what}: {focused['html']}" for what in ("seen", "marked") if not focused[what]]
    return [*found, f"no end after {STEPS_MAX} steps"]


@pytest.mark.slow
@pytest.mark.parametrize("role", NAMES)
def test_every_page_is_walked_by_tab_and_shows_where_one_is(open_site, role):
    user = user_of(role)
    populate(user_of("admin"))
    site = open_site(user)
    faults = []

    for name, path in pages_of(user).items():
        site.open(path)
        site.page.wait_for_load_state("networkidle")
        faults += [f"{name}: {fault}" for fault in walk(site.page)]

    if faults:
        pytest.fail("\n".join(faults))


WRONG = """
  <style>* { outline: 0 } .marked:focus { outline: 2px solid }</style>
  <a href="#a" class="marked">good</a> <a href="#b">unmarked</a>
  <button class="marked" style="position: absolute; left: -9999px; top: -9999px">unseen</button>
  <button class="marked" onfocus="setTimeout(() => document.querySelector('#trap').focus())">skipped</button>
  <input id="trap" class="marked" onkeydown="event.preventDefault()"> <a href="#c" class="marked">after</a>
"""


@pytest.mark.slow
def test_the_walk_itself_finds_what_is_wrong(browser):
    page = browser.new_page()
    page.set_content(WRONG)

    said = [fault.partition(":")[0] for fault in walk(page)]

    assert said == ["not marked", "not seen", "no way out of"]
    page.close()


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
