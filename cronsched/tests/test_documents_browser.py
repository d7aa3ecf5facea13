"""Swagger UI and ReDoc in a real browser: they show the calls, and ask no other host for anything."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.mark.parametrize(
    ("page_path", "operation"),
    [("/docs", "#operations-auth-auth_login"), ("/redoc", "h2:has-text('Login form')")],
)
def test_the_page_shows_the_calls_and_asks_nobody_else(
    live_server: Any, chromium_path: str, monkeypatch: pytest.MonkeyPatch, page_path: str, operation: str
) -> None:
    # Playwright runs an event loop in this thread, beside which Django refuses its database.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    asked: list[str] = []
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(live_server.url + page_path)
        expect(page.locator(operation)).to_be_visible(timeout=20_000)
        browser.close()

    assert [url for url in asked if not url.removeprefix("blob:").startswith(live_server.url)] == []
    assert faults == []
