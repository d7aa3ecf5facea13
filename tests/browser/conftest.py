"""Chromium, and windows on the running site for each role. A test that uses them is marked `browser`.

The server is Django's, in threads, on the file database of the tests; scripts, styles and the
Content-Security-Policy are the product's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, sync_playwright

from accounts.models import User
from accounts.roles import Role
from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_admin import BACKEND
from tests.browser.pages import DESKTOP, Site

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = {Role.ADMIN: "ada_admin", Role.USER: "uma_user", Role.VIEWER: "vera_viewer"}
OpenSite = Callable[..., Site]


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """One for a module: Playwright's event loop must not outlive it, other tests start their own."""
    with pytest.MonkeyPatch.context() as patch:
        # Playwright runs an event loop in this thread, beside which Django refuses its database.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
            yield browser
            browser.close()


@pytest.fixture
def open_site(browser: Browser, live_server: Any, transactional_db: None) -> Iterator[OpenSite]:
    """`open_site("admin")`: a window signed in as that role or user; None signs nobody in.

    Options: `viewport`, `colours` ("light", "dark"), `locale` and `zone` of the browser. At the end no
    window may have complained. Motion is reduced, so that colours are looked at when they are there.
    """
    windows: list[tuple[Site, Any]] = []

    def open_site(
        who: User | str | None = None,
        *,
        viewport: dict[str, int] = DESKTOP,
        colours: str = "light",
        locale: str = "en-GB",
        zone: str | None = None,
    ) -> Site:
        context = browser.new_context(
            viewport=viewport,  # type: ignore[arg-type]
            color_scheme=colours,  # type: ignore[arg-type]
            locale=locale,
            timezone_id=zone,
            reduced_motion="reduce",
        )
        user = user_of(who) if isinstance(who, str) else who
        if user is not None:
            context.add_cookies([_session(user, live_server.url)])
        site = Site(context.new_page(), live_server.url, user)
        windows.append((site, context))
        return site

    yield open_site
    for _site, context in windows:
        context.close()
    assert [text for site, _context in windows for text in site.complaints] == []


@pytest.fixture
def as_admin(open_site: OpenSite) -> Site:
    return open_site("admin")


@pytest.fixture
def as_user(open_site: OpenSite) -> Site:
    return open_site("user")


@pytest.fixture
def as_viewer(open_site: OpenSite) -> Site:
    return open_site("viewer")


def user_of(role: str) -> User:
    """The one user of this role whom these windows share; the same as `an_admin`, `a_user`, `a_viewer`."""
    name = NAMES[Role(role)]
    return User.objects.filter(username=name).first() or UserFactory(username=name, role=role)


def _session(user: User, base: str) -> Any:
    client = Client()
    client.force_login(user, backend=BACKEND)
    name = settings.SESSION_COOKIE_NAME
    return {"name": name, "value": client.cookies[name].value, "url": base}
