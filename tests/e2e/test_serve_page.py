"""``audiotrans serve`` as people and programs use it: in a real browser, by keyboard alone, eight at once, by its API.

Needs gradio, Playwright's Python package and a Chromium of the system, as tests/e2e/test_report_page.py does.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from audiotrans.audio import probe, read
from tests.e2e.browser import findings, needs_chromium
from tests.e2e.conftest import served
from tests.folders import write_tone

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install '.[web]'")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    needs_chromium,
]

SECONDS = 8.0
PATIENCE = 120_000  # ms; a busy machine takes its time

PLAYED = """(least) => {
    const player = document.querySelector('translation-player').player;
    return player.playing && player.position > least;
}"""


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    example = write_tone(tmp_path_factory.mktemp("example") / "tone.wav", seconds=SECONDS)
    with served("--model", str(model), "--minutes", "4", "--example", str(example)) as (found, _):
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page, as `looked_at` does."""
    with looked_at(browser, address, viewport={"width": 1280, "height": 900}) as found:
        yield found


@contextmanager
def looked_at(browser: Browser, address: str, **kind: Any) -> Iterator[Page]:
    """Open the page; at the end nothing may have been asked for outside of it, and no error may have been said."""
    context = browser.new_context(accept_downloads=True, **kind)
    asked: list[str] = []
    said: list[str] = []
    yield opened(context, address, asked, said)
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((address, f"blob:{address}", "data:"))] == []


def opened(
    context: BrowserContext, address: str, asked: list[str] | None = None, said: list[str] | None = None
) -> Page:
    asked, said = [] if asked is None else asked, [] if said is None else said
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    button(page, "Convert").wait_for()
    return page


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def upload(page: Page, *paths: Path) -> None:
    page.locator("#files input[type=file]").set_input_files(list(paths))
    for path in paths:
        page.locator("#files").get_by_text(path.stem).first.wait_for()


def converted(page: Page) -> Any:
    button(page, "Convert").click()
    player = page.locator("translation-player")
    player.locator("figure").first.wait_for()
    return player


def downloaded(page: Page) -> Path:
    with page.expect_download() as download:
        page.locator("#download").click()
    kept = Path(download.value.path())
    return kept.rename(kept.with_name(f"{kept.name}-{download.value.suggested_filename}"))


def test_upload_convert_play_switch_download(page: Page, tmp_path: Path) -> None:
    source = write_tone(tmp_path / "a.flac", seconds=SECONDS)
    upload(page, source)
    player = converted(page)
    assert player.locator("figcaption").all_inner_texts() == ["Before violin", "After piano"]
    player.locator(".play").click()
    page.wait_for_function(PLAYED, arg=0.3)
    page.keyboard.press("1")
    assert player.locator(".chip[aria-pressed=true]").inner_text().endswith("violin")
    page.wait_for_function(PLAYED, arg=0.4)
    assert player.locator(".toggle", has_text="Match loudness").get_attribute("aria-pressed") == "true"
    for image in player.locator(".strip img").all():
        page.wait_for_function("(it) => it.complete && it.naturalWidth > 0", arg=image.element_handle())
    own = downloaded(page)
    assert own.name.endswith("a.piano.flac")
    assert probe(own).frames == probe(source).frames
    page.get_by_label("WAV").check()
    page.wait_for_function("() => document.querySelector('#download').innerHTML")
    page.wait_for_timeout(500)
    wav = downloaded(page)
    assert wav.suffix == ".wav"
    assert np.abs(read(wav)[0] - read(own)[0]).max() <= 2**-15
    page.get_by_role("radio", name="piano → violin").check()
    button(page, "Convert").click()  # the next result takes the place of the first
    player.locator("figcaption", has_text="After violin").wait_for()
    assert downloaded(page).name.endswith("a.violin.flac")


def test_record_and_convert(page: Page) -> None:
    page.locator("#record").get_by_role("button", name="Record").first.click()
    microphone = page.locator("#microphone")
    microphone.get_by_role("button", name="Record").click()
    page.wait_for_timeout(1500)
    microphone.get_by_role("button", name="Stop").first.click()
    page.locator("#files").get_by_text(".wav").first.wait_for()
    player = converted(page)
    seconds = page.evaluate("() => document.querySelector('translation-player').player.seconds")
    assert seconds > 0.5
    assert player.locator(".take").count() == 2


def test_cancel(page: Page, tmp_path: Path) -> None:
    upload(page, write_tone(tmp_path / "long.wav", seconds=200.0))
    button(page, "Convert").click()
    page.locator("#notes").get_by_text(re.compile(r"long\.wav, .* left")).wait_for()
    button(page, "Cancel").click()
    page.locator("#notes .note", has_text="Cancelled.").wait_for()
    assert page.locator("translation-player").count() == 0
    button(page, "Try tone").click()
    page.locator("#files").get_by_text("tone").first.wait_for()
    assert converted(page).locator(".take").count() == 2


def test_several_files_an_evil_one_and_none(page: Page, tmp_path: Path) -> None:
    button(page, "Convert").click()
    page.locator("#notes .error", has_text="there is nothing to convert yet").wait_for()
    evil = tmp_path / "<img src=x onerror=alert(1)>.wav"
    evil.write_bytes(b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(range(256)))
    upload_names = [evil, write_tone(tmp_path / "one.wav"), write_tone(tmp_path / "two.wav", 300.0)]
    page.locator("#files input[type=file]").set_input_files(upload_names)
    page.locator("#files").get_by_text("two").first.wait_for()
    player = converted(page)
    assert page.locator("#notes .error").count() == 1
    assert page.locator("img[src=x]").count() == 0
    assert player.get_by_label("Listen to").locator("option").all_inner_texts() == ["one.wav", "two.wav"]
    player.get_by_label("Listen to").select_option("two.wav")
    assert "two.wav" in str(player.locator(".strip img").first.get_attribute("alt"))
    assert downloaded(page).suffix == ".zip"


