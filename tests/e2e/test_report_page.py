"""The listening page in a real browser: it plays, switches, draws, runs a blind test, and asks for nothing outside.

Needs Playwright's Python package and a Chromium of the system (``/usr/bin/chromium``, or ``CHROMIUM`` names another).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scipy.stats import binomtest

from audiotrans.evaluation.report import build_report
from audiotrans.evaluation.report.page import SCRIPTS
from tests.e2e.browser import needs_chromium
from tests.folders import evaluation_folder, evaluation_values

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


pytestmark = [
    pytest.mark.e2e,
    needs_chromium,
]


HUSHED = 0.001
"""Volume of what plays along unheard; muted, Chromium would let it drift."""

# All sounds play and lie within 20 ms, less than what is heard as a step.
IN_STEP = """() => {
    const used = window.sounds.filter((each) => each.hasAttribute("src"));
    const times = used.map((each) => each.currentTime);
    return used.every((each) => !each.paused) && Math.max(...times) - Math.min(...times) < 0.02;
}"""

SECONDS = 4.0
CLIPS = 3
NAMES = ("input", "zephyr-model", "copy", "truth")
KINDS = ("input", "system", "baseline", "truth")

# The page's players are in no document: remember them as they are made.
WATCH = """
window.sounds = [];
const Plain = window.Audio;
window.Audio = function (...given) { const made = new Plain(...given); window.sounds.push(made); return made; };
"""
STATES = """() => window.sounds.filter((each) => each.hasAttribute("src")).map(
    (each) => ({time: each.currentTime, paused: each.paused, volume: each.volume, src: each.src}))"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("listening")
    values = evaluation_values(CLIPS, tuple(zip(NAMES, KINDS, strict=True)))
    build_report([evaluation_folder(root / "in", values, SECONDS)], root / "page", progress=False)
    return root / "page"


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """Open the page; at the end nothing may have been asked for outside of it, and no error may have been said."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.add_init_script(WATCH)
    opened = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto((folder / "index.html").as_uri())
    yield opened
    context.close()
    assert said == []
    inside = folder.as_uri() + "/"
    assert [url for url in asked if not url.startswith((inside, f"blob:{inside}", "blob:null"))] == []


def sounding(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(STATES)
    return found


def heard(page: Page) -> dict[str, Any]:
    (one,) = [each for each in sounding(page) if each["volume"] > HUSHED]
    return one


def wait_for_time(page: Page, seconds: float) -> None:
    page.wait_for_function(
        "(least) => window.sounds.some((each) => !each.paused && each.volume > 0.001 && each.currentTime > least)",
        arg=seconds,
    )


def choose(page: Page, clip: int, take: int) -> None:
    page.locator(".clip").nth(clip).locator(".choose").nth(take).click()


def pressed(page: Page) -> list[str]:
    return page.locator("#transport .chip[aria-pressed=true]").all_inner_texts()


def test_a_click_on_a_name_plays_its_sound(page: Page) -> None:
    choose(page, 0, 1)
    wait_for_time(page, 0.3)
    first = heard(page)["time"]
    page.wait_for_timeout(300)
    assert heard(page)["time"] > first
    assert page.locator("#transport").is_visible()
    assert page.locator(".clip").nth(0).locator(".choose").nth(1).get_attribute("aria-pressed") == "true"
    assert float(page.locator("#transport input[type=range]").input_value()) > 0.3
    # The cursor stands in every spectrogram of the clip at the time that is heard.
    at = page.locator(".clip").first.evaluate("(clip) => parseFloat(clip.style.getPropertyValue('--at'))")
    assert at == pytest.approx(100 * heard(page)["time"] / SECONDS, abs=10)


def test_switching_keeps_the_position_and_all_takes_in_step(page: Page) -> None:
    choose(page, 0, 0)
    wait_for_time(page, 0.8)
    before = heard(page)
    choose(page, 0, 3)
    after = heard(page)
    assert after["src"] != before["src"]
    assert after["time"] >= before["time"] - 0.05
    assert after["time"] - before["time"] < 1.0  # a busy machine takes its time for the click; from the start it is not
    assert len(sounding(page)) == len(NAMES)
    # Takes start one after the other and are brought level while they are muted; how soon is up to a busy machine.
    page.keyboard.press("l")
    page.wait_for_function(IN_STEP)


def test_keys_choose_play_and_move(page: Page) -> None:
    choose(page, 0, 0)
    wait_for_time(page, 0.2)
    page.keyboard.press("3")
    assert pressed(page) == ["3\ncopy"] or pressed(page) == ["3copy"]
    page.keyboard.press(" ")  # the name that was clicked has the focus; space still means pause
    assert all(each["paused"] for each in sounding(page))
    at = heard(page)["time"]
    page.keyboard.press("ArrowRight")
    assert heard(page)["time"] == pytest.approx(at + 1.0, abs=0.05)
    page.keyboard.press("ArrowLeft")
    assert heard(page)["time"] == pytest.approx(at, abs=0.05)
    page.keyboard.press(" ")
    wait_for_time(page, at + 0.1)
    page.keyboard.press("n")
    assert page.locator("#transport .title").inner_text() == "01"
    assert "copy" in pressed(page)[0]  # the same system in the next clip
    page.keyboard.press("p")
    assert page.locator("#transport .title").inner_text() == "00"
    page.keyboard.press("l")
    assert page.get_by_role("button", name="Loop").get_attribute("aria-pressed") == "true"


def test_a_click_in_a_spectrogram_goes_there(page: Page) -> None:
    strip = page.locator(".clip").nth(1).locator(".strip").nth(2)
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box
    strip.click(position={"x": 0.6 * box["width"], "y": 10})
    wait_for_time(page, 0.6 * SECONDS)
    assert heard(page)["time"] < 0.6 * SECONDS + 1.0
    assert "copy" in pressed(page)[0]


def test_the_end_stops_and_a_loop_begins_again(page: Page) -> None:
    choose(page, 0, 1)
    slider = page.locator("#transport input[type=range]")
    slider.evaluate("(it, to) => { it.value = to; it.dispatchEvent(new Event('input')); }", SECONDS - 0.3)
    # At the end the button offers to play again; a busy machine may take a while to get there.
    page.get_by_role("button", name="Play", exact=True).wait_for(state="visible")
    assert page.evaluate("() => window.sounds.every((each) => each.paused)")
    page.keyboard.press("l")
    slider.evaluate("(it, to) => { it.value = to; it.dispatchEvent(new Event('input')); }", SECONDS - 0.3)
    page.keyboard.press(" ")
    page.wait_for_function(
        "() => window.sounds.some((each) => !each.paused && each.volume > 0.001 && each.currentTime < 1)"
    )


def test_every_moment_can_be_sought(page: Page) -> None:
    choose(page, 0, 1)
    page.keyboard.press(" ")
    slider = page.locator("#transport input[type=range]")
    for back in (0.5, 0.3, 0.2, 0.1, 0.05, 0.01, 0.3, 0.0, SECONDS, 0.3):
        slider.evaluate("(it, to) => { it.value = to; it.dispatchEvent(new Event('input')); }", SECONDS - back)
        page.wait_for_function("() => window.sounds.every((each) => !each.seeking)")
        assert page.evaluate("() => window.sounds.filter((each) => each.error).length") == 0
    assert page.locator("#transport .status").inner_text() == ""


def test_loudness_is_matched_unless_it_is_switched_off(page: Page, folder: Path) -> None:
    takes = json.loads((folder / "report.json").read_text(encoding="utf-8"))["directions"][0]["clips"][0]["takes"]
    gains = [take["gain"] for take in takes]
    assert min(gains) < -6.0  # the first system is the loudest by far
    assert max(gains) == 0.0
    for matched in (True, False):
        for take, gain in enumerate(gains):
            choose(page, 0, take)
            assert heard(page)["volume"] == pytest.approx(10 ** (gain / 20) if matched else 1.0, abs=1e-3)
        page.keyboard.press("m")


def test_every_spectrogram_is_drawn(page: Page) -> None:
    images = page.locator(".strip img")
    assert images.count() == CLIPS * len(NAMES)
    for at in range(images.count()):
        images.nth(at).scroll_into_view_if_needed()
        page.wait_for_function("(it) => it.complete && it.naturalWidth > 0", arg=images.nth(at).element_handle())


def test_opening_loads_no_sound(page: Page) -> None:
    page.wait_for_load_state()
    loaded = page.evaluate("() => performance.getEntriesByType('resource').map((each) => each.name)")
    assert not [name for name in loaded if "/sounds/" in name]
    assert sounding(page) == []


def test_scores_of_a_clip_open(page: Page) -> None:
    details = page.locator(".clip").nth(1).locator(".clip-scores")
    details.locator("summary").click()
    assert details.locator("tbody th").all_inner_texts() == list(NAMES)
    assert details.locator("td", has_text="0.800").count() == len(NAMES)


def start_blind(page: Page, question: str, systems: tuple[str, ...], trials: int) -> None:
    page.get_by_role("link", name="Blind test").click()
    form = page.locator("#blind-setup form")
    form.locator(f"input[value={question}]").check()
    for name in NAMES:
        form.get_by_label(name).set_checked(name in systems)
    form.get_by_label("Trials").fill(str(trials))
    form.get_by_role("button", name="Start").click()


def hear_all(page: Page, takes: int) -> None:
    for take in range(takes):
        page.keyboard.press(str(take + 1))
    page.wait_for_selector(".answer:enabled")


def test_a_blind_test_hides_counts_and_keeps(page: Page, folder: Path, tmp_path: Path) -> None:
    start_blind(page, "preference", ("zephyr-model", "truth"), 6)
    assert page.locator(".question").inner_text() == "Which sounds more like a real piano?"
    assert not page.locator(".answer").first.is_enabled()  # nothing has been heard yet
    for trial in range(6):
        assert page.locator(".trial h2").inner_text() == f"Trial {trial + 1} of 6"
        hear_all(page, 2)
        everything = page.content() + page.title() + page.url.removeprefix(folder.as_uri())
        everything += " ".join(each["src"].removeprefix(folder.as_uri()) for each in sounding(page))
        assert [name for name in ("zephyr", "truth", "toy", "violin") if name in everything] == []
        if trial < 3:
            page.keyboard.press("a")
        else:
            page.get_by_role("button", name="B sounds more like it").click()
    result = page.locator("main.result")
    assert "6 answers, loudness matched" in result.inner_text()
    with page.expect_download() as download:
        result.get_by_role("button", name="Save as JSON").click()
    session = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    check_session(session)
    assert f"p = {session['result']['pairs'][0]['p']:.3f}" in result.inner_text()
    with page.expect_download() as download:
        result.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert [row["chosen"] for row in rows] == [trial[trial["answer"]] for trial in session["trials"]]
    result.get_by_role("button", name="Back to the report").click()
    assert page.title() == "Evaluation of toy"
    page.reload()
    page.get_by_role("link", name="Blind test").click()
    assert "6 of 6 trials" in page.locator(".earlier li").inner_text()


def check_session(session: dict[str, Any]) -> None:
    """Count the answers again, and test them with another implementation."""
    trials = session["trials"]
    assert [trial["answer"] for trial in trials] == ["a"] * 3 + ["b"] * 3
    assert all({trial["a"], trial["b"]} == {"zephyr-model", "truth"} for trial in trials)
    assert sorted(trial["clip"] for trial in trials) == ["00", "00", "01", "01", "02", "02"]  # every clip equally often
    (pair,) = session["result"]["pairs"]
    chosen = sum(trial[trial["answer"]] == pair["one"] for trial in trials)
    truth = binomtest(chosen, 6)
    assert (pair["chosen"], pair["n"]) == (chosen, 6)
    assert pair["p"] == pytest.approx(truth.pvalue, abs=1e-9)
    assert pair["interval"] == pytest.approx(tuple(truth.proportion_ci(method="exact")), abs=1e-9)


def test_abx_counts_what_is_right(page: Page) -> None:
    start_blind(page, "abx", ("copy", "truth"), 4)
    right = 0
    for _ in range(4):
        assert page.locator(".trial .chip").count() == 3
        hear_all(page, 3)
        # A listener with perfect ears: the files are the same where the sounds are.
        a, _b, x = (each["src"] for each in sounding(page))
        right += 1
        page.keyboard.press("a" if x == a else "b")
    text = page.locator("main.result").inner_text()
    assert f"{right} of 4 right (100 %)" in text
    assert "p = 0.063" in text  # 1/16


def test_a_session_that_is_stopped_says_so(page: Page) -> None:
    start_blind(page, "preference", ("copy", "truth"), 5)
    hear_all(page, 2)
    page.keyboard.press("a")
    page.get_by_role("button", name="Stop here").click()
    assert "Stopped after 1 of 5 trials" in page.locator("main.result").inner_text()


def test_statistics_agree_with_scipy(page: Page) -> None:
    parts = Path(build_report.__code__.co_filename).parent / "assets"
    assert "statistics.js" in SCRIPTS
    source = (parts / "statistics.js").read_text(encoding="utf-8")
    cases = [[0, 1], [5, 5], [3, 12], [17, 20], [60, 100], [399, 400]]
    ask = "(k, n) => [binomialTwoSided(k, n), binomialUpper(k, n), ...exactInterval(k, n)]"
    found = page.evaluate(f"(cases) => {{ {source}; return cases.map(([k, n]) => ({ask})(k, n)); }}", cases)
    for (k, n), (two_sided, upper, *interval) in zip(cases, found, strict=True):
        assert two_sided == pytest.approx(binomtest(k, n).pvalue, rel=1e-9)
        assert upper == pytest.approx(binomtest(k, n, alternative="greater").pvalue, rel=1e-9)
        assert interval == pytest.approx(tuple(binomtest(k, n).proportion_ci(method="exact")), abs=1e-9)
    assert page.evaluate(f"() => {{ {source}; return holm([0.01, 0.04, 0.03]); }}") == pytest.approx([0.03, 0.06, 0.06])


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, folder: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    opened = context.new_page()
    opened.goto((folder / "index.html").as_uri())
    choose(opened, 0, 1)
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 360
    dark = opened.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert all(int(part) < 60 for part in dark.removeprefix("rgb(").removesuffix(")").split(","))
    context.close()


def test_without_javascript_there_are_players(browser: Browser, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((folder / "index.html").as_uri())
    assert opened.locator("audio[controls]").count() == CLIPS * len(NAMES)
    assert opened.locator("audio[controls]").first.is_visible()
    assert not opened.locator("#blind-setup").is_visible()
    context.close()
