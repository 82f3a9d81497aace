"""The documentation site as `make docs` builds it, in a real browser: nothing on it shuts anybody out."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.browser import findings, needs_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SITE = Path(__file__).resolve().parents[2] / "site"
SOURCES = ("LICENSE", "data/LICENSES.txt", "recipes/violin_piano.yaml", "audiotrans/errors.py")
BUILT = sorted(page.relative_to(SITE) for page in SITE.rglob("*.html"))
PAGES = [
    *(str(page) for page in BUILT if page.parts[0] != "source"),
    *(f"source/{name}.html" for name in SOURCES),  # pages of source files differ by their language alone
]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docs,
    needs_chromium,
    pytest.mark.skipif(not SITE.exists(), reason="there is no site: make docs builds it"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("scheme", "pages"),
    [("light", PAGES), ("dark", ["index.html", "training.html", "api.html", "phase_benchmark.html", "tour.html"])],
    ids=["light", "dark"],
)
def test_axe_finds_nothing_serious(browser: Browser, address: str, scheme: str, pages: list[str]) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    found = []
    for name in pages:
        page.goto(f"{address}/{name}", wait_until="load")
        found += [f"{name}: {fault}" for fault in findings(page)]
    context.close()
    assert found == []
