"""A headless Chromium that remembers what a page complained of and asked for."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Pages:
    """Opens pages, one at a time."""

    def __init__(self, browser: Any, expect: Any):
        self.browser, self.expect, self.page = browser, expect, None  # expect waits until a claim holds, as a reader would
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(self, where: Path | str, width: int = 1280) -> Any:
        if self.page is not None:
            self.page.close()
        self.complaints, self.requests = [], []
        page = self.page = self.browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(20_000)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(where if isinstance(where, str) else where.as_uri())
        return page


def opened() -> Iterator[Pages]:
    """The browser; skips where there is none, unless the tests run on a server (CI), which then installs it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright: make install")
    path = _chromium()
    with playwright.sync_playwright() as started:
        sandbox = [] if os.name != "posix" or os.geteuid() else ["--no-sandbox"]  # which Chromium refuses to root
        browser = started.chromium.launch(executable_path=path, args=sandbox)
        yield Pages(browser, playwright.expect)
        browser.close()


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get("CI"):
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(
                [*root, "apt-get", "-qq", *command], check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            )
        found = shutil.which("chromium")
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(NAMES)}); Debian and Ubuntu: apt-get install chromium")
    return found
