"""Debian's Chromium, headless, in a namespace of a lab: it reaches what that does, and no more.

Playwright drives it through a pipe, which leads into the namespace. All that it writes is in the
lab's directory, and it ends when this process does, however that ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from tests.support.lab import Lab

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium(lab: Lab, namespace: str = "gw") -> Iterator[Browser]:
    """A browser in that namespace."""
    program = shutil.which("chromium")
    assert program is not None, "not installed: chromium; `make setup` does that"
    start = lab.dir / "chromium"
    inside = f"exec ip netns exec {lab.namespace(namespace)} {program}"
    start.write_text(f'#!/bin/sh\n{inside} "$@"\n')
    start.chmod(0o755)
    home = {**os.environ, "HOME": str(lab.dir), "TMPDIR": str(lab.dir)}
    with mock.patch.dict(os.environ, home), sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=start,
            # root has no sandbox of Chromium's; there is nothing to be kept from in there
            args=["--no-sandbox", "--disable-gpu"],
            env={**home},
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and all that it says on its console and asks for; `clean` judges it."""

    def __init__(self, browser: Browser, base: str, **options: Any) -> None:
        options.setdefault("viewport", WIDE)
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self._context.new_page()
        self.base = base
        self.console: list[str] = []
        self.errors: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", lambda said: self.console.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def open(self, path: str = "/") -> Page:
        """Go there."""
        self.page.goto(self.base + path)
        return self.page

    def clean(self, *expected: str) -> None:
        """No error of the page's own, nothing on the console but what is expected, and no request
        to anybody else."""
        assert self.errors == []
        odd = [line for line in self.console if not any(part in line for part in expected)]
        assert odd == []
        strangers = [each.url for each in self.requests if not each.url.startswith(self.base + "/")]
        assert [url for url in strangers if not url.startswith("data:")] == []

    def close(self) -> None:
        self._context.close()


@contextmanager
def watched(browser: Browser, base: str, **options: Any) -> Iterator[Watched]:
    """A page of its own, closed in the end."""
    page = Watched(browser, base, **options)
    try:
        yield page
    finally:
        page.close()


def shot(page: Page, directory: Path, name: str, *, whole: bool = True) -> Path:
    """A picture of the page, to be looked at."""
    path = directory / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path


def rewritten(lab: Lab, page: Page, pattern: str, change: Callable[[Any], Any]) -> None:
    """Have what the API answers there changed on its way to the page."""

    def answer(route: Route) -> None:
        path = "/" + route.request.url.split("/", 3)[3]
        route.fulfill(json=change(lab.http("GET", path).json()))

    page.route(pattern, answer)
