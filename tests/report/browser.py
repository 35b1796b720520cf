"""A real browser for the tests of the page: headless Chromium, which notes what goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS = "no Chromium here; apt-get install chromium"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip(NEEDS)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page in a window of its own.

    Attributes:
        page: Playwright's.
        complaints: console messages that are more than information, and errors.
        requests: addresses that were asked for, but for those that begin as the page's own.
    """

    def __init__(self, browser: Any, url: str, width: int = 1280, dark: bool = False, calm: bool = False) -> None:
        scheme, motion = "dark" if dark else "light", "reduce" if calm else "no-preference"
        self._context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion
        )
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: said.type in ("warning", "error") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        own = (url.split("#")[0].split("?")[0].rsplit("/", 1)[0], "data:", "blob:")
        self.page.on("request", lambda asked: asked.url.startswith(own) or self.requests.append(asked.url))
        self.page.goto(url)
        self.page.locator("#sections section:visible, #run h1:visible").first.wait_for(timeout=60_000)

    def draw(self) -> int:
        """Scroll through the page, so that every figure is drawn; returns how many there are."""
        plots = self.page.locator(".plot:visible")
        for number in range(plots.count()):
            plots.nth(number).scroll_into_view_if_needed()
            self.page.locator(f".plot:visible >> nth={number}").locator("svg, p").first.wait_for(timeout=60_000)
        return plots.count()

    def close(self) -> None:
        """Close the window, and say what went wrong in it."""
        self._context.close()
        assert not self.complaints, self.complaints
        assert not self.requests, self.requests


def violations(page: Any) -> list[str]:
    """What axe-core finds that keeps people out: serious and critical findings."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core looks for barriers")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:160]} ({len(each['nodes'])} times)"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
