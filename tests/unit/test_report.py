"""The listening page's folder: what it holds, what it refuses, and that no text of a user becomes markup."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from pyloudnorm import Meter

from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.report import build_report
from audiotrans.evaluation.report.folders import read_source
from audiotrans.evaluation.report.page import environment
from audiotrans.evaluation.report.sounds import K_WEIGHTING, loudness_lufs, matching_gains, write_sound
from tests.folders import (
    RATE,
    cycle_folder,
    evaluation_folder,
    evaluation_values,
    run_folder,
    write_json,
    write_tone,
)

NASTY = "\"><img src=x onerror=alert(1)><b>&amp;'"


class Links(HTMLParser):
    """Collects what a document refers to, and its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.places += [value for name, value in attrs if name in ("src", "href") and value]


def build(source: Path, output: Path, **options: object) -> str:
    build_report([source], output, progress=False, **options)  # type: ignore[arg-type]
    return (output / "index.html").read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, list[dict[str, list[dict[str, object]]]]]:
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, list[dict[str, list[dict[str, object]]]]] = json.loads(found[1])
    return data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    build(evaluation_folder(root / "evaluation", evaluation_values()), root / "page")
    return root / "page"


def test_everything_that_the_page_refers_to_lies_in_its_folder(page: Path) -> None:
    links = Links((page / "index.html").read_text(encoding="utf-8"))
    files = [place for place in links.places if not place.startswith("#")]
    assert files
    assert [place for place in files if not (page / place).is_file()] == []
    for asset in ("page.css", "page.js"):
        text = (page / asset).read_text(encoding="utf-8")
        assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|import\s*\(", text), asset


def test_it_can_be_heard_without_javascript(page: Path) -> None:
    text = (page / "index.html").read_text(encoding="utf-8")
    plain = re.findall(r'<noscript><audio src="([^"]+)" controls preload="none"', text)
    assert len(plain) == 8  # 2 clips, 4 systems
    assert len(set(plain)) == 8


def test_spectrograms_are_loaded_lazily(page: Path) -> None:
    images = re.findall(r"<img [^>]*>", (page / "index.html").read_text(encoding="utf-8"))
    assert len(images) == 8
    assert all('loading="lazy"' in image and 'alt="Spectrogram of ' in image for image in images)


def test_names_of_files_do_not_tell_the_system(page: Path) -> None:
    names = [path.stem for folder in ("sounds", "figures") for path in (page / folder).iterdir()]
    assert len(names) == 16
    assert all(re.fullmatch(r"[0-9a-f]{12}", name) for name in names)


def test_the_overview_tells_the_scores_the_kinds_and_the_conclusions(page: Path) -> None:
    text = (page / "index.html").read_text(encoding="utf-8")
    for said in ("toy", "pairs", "note F1 to input", "truth &gt; model on timbre: yes", "0.800", "0.750 … 0.850"):
        assert said in text
    assert '<small class="badge baseline">baseline</small>' in text
    assert "The input unchanged." in text  # what the baseline is


@pytest.mark.parametrize(
    ("metric", "better", "best"),
    [("note_f1", "higher", "one"), ("kad", "lower", "one"), ("attack_ms", "closer to truth", "two")],
)
def test_the_best_system_is_marked(tmp_path: Path, metric: str, better: str, best: str) -> None:
    # Means fall by row for F1 and the attack, and rise for the distance; the truth is the last row.
    values = evaluation_values(1, (("one", "system"), ("two", "system"), ("copy", "baseline"), ("truth", "truth")))
    values["metrics"] = {metric: {**values["metrics"][metric], "better": better}}
    text = build(evaluation_folder(tmp_path / "in", values), tmp_path / "page")
    rows = re.findall(r'<tr class="kind-[a-z]+"><th scope="row"><span[^>]*>([^<]+)</span>.*?</tr>', text)
    marked = re.findall(
        r'<tr class="kind-[a-z]+"><th scope="row"><span[^>]*>([^<]+)</span>(?:(?!</tr>).)*class="best"', text
    )
    assert rows == ["one", "two", "copy", "truth"]
    assert marked == [best]


def test_text_of_users_never_becomes_markup(tmp_path: Path) -> None:
    values = evaluation_values(1, ((NASTY, "system"), ("truth", "truth")))
    values |= {"model": NASTY, "test_set": NASTY, "conclusions": [NASTY, "</script><script>alert(1)</script>"]}
    values["metrics"]["note_f1"]["label"] = NASTY
    values["directions"][0]["target"] = NASTY
    for system in values["directions"][0]["systems"]:
        system["clips"][0] |= {"clip": NASTY, "warnings": [NASTY]}
    text = build(evaluation_folder(tmp_path / "in", values), tmp_path / "page", title=NASTY)
    links = Links(text)
    assert "b" not in links.tags
    assert "x" not in links.places
    assert links.tags.count("script") == 2  # the page's own, and its data
    assert data_of(text)["title"] == NASTY


def test_templates_escape_text_attributes_and_data() -> None:
    def render(source: str, value: object) -> str:
        return environment().from_string(source).render(value=value)

    assert (
        render('<p title="{{ value }}">{{ value }}</p>', '<&">')
        == '<p title="&lt;&amp;&#34;&gt;">&lt;&amp;&#34;&gt;</p>'
    )
    assert render("<p{{ {'title': value, 'class': none}|xmlattr }}></p>", '">') == '<p title="&#34;&gt;"></p>'
    assert "<" not in render("{{ value|tojson }}", {"a": "</script><!--\u2028"})
    assert json.loads(render("{{ value|tojson }}", {"a": "</script>&\u2028"})) == {"a": "</script>&\u2028"}
    with pytest.raises(ValueError, match="Out of range float"):
        render("{{ value|tojson }}", math.nan)  # browsers cannot read it


def test_a_cycle_run_becomes_a_page(tmp_path: Path) -> None:
    source = cycle_folder(tmp_path / "cycles")
    material = read_source(source)
    assert [direction.heading for direction in material.directions] == ["from violin", "from piano"]
    first = material.directions[0]
    assert [(system.name, system.kind) for system in first.systems] == [
        ("violin", "input"),
        ("violin-violin", "system"),
        ("violin-piano", "system"),
        ("violin-piano-violin", "system"),
    ]
    assert first.target == "piano"
    assert "then to violin. A good model returns to the input." in first.systems[3].about
    text = build(source, tmp_path / "page")
    assert [len(clip["takes"]) for each in data_of(text)["directions"] for clip in each["clips"]] == [4, 2]


def test_a_training_run_becomes_a_page(tmp_path: Path) -> None:
    text = build(run_folder(tmp_path / "run"), tmp_path / "page")
    first = data_of(text)["directions"][0]
    assert [system["name"] for system in first["systems"]] == [
        "input",
        "reconstruction, step 30",
        "translation, step 30",
        "cycle, step 30",
        "translation, step 10",
        "translation, step 20",
    ]
    assert "training curves over the steps" in text
    assert "samples at step 20" in text


def test_any_folder_of_sounds_becomes_a_page(tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    for name in ("input/a.wav", "input/b.wav", "mine/a.piano.wav", "theirs/a.flac", "truth/b.ogg"):
        write_tone(sounds / name)
    material = read_source(sounds)
    (direction,) = material.directions
    assert [(system.name, system.kind) for system in direction.systems] == [
        ("input", "input"),
        ("mine", "system"),
        ("theirs", "system"),
        ("truth", "truth"),
    ]
    assert {clip.name: [take.system for take in clip.takes] for clip in direction.clips} == {
        "a": ["input", "mine", "theirs"],
        "b": ["input", "truth"],
    }
    build(sounds, sounds / "page")  # a page within the folder is not a source of the next one
    assert read_source(sounds) == material


def test_of_two_sounds_of_one_name_the_first_is_shown_and_the_page_says_so(tmp_path: Path) -> None:
    for name in ("mine/a.flac", "mine/a.wav"):
        write_tone(tmp_path / name)
    material = read_source(tmp_path)
    assert [len(clip.takes) for clip in material.directions[0].clips] == [1]
    # Relative, for a page may be published, and the paths of a machine are its owner's.
    assert material.warnings == (f"{Path('mine/a.wav')} is left out: its system has another sound of that name",)


def test_several_sources_share_a_page(tmp_path: Path) -> None:
    sources = [evaluation_folder(tmp_path / "e", evaluation_values(1)), cycle_folder(tmp_path / "c")]
    built = build_report(sources, tmp_path / "page", progress=False)
    assert (built.clips, built.sounds) == (3, 4 + 4 + 2)
    assert built.size_bytes == sum(path.stat().st_size for path in (tmp_path / "page").rglob("*") if path.is_file())
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "<title>Evaluation of toy, Cycles of toy</title>" in text


@pytest.mark.parametrize(
    ("sound_format", "suffix", "near"), [("flac", ".flac", 1.0), ("wav", ".wav", 1.0), ("as-is", ".wav", 1e-7)]
)
def test_sounds_arrive_whole(tmp_path: Path, sound_format: str, suffix: str, near: float) -> None:
    source = write_tone(tmp_path / "in" / "model" / "a.wav")
    build(tmp_path / "in", tmp_path / "page", sound_format=sound_format)
    (made,) = (tmp_path / "page" / "sounds").iterdir()
    assert made.suffix == suffix
    before, after = soundfile.read(source)[0], soundfile.read(made)[0]
    assert np.abs(before - after[: len(before)]).max() <= near * 2.0**-16  # half a step of 16 bits, or a copy
    # Chromium cannot seek into the last frames of a FLAC file: the sound must end before them.
    assert len(after) - len(before) == (4 * 4096 if suffix == ".flac" else 0)
    assert not after[len(before) :].any()


def test_flac_as_it_is_keeps_its_samples(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 4_000)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.flac", wave, RATE, subtype="PCM_24")
    build(tmp_path / "in", tmp_path / "page", sound_format="as-is")
    (made,) = (tmp_path / "page" / "sounds").iterdir()
    assert soundfile.info(made).subtype == "PCM_24"
    before = soundfile.read(tmp_path / "in" / "a.flac", dtype="int32")[0]
    np.testing.assert_array_equal(soundfile.read(made, dtype="int32")[0][:4_000], before)


def test_what_would_clip_is_lowered_and_the_page_says_so(tmp_path: Path) -> None:
    wave = 2.0 * np.sin(np.arange(8_000) * 0.2)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "loud.wav", wave, RATE, subtype="FLOAT")
    text = build(tmp_path / "in", tmp_path / "page")
    assert "lowered by 6.0 dB to fit" in text
    (made,) = (tmp_path / "page" / "sounds").iterdir()
    assert np.abs(soundfile.read(made)[0]).max() < 1.0


def test_the_weighting_is_that_of_the_standard() -> None:
    # Tables 1 and 2 of ITU-R BS.1770-4, which give the filters at 48 kHz.
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    high_pass = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    filters = Meter(48_000, filter_class=K_WEIGHTING)._filters.values()
    found = [np.concatenate([each.b, each.a]) for each in filters]
    np.testing.assert_allclose(found, [shelf, high_pass], atol=1e-9)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_loudness_is_that_of_the_standard(rate: int) -> None:
    # Said by the standard: a 997 Hz sine at full scale in one channel has -3.01 LUFS. The edges of the sound, where
    # the filters swing in, are worth some hundredths.
    sine = np.sin(2 * np.pi * 997 * np.arange(2 * rate) / rate).astype(np.float32)[None]
    assert loudness_lufs(sine, rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness_lufs(np.concatenate([0.1 * sine] * 2), rate) == pytest.approx(-20.0, abs=0.05)
    # Twice as long by silence: the gate leaves it out, save the blocks that hold a part of both.
    assert loudness_lufs(np.pad(sine, ((0, 0), (0, 2 * rate))), rate) == pytest.approx(-3.01, abs=0.5)
    assert loudness_lufs(sine[:, : rate // 10], rate) == pytest.approx(-3.01, abs=0.1)
    assert loudness_lufs(np.zeros((2, rate), np.float32), rate) is None
    assert loudness_lufs(np.zeros((1, 1), np.float32), rate) is None
    # Of many channels, the first two stand for all.
    many = np.concatenate([sine] * 7)
    assert loudness_lufs(many, rate) == loudness_lufs(many[:2], rate)


def test_loudness_of_a_low_sample_rate() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(6_000) / 3_000).astype(np.float32)[None]
    assert loudness_lufs(sine, 3_000) == pytest.approx(-3.01, abs=0.1)


def test_gains_lower_to_the_quietest_but_not_to_one_that_is_all_but_silent() -> None:
    assert matching_gains([-20.0, -23.0, None]) == [-3.0, 0.0, 0.0]
    assert matching_gains([-20.0, -22.0, -21.0, -60.0]) == [-2.0, 0.0, -1.0, 0.0]
    assert matching_gains([None]) == [0.0]


def test_a_sound_that_was_not_kept_has_no_player(tmp_path: Path) -> None:
    values = evaluation_values(1)
    source = evaluation_folder(tmp_path / "in", values)
    values["directions"][0]["systems"][1]["clips"][0]["sound"] = None
    write_json(source / "evaluation.json", values)
    text = build(source, tmp_path / "page")
    assert "no sound was kept" in text
    assert text.count("<audio") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, r"evaluation\.json: is of format 'other'; 'audiotrans-evaluation' is needed"),
        ({"version": 2}, r"is of version 2, only 1 can be read"),
        ({"directions": None}, r"directions: input should be a valid list; make the folder again"),
        ({"directions": [{"source": "a"}]}, r"directions\.0\.target: field required"),
    ],
)
def test_a_damaged_evaluation_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_json(tmp_path / "evaluation.json", evaluation_values() | change)
    with pytest.raises(AudiotransError, match=message) as caught:
        read_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_sounds_are_named_in_one_line(tmp_path: Path) -> None:
    source = evaluation_folder(tmp_path / "in", evaluation_values())
    for path in (source / "sounds").rglob("01.flac"):
        path.unlink()
    with pytest.raises(
        AudiotransError, match=r"names the sound .*s0.01\.flac \(and 3 more\), which is not there"
    ) as caught:
        build_report([source], tmp_path / "page", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page").exists()


def test_a_sound_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    values = evaluation_values(1)
    values["directions"][0]["systems"][0]["clips"][0]["sound"] = "../private.wav"
    write_tone(tmp_path / "private.wav")
    write_json(tmp_path / "in" / "evaluation.json", values)
    with pytest.raises(AudiotransError, match="lies outside of the folder"):
        read_source(tmp_path / "in")


def test_other_sources_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AudiotransError, match="there is no such folder; name a folder that evaluate, cycle or train"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(AudiotransError, match="is a file"):
        read_source(write_tone(tmp_path / "a.wav"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no sound file"):
        read_source(tmp_path / "empty")
    (tmp_path / "run" / "samples").mkdir(parents=True)
    with pytest.raises(AudiotransError, match="nothing to hear or to see"):
        read_source(tmp_path / "run")


def test_only_our_own_pages_are_ever_replaced(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_tone(source / "a.wav")
    build(source, tmp_path / "page", title="first")
    with pytest.raises(UsageError, match="there is a page already; --force replaces it"):
        build(source, tmp_path / "page")
    assert "<title>second</title>" in build(source, tmp_path / "page", title="second", force=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work", encoding="utf-8")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"holds files that are not a listening page"):
            build(source, tmp_path / "precious", force=force)
    with pytest.raises(UsageError, match="is a file; name a folder"):
        build(source, tmp_path / "precious" / "thesis.txt", force=True)
    with pytest.raises(UsageError, match=r"cannot be replaced, the source .* lies in it"):
        build(tmp_path / "page" / "sounds", tmp_path / "page", force=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_failure_leaves_the_old_page_and_no_rubbish(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_tone(source / "a.wav")
    build(source, tmp_path / "page", title="first")
    (source / "b.wav").write_bytes(b"not a sound")
    with pytest.raises(AudiotransError, match=r"b\.wav"):
        build(source, tmp_path / "page", force=True)
    assert "<title>first</title>" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "page"]


@pytest.mark.smoke
def test_the_command_makes_a_page_and_says_so(tmp_path: Path) -> None:
    write_tone(tmp_path / "in" / "model" / "a.wav")
    command = ["report", str(tmp_path / "in"), "-o", str(tmp_path / "page"), "-q"]
    result = CliRunner().invoke(main, command, prog_name="audiotrans")
    assert result.exit_code == 0, result.output
    assert re.search(r"index\.html: 1 clip, 1 sound, 0\.\d MB, in \d+\.\d s", result.output)
    again = CliRunner().invoke(main, [*command, "--force", "--format", "mp4"], prog_name="audiotrans")
    assert again.exit_code == 2
    assert "unknown sound format 'mp4': choose one of as-is, flac, ogg, wav" in again.output


def test_every_column_and_baseline_that_we_write_is_explained() -> None:
    from audiotrans.evaluation import baselines, scoring
    from audiotrans.evaluation.report.content import ABOUT_BASELINES

    assert [name for name, metric in scoring.METRICS.items() if not metric.about] == []
    names = {baselines.COPY, baselines.EQUALISED, baselines.RANDOM, baselines.SYNTHESISED, baselines.SCORED}
    assert names | {baselines.GRIFFIN_LIM} <= set(ABOUT_BASELINES)


def test_what_is_lowered_is_named_by_its_own_file(tmp_path, caplog):
    source = tmp_path / "loud.wav"
    soundfile.write(source, np.full(800, 2.0, np.float32), 8000, subtype="FLOAT")
    *_, lowered_db = write_sound(source, tmp_path, "763a89", "flac")
    assert lowered_db == pytest.approx(6.02, abs=0.05)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [str(source)]
