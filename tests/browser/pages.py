"""A page of the site in Chromium that keeps account of its faults: what every browser test stands on.

Tests ask for `open_site` or `as_admin`, `as_user`, `as_viewer` (conftest.py) and get a `Site`,
whose `page` is Playwright's; whatever it complains of or asks another host for fails the test at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from django.urls import reverse
from playwright.sync_api import Page

from accounts.tests.factories import PASSWORD

Look = tuple[dict[str, int], str, Iterable[str]]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# axe-core's names for the rules of WCAG 2.1, levels A and AA.
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
CONTRAST = ("color-contrast",)
# Size, colours, and the rules to look for where the others were looked for in another look.
ALL_LOOKS: tuple[Look, ...] = (
    (DESKTOP, "light", ()),
    (DESKTOP, "dark", CONTRAST),
    (PHONE, "dark", ()),
    (PHONE, "light", CONTRAST),
)
SHORT_LOOKS: tuple[Look, ...] = ((DESKTOP, "light", ()), (PHONE, "dark", ()))
# Unfold looks at the browser's own colours only when a page is loaded.
SWITCH_THEME = """async colours => {
  const root = document.documentElement;
  if (root.hasAttribute('x-data')) Alpine.$data(root).switchTheme(colours);
  await new Promise(shown => requestAnimationFrame(() => requestAnimationFrame(shown)));
  await Promise.allSettled(document.getAnimations().map(one => one.finished));
}"""
FAILED_TO_LOAD = "Failed to load resource: the server responded with a status of "


class Site:
    """One browser window on the site, with all that it complained of."""

    def __init__(self, page: Page, base: str, user: Any = None) -> None:
        self.page, self.base, self.user = page, base, user
        self.complaints: list[str] = []
        self._expected: set[int] = set()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("request", self._request)
        page.on("response", self._response)

    # ---- going places --------------------------------------------------------------------------

    def go(self, name: str, *args: Any, query: str = "") -> None:
        """Open a page by the admin site's name for it: "jobs_job_changelist"."""
        self.open(reverse(f"admin:{name}", args=args) + query)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path, wait_until="load")

    def sign_in(self, username: str, password: str = PASSWORD) -> None:
        """By the form, as a person does; `open_site` has signed in already."""
        self.go("login")
        self.page.locator("#id_username").fill(username)
        self.page.locator("#id_password").fill(password)
        self.page.locator("#login-form [type=submit]").click()
        self.page.wait_for_url(self.base + reverse("admin:index"))

    def expect_status(self, *statuses: int) -> None:
        """From here on these answers are meant, as a refusal may be."""
        self._expected |= set(statuses)

    def look(self, *, viewport: dict[str, int] | None = None, colours: str | None = None) -> None:
        """Change the size of the window, or its colours ("light", "dark"), on the page that is open."""
        if viewport:
            self.page.set_viewport_size(viewport)  # type: ignore[arg-type]
        if colours:
            self.page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
            self.page.evaluate(SWITCH_THEME, colours)

    # ---- what is wrong with it -----------------------------------------------------------------

    def faults(self, rules: Iterable[str] = ()) -> list[str]:
        """What axe finds (all of WCAG, or only `rules`), and whether the page scrolls sideways."""
        return [*self.axe(rules), *self.width()]

    def faults_in(self, looks: Iterable[Look], *, of: str) -> list[str]:
        """The faults of the page that is open in each of these looks, under the name of the page."""
        found: list[str] = []
        for viewport, colours, rules in looks:
            self.look(viewport=viewport, colours=colours)
            found += [f"{of}, {viewport['width']} {colours}: {text}" for text in self.faults(rules)]
        return found

    def axe(self, rules: Iterable[str] = ()) -> list[str]:
        run_only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": WCAG}
        self.page.evaluate(f"() => {{ if (!window.axe) {{ {AXE_SCRIPT} }} }}")
        found = self.page.evaluate(
            "options => axe.run(options)", {"runOnly": run_only, "resultTypes": ["violations"]}
        )
        return [
            f"{violation['id']}: {' '.join(map(str, node['target']))} | {_first(node)}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def width(self) -> list[str]:
        """What reaches beyond the window's right edge, where the page as a whole scrolls sideways."""
        wide = self.page.evaluate(
            """() => {
              const edge = window.innerWidth;
              if (document.documentElement.scrollWidth <= edge) return null;
              return [...document.querySelectorAll('body *')]
                .filter(one => one.getBoundingClientRect().right > edge + 1)
                .slice(0, 3).map(one => one.outerHTML.slice(0, 120));
            }"""
        )
        return [f"wider than the window: {wide}"] if wide is not None else []

    # ---- what the browser tells ----------------------------------------------------------------

    def _console(self, message: Any) -> None:
        is_expected = any(f"{FAILED_TO_LOAD}{status}" in message.text for status in self._expected)
        if message.type in ("error", "warning") and not is_expected:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.complaints.append(f"another host: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and response.status not in self._expected:
            self.complaints.append(f"{response.status}: {response.url}")


def _first(node: Any) -> str:
    """axe's first sentence about a node; with the colours, where it is about those."""
    checks = [*node["any"], *node["all"], *node["none"]]
    return str(checks[0]["message"]) if checks else ""
