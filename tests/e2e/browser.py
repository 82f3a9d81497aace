"""A Chromium of the system (``/usr/bin/chromium``, or ``CHROMIUM`` names another), for tests of pages.

What imports this is skipped where Playwright's Python package is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"

# Without these the browser looks up its maker's hosts at every start.
QUIET = ("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--autoplay-policy=no-user-gesture-required", *QUIET)

MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")

needs_chromium = pytest.mark.skipif(
    not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}: apt-get install chromium"
)


def findings(page: Page) -> list[str]:
    """Return what axe calls serious or critical on a page."""
    reason = "axe is not installed: pip install axe-playwright-python"
    pytest.importorskip("axe_playwright_python", reason=reason)
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html'][:200]}" for each in serious for node in each["nodes"]]


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Run the browser, with some flags more."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        yield browser
        browser.close()
