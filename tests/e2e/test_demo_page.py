"""The page that converts in the browser, in a real one, with a graph that does something simple.

Needs Playwright's Python package, a Chromium of the system (``/usr/bin/chromium``, or ``CHROMIUM`` names another), and
npm with what it needs to get onnxruntime-web. `benchmarks.demo_page` does the same with the shipped model.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from audiotrans.spectrogram.level import LevelMeter
from tests.e2e.browser import needs_chromium
from tests.unit.test_graph_runtime import FACTS, RATE, write_graph

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    needs_chromium,
]
DEMO = Path(__file__).resolve().parents[2] / "docs" / "demo"

LEVELS = """async ([channels, facts]) => {
    const { levels } = await import("./level.js");
    return Array.from(levels(channels.map((each) => Float32Array.from(each)), facts));
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("demo")
    spec = importlib.util.spec_from_file_location("demo_build", DEMO / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    try:
        runtime = build.fetch_runtime(root)
    except SystemExit as missing:
        pytest.skip(str(missing))
    build.copy_files(root / "site", runtime)
    write_graph(root / "site" / "half.onnx", FACTS.to_json())
    back = {"source": "piano", "to": "violin"}
    listed = [{"file": "half.onnx", **asdict(FACTS)}, {"file": "missing.onnx", **asdict(FACTS), **back}]
    (root / "site" / "graphs.json").write_text(json.dumps(listed))
    handler = functools.partial(Quiet, directory=str(root / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """Open the page; nothing may be asked for elsewhere, nor an error be said."""
    context = browser.new_context(viewport={"width": 900, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(site)
    opened.wait_for_selector("body[data-ready]")
    yield opened
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((site, f"blob:{site}", "data:"))] == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 45 s of stereo, two tiles, at the graph's own rate."""
    path = tmp_path_factory.mktemp("sounds") / "two tiles.wav"
    at = np.arange(45 * RATE) / RATE
    wave = 0.5 * np.sin(2 * np.pi * np.stack([300 * at, 441 * at])) * (0.6 + 0.4 * np.sin(at))
    soundfile.write(path, wave.T, RATE, subtype="FLOAT")
    return path


def test_a_file_is_converted_played_and_downloaded(page: Page, sound: Path, tmp_path: Path) -> None:
    assert page.locator("legend").inner_text() == "Direction"
    assert page.locator(".choice").all_inner_texts() == ["Violin to piano", "Piano to violin"]
    page.set_input_files("#file", sound)
    page.wait_for_selector("#result:not([hidden])", timeout=120_000)
    assert page.locator("#status").inner_text().startswith("Done: 45 s of sound in ")
    assert page.evaluate("document.activeElement.id") == "result-title"
    page.evaluate("document.getElementById('after').play()")
    page.wait_for_function("document.getElementById('after').currentTime > 0.2")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "two tiles.piano.wav"
    download.value.save_as(tmp_path / "out.wav")
    (found, rate), wanted = soundfile.read(tmp_path / "out.wav"), soundfile.read(sound)[0] / 2
    assert (rate, found.shape) == (RATE, wanted.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # 16 bits; no seam


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_levels_are_those_of_the_meter(page: Page, channels: int) -> None:
    rng = np.random.default_rng(channels)
    wave = (rng.normal(size=(channels, 20_001)) * 10 ** np.linspace(-4, 0, 20_001)).astype(np.float32)
    meter = LevelMeter(FACTS.n_fft, FACTS.hop_length, RATE)
    meter.update(wave)
    np.testing.assert_allclose(page.evaluate(LEVELS, [wave.tolist(), asdict(FACTS)]), meter.levels_db(), atol=1e-3)


def test_what_goes_wrong_is_one_line_and_the_page_goes_on(page: Page, sound: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    page.set_input_files("#file", tmp_path / "text.wav")
    page.wait_for_function("document.getElementById('problem').textContent.includes('text.wav is no sound')")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    page.set_input_files("#file", tmp_path / "silent.wav")
    page.wait_for_function("document.getElementById('problem').textContent.includes('silent.wav is silent')")
    page.get_by_label("Piano to violin").check()
    page.set_input_files("#file", sound)
    page.wait_for_function("document.getElementById('problem').textContent.startsWith('It could not be translated')")
    assert page.locator("#working").is_hidden()
    assert page.locator("#file").is_enabled()


def test_it_can_be_cancelled(page: Page, sound: Path) -> None:
    page.set_input_files("#file", sound)
    page.wait_for_selector("#working:not([hidden])")
    page.locator("#cancel").click()
    assert page.locator("#status").inner_text() == "Cancelled."
    assert page.locator("#working").is_hidden()
    page.wait_for_timeout(300)
    assert page.locator("#result").is_hidden()


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 600})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
