"""The demo page with the shipped model in Chromium: ``python -m benchmarks.demo_page SITE [SOUND]``.

SITE is what ``docs/demo/build.py`` built. The sound that is downloaded from the page is compared with that of `convert`
without vibrato, and screenshots are written beside it.
"""

from __future__ import annotations

import argparse
import functools
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

from audiotrans import audio, load
from audiotrans.evaluation.metrics.spectral import snr_db
from tests.e2e.browser import chromium
from tests.e2e.test_demo_page import Quiet

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("sound", type=Path, nargs="?", default=ROOT / "data" / "violin.wav")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo_page"))
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(chosen.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium() as browser:
        for scheme, width in (("light", 900), ("dark", 390)):
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_selector("body[data-ready]")
            page.screenshot(path=chosen.output / f"{scheme}_before.png", full_page=True)
            began = time.perf_counter()
            page.set_input_files("#file", chosen.sound)
            page.wait_for_function("document.querySelector('#bar').value > 0", timeout=600_000)
            page.screenshot(path=chosen.output / f"{scheme}_while.png", full_page=True)
            page.wait_for_selector("#result:not([hidden])", timeout=600_000)
            print(
                f"{page.locator('#status').inner_text()} {time.perf_counter() - began:.1f} s with the model's loading"
            )
            page.screenshot(path=chosen.output / f"{scheme}_after.png", full_page=True)
            with page.expect_download() as download:
                page.locator("#download").click()
            download.value.save_as(chosen.output / "out.wav")
            page.close()
    server.shutdown()
    wave, rate = audio.read(chosen.sound)
    wanted = load(device="cpu").convert(wave, rate, to="piano", vibrato=0.0, remove_vibrato=0.0)
    print(f"against convert: {snr_db(wanted, audio.read(chosen.output / 'out.wav')[0]):.1f} dB SNR")


if __name__ == "__main__":
    main()