def test_the_keyboard_is_enough(page: Page) -> None:
    press_on(page, "Try tone")
    page.locator("#files").get_by_text("tone").first.wait_for()
    press_on(page, "Convert")
    player = page.locator("translation-player")
    player.locator(".take").first.wait_for()
    press_on(page, "Play")
    page.wait_for_function(PLAYED, arg=0.2)
    page.keyboard.press("1")
    assert player.locator(".chip[aria-pressed=true]").inner_text().endswith("violin")
    press_on(page, "Download", press=False)


def press_on(page: Page, name: str, *, press: bool = True) -> None:
    """Walk to a button by Tab alone, see that it shows its focus, and press it."""
    focused = """() => {
        let at = document.activeElement;
        while (at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement;
        return at.getAttribute('aria-label') || at.innerText;
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(focused).strip() == name:
            break
    else:
        pytest.fail(f"Tab never comes to {name}")
    if press:
        page.keyboard.press("Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_a_phone_needs_no_sideways_scrolling(
    browser: Browser, address: str, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = opened(context, address)
    faults = findings(page)
    button(page, "Try tone").click()
    page.locator("#files").get_by_text("tone").first.wait_for()
    converted(page)
    for name in ("More", "Record"):
        page.get_by_role("button", name=name).first.click()
    page.get_by_label("Articulation").first.wait_for()
    faults += findings(page)
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    brightness = [int(part) for part in re.findall(r"\d+", background)[:3]]
    assert all(part < 60 for part in brightness) if scheme == "dark" else all(part > 200 for part in brightness)
    page.set_viewport_size({"width": 360, "height": 740})  # a phone
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    context.close()
    assert faults == []


def test_photos_are_chosen_converted_seen_and_downloaded(browser: Browser, photo_model: Path, tmp_path: Path) -> None:
    names = ("me.jpg", "wide.png")
    for name, size in zip(names, ((60, 80), (90, 40)), strict=True):
        Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 9).convert("RGB").save(tmp_path / name)
    narrow = {"width": 360, "height": 740}
    with served("--model", str(photo_model)) as (address, _), looked_at(browser, address, viewport=narrow) as page:
        button(page, "Convert").click()
        page.locator("#notes .error", has_text="choose a photo first").wait_for()
        assert not page.locator("#record").is_visible()
        upload(page, tmp_path / "me.jpg")
        player = converted(page)
        assert player.locator("figcaption").all_inner_texts() == ["Before blond", "After brown"]
        for image in player.locator("figure img").all():
            page.wait_for_function("(it) => it.complete && it.naturalWidth == 60", arg=image.element_handle())
        assert page.evaluate("() => document.documentElement.scrollWidth") <= narrow["width"]
        assert findings(page) == []
        result = downloaded(page)
        assert result.name.endswith("me.brown.jpg")
        with Image.open(result) as made, Image.open(tmp_path / "me.jpg") as given:
            assert (made.format, made.size) == ("JPEG", given.size)
            assert np.abs(np.asarray(made, float) - np.asarray(given, float)).mean() > 1
        page.get_by_role("radio", name="brown → blond").check()
        page.locator("#files").get_by_role("button", name="Clear").click()
        upload(page, *(tmp_path / name for name in names))
        button(page, "Convert").click()
        player.get_by_label("Look at").select_option("wide.png")
        assert player.locator("figcaption").all_inner_texts() == ["Before brown", "After blond"]
        with zipfile.ZipFile(downloaded(page)) as packed:
            assert sorted(packed.namelist()) == ["me.blond.jpg", "wide.blond.png"]


def test_several_at_once_each_get_their_own(browser: Browser, address: str, tmp_path: Path) -> None:
    pages, lengths = [], []
    for at in range(3):
        source = write_tone(tmp_path / f"user{at}.wav", 200.0 + 50 * at, 0.5 + 0.1 * at)
        lengths.append(probe(source).frames)
        pages.append(opened(browser.new_context(accept_downloads=True), address))
        upload(pages[-1], source)
    for page in pages:
        button(page, "Convert").click()
    found = []
    for at, page in enumerate(pages):
        page.locator("translation-player .take").first.wait_for()
        result = downloaded(page)
        assert result.name.endswith(f"user{at}.piano.wav")
        found.append(probe(result).frames)
        page.context.close()
    assert found == lengths


def test_programs_convert_through_the_api(address: str, tmp_path: Path) -> None:
    client = gradio_client.Client(address, verbose=False, download_files=tmp_path, analytics_enabled=False)
    source = write_tone(tmp_path / "a.flac")
    file = gradio_client.handle_file(source)
    result, notes = client.predict([file], "piano", api_name="/convert")
    assert probe(result).frames == probe(source).frames
    assert result.endswith(".piano.flac")
    assert isinstance(notes, list)
    result, _ = client.predict([file], "piano", strength=0, sound_format="wav", api_name="/convert")
    assert np.abs(read(result)[0] - read(source)[0]).max() <= 2**-15
    for wrong in ({"strength": 101}, {"to": "c"}, {"model": "none"}, {"options": {"sed": 1}}, {"sound_format": "exe"}):
        with pytest.raises(gradio_client.exceptions.AppError) as refused:
            client.predict(**({"files": [file], "to": "piano"} | wrong), api_name="/convert")
        assert "\n" not in str(refused.value)
