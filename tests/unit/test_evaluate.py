"""The whole evaluation on made sounds with stand-ins: what is measured, written, resumed and refused."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans import weights as model_files
from audiotrans.cli import main
from audiotrans.convert import converter as converters
from audiotrans.errors import UsageError
from audiotrans.evaluation import baselines, evaluator, scoring, soundfont, tagger, transcription
from audiotrans.evaluation.classifier import InstrumentClassifier
from audiotrans.evaluation.evaluator import Options, evaluate
from audiotrans.evaluation.metrics.pitch import Note, PitchTrack
from audiotrans.evaluation.scoring import METRICS, AnalysedSound, Case, measure
from audiotrans.evaluation.testset import RATE, Selection
from tests.standins import Identity, converter, tone

NAMES = ("one", "two", "three")
SECONDS = 1.0


class FakeClassifier:
    """Classifies what is bright as a piano; embeds the level of three octaves."""

    classes = ("violin", "piano")
    name = "fake, 3-d"
    recordings = frozenset({"train/one.wav"})  # as a classifier's card names files of a folder that is split already
    net = SimpleNamespace(state_dict=dict)

    def index(self, domain: str) -> int:
        return self.classes.index(domain)

    def embed(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        assert sample_rate == RATE
        rows = []
        for piece in np.array_split(wave.mean(axis=0), 3) if wave.any() else ():  # silence has no windows
            power = np.abs(np.fft.rfft(piece)) ** 2 + 1e-6
            edges = [round(len(piece) * hertz / RATE) for hertz in (200, 400, 800, 1600)]
            rows.append(np.log10([power[low:high].mean() for low, high in pairwise(edges)]))
        return np.array(rows, np.float32).reshape(len(rows), 3)

    def probabilities(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        rows = self.embed(wave, sample_rate)
        # The tones below are at -1.4 and, differentiated, at -0.2.
        bright = 1 / (1 + np.exp(-8 * (rows[:, 2] - rows[:, 0] + 0.8)))
        return np.stack([1 - bright, bright], axis=1)


def make_pairs(folder: Path, channels: int) -> Path:
    """Write three pieces, each played by a dull "violin" and a bright "piano"."""
    for index, name in enumerate(NAMES):
        wave = tone(SECONDS, channels, RATE, 0.2 + 0.05 * index)
        bright = np.diff(wave, prepend=0).astype(np.float32) * 6
        for domain, sound in (("violin", wave), ("piano", bright)):
            (folder / domain).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / domain / f"{name}.wav", sound.T, RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return make_pairs(tmp_path / "pairs", 1)


def stand_ins(monkeypatch: pytest.MonkeyPatch, folder: Path) -> SimpleNamespace:
    """Put stand-ins for a classifier, a tagger, a model, a transcriber and the pitch tracker; there is no SoundFont."""
    weights = folder / "net.safetensors"
    weights.write_bytes(b"weights")
    found = SimpleNamespace(loaded=[], converter=converter(Identity(), sample_rate=RATE), tracked=0)

    def track(wave: np.ndarray, sample_rate: int) -> PitchTrack:
        found.tracked += 1
        return PitchTrack(np.arange(4.0), np.full(4, 220.0 if np.abs(wave).max() > 0 else math.nan))

    def load(name: str, *, device: str) -> object:
        found.loaded.append((name, device))
        return found.converter

    monkeypatch.setattr(model_files, "find", lambda _name: weights)
    monkeypatch.setattr(converters, "load", load)
    monkeypatch.setattr(InstrumentClassifier, "load", lambda *_: FakeClassifier())
    monkeypatch.setattr(scoring, "pitch_track", track)
    monkeypatch.setattr(transcription, "transcribe", lambda wave, _rate: [Note(0.0, 0.7, 57.0)] * bool(wave.any()))
    for module in (evaluator, baselines, transcription):
        monkeypatch.setattr(module, "transcription_available", lambda: True)
    monkeypatch.setattr(tagger, "tags_and_embedding", fake_tags)
    monkeypatch.setattr(soundfont, "SOUNDFONT_FOLDERS", ())
    return found


def fake_tags(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Hear a piano in whatever sounds."""
    windows = 3 if wave.any() else 0
    tags = np.zeros((windows, len(tagger.TAGS)), np.float32)
    tags[:, tagger.TAGS.index("piano")] = 0.7
    return tags, np.full((windows, 2), wave.std(), np.float32)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Put the stand-ins, and take only the quick metrics."""
    onsets = ("onset_f1", "onsets_within_30_ms")
    slow = (*onsets, "modulation_noise_db", "log_spectral_distance_db", "multi_resolution_stft")
    quick = {name: item for name, item in METRICS.items() if name not in slow}
    monkeypatch.setattr(scoring, "METRICS", quick)
    return stand_ins(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Run one evaluation with all metrics, for the tests that only read."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patches:
        found = stand_ins(patches, folder)
        result = evaluate(options_for(make_pairs(folder / "pairs", 2)), folder / "out")
        yield SimpleNamespace(result=result, out=folder / "out", tracked=found.tracked)


def options_for(folder: Path, **changes) -> Options:
    return Options(folder, **{"selection": Selection("violin", "piano"), **changes})


def systems_of(result: dict) -> dict:
    (direction,) = result["directions"]
    return {system["name"]: system for system in direction["systems"]}


def mean(result: dict, system: str, metric: str) -> float:
    return systems_of(result)[system]["summary"][metric]["mean"]


def test_what_changes_nothing_is_at_the_bounds(whole):
    for system in ("copy", "net"):
        for metric in ("note_f1", "onset_f1", "onsets_within_30_ms"):
            assert mean(whole.result, system, metric) == 1.0
        for metric in ("note_jaccard", "pitch_error_cents", "pitch_fraction_off"):
            assert mean(whole.result, system, metric) == 0.0
        # The stand-in goes through the imaging and back: float32 rounding is all that is left.
        assert mean(whole.result, system, "loudness_correlation") == pytest.approx(1.0, abs=1e-4)
        assert mean(whole.result, system, "stereo_coherence_error") == pytest.approx(0.0, abs=1e-3)
    for metric in ("band_distance_db", "log_spectral_distance_db", "multi_resolution_stft", "kad"):
        assert mean(whole.result, "truth", metric) == pytest.approx(0.0, abs=1e-9)


def test_baselines_stand_where_they_must(whole):
    assert list(systems_of(whole.result)) == [
        "input",
        "truth",
        "net",
        "copy",
        "copy + EQ",
        "random target clip",
        "Griffin-Lim of truth",
    ]
    assert mean(whole.result, "truth", "target_probability") > 0.9
    assert mean(whole.result, "copy", "target_probability") < 0.1
    assert mean(whole.result, "random target clip", "target_accuracy") == 1.0
    for metric in ("band_distance_db", "kad"):
        assert mean(whole.result, "Griffin-Lim of truth", metric) < mean(whole.result, "copy", metric)
    conclusions = "\n".join(whole.result["conclusions"])
    assert "truth > net on timbre (classifier's probability of target): yes" in conclusions
    assert "truth > net on distance (log-spectral distance, 256 bands): yes" in conclusions
    assert any("no SoundFont was found" in line for line in whole.result["warnings"])
    assert any(
        "the instrument classifier was trained on 1 of these files (one.wav)" in line
        for line in whole.result["warnings"]
    )


def test_the_folder_is_what_readers_expect(whole):
    out = whole.out
    stored = json.loads((out / "evaluation.json").read_text())
    assert stored == json.loads(json.dumps(whole.result))
    assert (stored["format"], stored["version"], stored["model"]) == ("audiotrans-evaluation", 1, "net")
    assert stored["test_set"] == "pairs"
    assert stored["metrics"]["kad"]["label"] == "KAD (fake, 3-d)"
    assert set(stored["metrics"]["note_f1"]) == {"label", "unit", "better", "group"}
    for system in systems_of(stored).values():
        assert [clip["clip"] for clip in system["clips"]] == sorted(NAMES)
        for clip in system["clips"]:
            info = soundfile.info(out / clip["sound"])
            assert (info.samplerate, info.channels, info.frames) == (RATE, 2, round(SECONDS * RATE))
    net = systems_of(stored)["net"]
    assert net["clips"][0]["sound"] == "sounds/violin-to-piano/net/one.flac"
    assert {"real_time_factor", "peak_memory_mb", "inconsistency_db"} <= set(net["summary"])
    assert net["summary"]["real_time_factor"]["mean"] > 0
    assert systems_of(stored)["input"]["summary"] == {}
    # A copy is not written twice.
    assert systems_of(stored)["copy"]["clips"][0]["sound"] == systems_of(stored)["input"]["clips"][0]["sound"]
    assert (out / "table.md").read_text().startswith("# pairs: net")
    assert len((out / "table.csv").read_text().splitlines()) > 50
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation.json", "scores.jsonl", "sounds", "table.csv", "table.md"
    ]  # fmt: skip


def test_every_sound_is_heard_once(whole):
    # Per clip: input (which the copy shares), truth, model, EQ, random clip and Griffin-Lim.
    assert whole.tracked == 3 * 6


@pytest.mark.slow
def test_an_interrupted_run_goes_on(pairs, tools, tmp_path):
    def stop(done: int, total: int, _label: str) -> None:
        assert total == 3 * 7
        if done == 12:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluate(options_for(pairs), out, progress=stop)
    assert not (out / "evaluation.json").exists()
    with (out / "scores.jsonl").open("a") as file:
        file.write('{"key": "half a li')  # killed while writing
    before = tools.tracked
    resumed = evaluate(options_for(pairs), out, resume=True)
    assert 0 < tools.tracked - before < 3 * 6
    at_once = evaluate(options_for(pairs), tmp_path / "whole")

    def timeless(result: dict) -> dict:
        text = json.dumps(result["directions"], sort_keys=True)
        values = json.loads(text)
        for system in values[0]["systems"]:
            for scores in (system["summary"], *(clip["scores"] for clip in system["clips"])):
                for name in ("real_time_factor", "peak_memory_mb"):
                    scores.pop(name, None)
        return values

    assert timeless(resumed) == timeless(at_once)
    # Nothing is left to do, and a sound that was deleted is made again.
    before = tools.tracked
    (out / "sounds" / "violin-to-piano" / "copy-EQ" / "one.flac").unlink()
    evaluate(options_for(pairs), out, resume=True)
    assert tools.tracked - before == 2  # that output and its input
    # Another seed is another random clip and another network noise, but the same copies.
    before = tools.tracked
    evaluate(options_for(pairs, seed=1), out, resume=True)
    assert 0 < tools.tracked - before < 3 * 6


def test_an_existing_folder_is_kept_unless_asked(pairs, tools, tmp_path):
    out = tmp_path / "out"
    evaluate(options_for(pairs, selection=Selection("violin", "piano", limit=1)), out)
    refused(invoke("evaluate", pairs, "-o", out), "--resume goes on with it, --force replaces it")
    evaluate(options_for(pairs), out, force=True)
    assert len(systems_of(json.loads((out / "evaluation.json").read_text()))["copy"]["clips"]) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all my work")
    refused(invoke("evaluate", pairs, "-o", tmp_path / "mine", "--force"), "holds other things (thesis.txt)")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_folders_of_others_need_no_model(pairs, tools, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in NAMES[:2]:
        soundfile.write(theirs / f"{name}.piano.wav", soundfile.read(pairs / "piano" / f"{name}.wav")[0], RATE)
    result = evaluate(options_for(pairs, systems=(("theirs", theirs),)), tmp_path / "out")
    assert tools.loaded == []
    assert systems_of(result)["theirs"]["kind"] == "system"
    assert len(systems_of(result)["theirs"]["clips"]) == 2
    # 16-bit files of the truth itself.
    assert mean(result, "theirs", "band_distance_db") < 0.5
    assert any("theirs: no file for violin-to-piano three" in line for line in result["warnings"])


def test_unpaired_sets_and_lone_recordings_say_what_they_cannot(pairs, tools, tmp_path):
    for name in NAMES[1:]:
        (pairs / "violin" / f"{name}.wav").unlink()
    selection = Selection("violin", "piano", unpaired=True)
    result = evaluate(options_for(pairs, selection=selection), tmp_path / "out")
    assert {"truth", "Griffin-Lim of truth"}.isdisjoint(systems_of(result))
    assert "band_distance_db" not in result["metrics"]
    figures = systems_of(result)["copy"]["summary"]["note_f1"]
    assert figures == {"mean": 1.0, "low": None, "high": None, "n": 1}
    assert any("too few recordings to tell" in line for line in result["conclusions"])


def test_silent_outputs_are_scored_not_crashed_on(pairs, tools, tmp_path):
    silence = tmp_path / "silence"
    silence.mkdir()
    for name in NAMES:
        soundfile.write(silence / f"{name}.wav", np.zeros((round(SECONDS * RATE), 1)), RATE)
    result = evaluate(options_for(pairs, systems=(("silence", silence),)), tmp_path / "out")
    assert mean(result, "silence", "silent_fraction") == 1.0
    assert mean(result, "silence", "pitch_error_cents") is None
    assert mean(result, "silence", "note_f1") == 0.0
    assert mean(result, "silence", "target_accuracy") == mean(result, "silence", "target_probability") == 0.0
    assert mean(result, "silence", "tagger_accuracy") == mean(result, "silence", "tagger_probability") == 0.0


def test_missing_tools_leave_metrics_out_and_say_so(pairs, tools, tmp_path, monkeypatch):
    for module in (evaluator, baselines):
        monkeypatch.setattr(module, "transcription_available", lambda: False)
    monkeypatch.setattr(FakeClassifier, "classes", ("violin", "flute"))
    result = evaluate(options_for(pairs), tmp_path / "out")
    left_out = {"note_f1", "kad", "target_probability"}
    assert left_out.isdisjoint(result["metrics"])
    assert {"pitch_error_cents", "band_distance_db", "tagger_probability"} <= set(result["metrics"])
    said = "\n".join(result["warnings"])
    assert 'note metrics are left out: pip install "audiotrans[eval]"' in said
    assert "knows violin and flute, not piano" in said


def test_the_tagger_stands_beside_the_classifier(whole):
    metrics = whole.result["metrics"]
    assert metrics["kad_tagger"]["label"] == "KAD (musicnn, 200-d)"
    assert metrics["kad"]["label"] == "KAD (fake, 3-d)"
    assert mean(whole.result, "copy", "tagger_probability") == pytest.approx(0.7, abs=1e-6)
    assert mean(whole.result, "copy", "tagger_accuracy") == 1.0
    assert any("tagger's probability of target" in line for line in whole.result["conclusions"])


def test_a_domain_without_a_tag_leaves_the_tagger_out(tmp_path, tools, pairs):
    (pairs / "piano").rename(pairs / "grand")
    selection = Selection(source="violin", target="grand")
    options = options_for(pairs, systems=(("same", pairs / "violin"),), models=(), selection=selection)
    result = evaluate(options, tmp_path / "out")
    assert "tagger_probability" not in result["metrics"]
    assert any("left out for grand: it knows guitar" in note for note in result["warnings"])


def test_a_metric_that_cannot_be_computed_is_nan(tools):
    silence = AnalysedSound(np.zeros((1, RATE), np.float32))
    figures = measure(
        Case(AnalysedSound(tone(1.0, 1, RATE)), silence, "piano", truth=silence.wave), {"pitch", "mir_eval"}
    )
    assert math.isnan(figures["band_distance_db"])
    assert "target_probability" not in figures
    assert figures["silent_fraction"] == 1.0


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="audiotrans")


def refused(result: Result, said: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("audiotrans: error: ")
    assert said in line


def test_the_command_prints_the_table_and_the_conclusions(pairs, tools, tmp_path):
    out = tmp_path / "out"
    result = invoke("evaluate", pairs, "--from", "violin", "--limit", 2, "-o", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert tools.loaded == [("violin-piano", "cpu")]
    assert "violin to piano (2 clips of 2 recordings)" in result.stdout
    assert "CONTENT" in result.stdout
    assert "conclusion: violin to piano: truth > net on timbre" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"written: {out / 'table.md'}")
    quiet = invoke("evaluate", pairs, "--from", "violin", "--limit", 2, "-o", out, "--resume", "-q")
    assert (quiet.exit_code, quiet.stdout) == (0, "")


def test_mistakes_are_one_line(pairs, tools, tmp_path):
    out = ("-o", tmp_path / "out")
    refused(invoke("evaluate", tmp_path / "none", *out), "is not a folder")
    refused(invoke("evaluate", pairs), "-o")
    refused(invoke("evaluate", pairs, *out, "--system", "theirs"), "write NAME=FOLDER")
    refused(invoke("evaluate", pairs, *out, "--system", "copy=x"), "there is no such folder")
    refused(invoke("evaluate", pairs, *out, "--to", "organ"), "no domain 'organ'")
    refused(invoke("evaluate", pairs, *out, "--limit", 0), "--limit 0")
    refused(invoke("evaluate", pairs, *out, "--judge", "mine"), "--judge is now called --classifier")
    refused(invoke("train-judge", pairs, *out), "train-judge is now called train-classifier")
    refused(invoke("evaluate", pairs, *out, "--soundfont", tmp_path / "no.sf2"), "there is no such file")
    refused(invoke("evaluate", pairs, *out, "--model", "a", "--model", "b"), "two systems are called 'net'")
    refused(invoke("evaluate", pairs, "-o", pairs / "violin" / "one.wav"), "is a file")
    assert not (tmp_path / "out").exists()


def test_the_interruption_of_the_command_is_one_line(pairs, tools, tmp_path, monkeypatch):
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluator, "measure", interrupted)
    refused(invoke("evaluate", pairs, "-o", tmp_path / "out"), "interrupted", 130)


def clips_of(folder: Path) -> list[dict]:
    """Return what an evaluation says of every output, but for the time and the memory that it took."""
    result = json.loads((folder / "evaluation.json").read_text())
    clips = [{**clip, "system": name} for name, system in systems_of(result).items() for clip in system["clips"]]
    for clip in clips:
        clip["scores"] = {
            name: value for name, value in clip["scores"].items() if name not in ("real_time_factor", "peak_memory_mb")
        }
    return clips


def test_workers_make_what_one_process_makes(
    pairs: Path, tools: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def in_this_process(work, jobs, workers, *, start, arguments, **how):
        started.append((workers, [(job.clip, job.systems) for job in jobs]))
        assert how == {"ray": None, "shared": tmp_path / "by-workers"}
        start(*pickle.loads(pickle.dumps(arguments)))  # noqa: S301  # our own
        for job in reversed(jobs):  # workers are not done in order
            yield pickle.loads(pickle.dumps(work(job)))  # noqa: S301

    monkeypatch.setattr(evaluator, "in_processes", in_this_process)
    ticks: list[tuple[int, int, str]] = []
    out, alone = tmp_path / "by-workers", tmp_path / "alone"
    evaluate(options_for(pairs), out, workers=2, progress=lambda *tick: ticks.append(tick))
    evaluate(options_for(pairs), alone)
    found = clips_of(out)
    assert found == clips_of(alone)
    (reals, clips) = started
    assert reals == (2, [(clip, None) for clip in range(3)])
    assert clips == (2, [(clip, tuple(range(7))) for clip in range(3)])
    assert {total for _, total, _ in ticks} == {21}
    sounds = [
        {path.relative_to(folder): path.read_bytes() for path in (folder / "sounds").rglob("*.flac")}
        for folder in (out, alone)
    ]
    assert sounds[0] == sounds[1]
    assert sounds[0]
    evaluate(options_for(pairs), out, workers=2, resume=True)
    assert len(started) == 2  # nothing was missing
    next((out / "sounds").rglob("net/one.flac")).unlink()
    evaluate(options_for(pairs), out, workers=2, resume=True)
    assert clips_of(out) == found
    assert started[2:] == [(2, [(0, (2,))])]
    with pytest.raises(UsageError, match="workers 0"):
        evaluate(options_for(pairs), tmp_path / "none", workers=0)
