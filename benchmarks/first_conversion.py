"""From a clone to a conversion that is heard: ``python -m benchmarks.first_conversion``.

Clones this repository into an empty folder, runs `make serve` there, which makes its own environment, and uses the page
in Chromium as its first user does: upload, Convert, play. Says how long each part took. Packages come from pip's index.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.browser import chromium
from tests.e2e.test_serve_page import PLAYED

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1_800_000  # ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep-cache", action="store_true", help="take packages that pip has from before")
    kept = parser.parse_args().keep_cache
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "audiotrans"
        began = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)  # noqa: S607
        print(f"{time.perf_counter() - began:4.0f} s: cloned")
        settings = dict(os.environ) | {"BROWSER": "true"} | ({} if kept else {"PIP_NO_CACHE_DIR": "1"})
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            settings.pop(name, None)
        process = subprocess.Popen(
            ["make", "serve"],  # noqa: S607
            cwd=clone, env=settings, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            address = served_at(process)
            print(f"{time.perf_counter() - began:4.0f} s: installed, the page is there")
            use(address, clone / "data" / "violin.wav", began)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def served_at(process: subprocess.Popen[str]) -> str:
    """Return the page's address, when the server says it."""
    for line in process.stdout or ():
        if found := re.search(r"The page is at (\S+)", line):
            return found[1]
    raise SystemExit("make serve ended without a page")


def use(address: str, sound: Path, began: float) -> None:
    """Convert and play a sound."""
    with chromium() as browser:
        page: Any = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.get_by_role("button", name="Convert", exact=True).wait_for()
        print(f"{time.perf_counter() - began:4.0f} s: shown in the browser")
        page.locator("#files input[type=file]").set_input_files(sound)
        page.locator("#files").get_by_text(sound.stem).first.wait_for()
        page.get_by_role("button", name="Convert", exact=True).click()
        page.locator("translation-player figure").first.wait_for()
        print(f"{time.perf_counter() - began:4.0f} s: converted")
        page.locator("translation-player .play").click()
        page.wait_for_function(PLAYED, arg=1.0)
        print(f"{time.perf_counter() - began:4.0f} s: heard for a second")


if __name__ == "__main__":
    main()
