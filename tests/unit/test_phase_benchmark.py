"""The phase benchmark's own parts, and one quick run of the whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from audiotrans.spectrogram.phase import PhaseTask
from audiotrans.spectrogram.stft import STFT
from benchmarks import phase, phase_cases, phase_methods, phase_report, phase_stereo
from benchmarks.phase_methods import AUTO, DEFAULT, LIBROSA, PGHI, Method
from benchmarks.phase_report import Findings

pytestmark = pytest.mark.slow

DATA = phase.DATA
STEREO = np.random.default_rng(0).normal(0, 0.1, (2, 22_528)).astype(np.float32)


def excerpt(wave: np.ndarray = STEREO, domain: str = "") -> phase_cases.Excerpt:
    return phase_cases.Excerpt("noise.wav", wave, domain)


@pytest.fixture(scope="module")
def cases() -> list[phase_cases.Case]:
    return list(phase_cases.magnitude_cases("rendered", excerpt(), STFT()))


# Cases


def test_excerpts_are_whole_hops_from_a_third_of_the_way_in():
    cut = phase_cases.cut(DATA / "violin.wav", 1.0, 512, ("violin", "piano"))
    assert cut.wave.shape == (2, 44_100 // 512 * 512)
    assert cut.domain == "violin"
    whole = phase_cases.cut(DATA / "violin.wav", 60.0, 512)
    first = 8 * 44_100 // 3
    edge = round(phase_cases.FADE_SECONDS * 44_100)
    within = slice(edge, cut.wave.shape[1] - edge)
    np.testing.assert_array_equal(cut.wave[:, within], whole.wave[:, first:][:, within])
    for end in (cut.wave[:, :edge], cut.wave[:, -edge:]):
        assert np.abs(end).max() > 0.1 * np.abs(cut.wave).max()  # faded, not cut off
    assert np.abs(cut.wave[:, [0, -1]]).max() < 1e-5


def test_of_many_files_evenly_spaced_ones_are_cut():
    named = [one.name for one in phase_cases.excerpts([str(DATA)], 0.1, 512, 2)]
    assert named == ["piano.wav", "violin_short.flac"]
    assert len(phase_cases.excerpts([str(DATA)], 0.1, 512, 9)) == 6


@pytest.mark.parametrize(
    ("path", "domain"),
    [("a/piano/x.wav", "piano"), ("piano/violin_1.wav", "violin"), ("violin/b/x.wav", "violin"), ("flute/x.wav", "")],
)
def test_domains_are_read_from_the_nearest_name(path, domain):
    assert phase_cases.domain_of(Path(path), ("violin", "piano")) == domain


def test_blurring_by_hand():
    flat = np.full((1025, 400), 2.0, dtype=np.float32)
    decibels = 20 * np.log10(phase_cases.spoil(flat, "blurred", 2048) / 2.0)
    # 410,000 values of a normal distribution.
    assert decibels.mean() == pytest.approx(0.0, abs=0.02)
    assert decibels.std() == pytest.approx(2.0, abs=0.02)
    spike = np.full((9, 9), 1e-5, dtype=np.float32)
    spike[4, 4] = 1.0
    # 100 dB on one of nine bins: 11.1 dB on each of nine.
    raised = 20 * np.log10(phase_cases.spoil(spike, "blurred", 16)[3:6, 3:6]) + 100
    assert raised.mean() == pytest.approx(100 / 9, abs=3.5 * 2 / 3)


def test_mel_bands_keep_their_energy_and_exact_is_exact(cases):
    exact, _, mel = cases
    again = phase_cases.spoil(exact.task.magnitude[0].numpy(), "exact", 2048)
    np.testing.assert_array_equal(again, exact.task.magnitude[0].numpy())
    # The bands of what was undone are those of the sound, within the solver's tolerance.
    import librosa

    bank = librosa.filters.mel(sr=44_100, n_fft=2048, n_mels=128)
    found, wanted = (bank @ case.task.magnitude[0].numpy() for case in (mel, exact))
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)


def test_true_phase_is_the_bound(cases):
    figures = phase_methods.measure(cases[0], phase_methods.true_phase(cases[0]))
    # Float32 rounding of a transform and its inverse.
    assert figures["inconsistency_db"] < -120
    assert figures["mr"] < 1e-3
    assert figures["log_spectral_distance_db"] < 1e-3
    assert math.isnan(figures["pre_echo_db"])  # noise has no attacks


def test_the_oracle_asks_for_the_gain_of_the_counterpart(tmp_path):
    import audiotrans
    from audiotrans import audio

    converter = audiotrans.load("violin-piano", device="cpu")
    wave = 0.5 * np.stack([np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)] * 2).astype(np.float32)
    for domain, level in (("violin", 1.0), ("piano", 0.5)):
        (tmp_path / domain).mkdir()
        audio.write(tmp_path / domain / "a.wav", level * wave, 44_100)
    louder = list(phase_cases.oracle_cases(tmp_path, converter, 1.0, 1))
    assert [case.group for case in louder] == ["violin to piano", "piano to violin"]
    for case, gain in zip(louder, (0.5, 2.0), strict=True):
        peak = case.task.source.abs().amax()
        assert case.task.magnitude.amax() / peak == pytest.approx(gain, rel=0.01)
        assert case.has_source
        assert case.task.gain is not None


# Cost


def test_cost_is_per_second_of_sound_and_compiling_is_up_to_the_caller(cases, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(phase_methods.time, "process_time", lambda: clock[0])

    def slow(task: PhaseTask, samples: int) -> np.ndarray:
        clock[0] += 0.25
        return np.zeros((1, samples))

    ways = [Method("slow", slow), Method("needs a source", slow, needs_source=True)]
    ticks: list[int] = []
    cost = phase_methods.cpu_seconds(ways, cases[:1], 3, lambda: ticks.append(1))
    assert cost == {"slow": pytest.approx(0.25 * 44_100 / 22_528)}
    assert len(ticks) == 3


# Stereo


def test_stereo_ways_keep_or_lose_the_image():
    case = phase_stereo.spoilt_case(excerpt(np.stack([STEREO[0], STEREO[0]])), STFT(), "exact")
    shift = iter([1, 2])
    noisy = phase_stereo.alone(
        lambda _task, samples: np.random.default_rng(next(shift)).normal(0, 0.1, (1, samples)).astype(np.float32)
    )
    figures = phase_stereo.measure(case, noisy(case.task, case.truth.shape[1]))
    # Two sounds that have nothing to do with each other instead of one in the middle, whose side is silent.
    assert figures["coherence_error"] == pytest.approx(1.0, abs=0.15)
    assert math.isnan(figures["mr_side"])
    same = phase_stereo.measure(case, case.truth)
    assert same["coherence_error"] == same["mr_mid"] == same["mr_channels"] == 0.0


def test_mono_recordings_take_no_part():
    assert phase_stereo.is_stereo(excerpt())
    assert not phase_stereo.is_stereo(excerpt(np.stack([STEREO[0], STEREO[0]])))
    assert not phase_stereo.is_stereo(excerpt(STEREO[:1]))


# Report


def findings(mr: float = 0.1, cost: float = 0.01) -> Findings:
    def record(method: str, distance: float, **more: float) -> dict:
        return {
            "group": "rendered",
            "set": "exact",
            "clip": "a",
            "attacks": 3,
            "method": method,
            "mr": distance,
            **more,
        }

    mono = [
        record(LIBROSA, 0.2, inconsistency_db=-20.0, pre_echo_db=3.0),
        record(DEFAULT, mr, inconsistency_db=-31.0, pre_echo_db=2.0),
    ]
    stereo = [
        {"set": "exact", "clip": "a", "method": phase_stereo.JOINT, "coherence_error": 0.02,
         "level_difference_error_db": 0.4},
    ]  # fmt: skip
    return Findings(mono, stereo, {LIBROSA: 0.08, DEFAULT: cost, PGHI: 0.004}, {"STFT": "2048/512"}, ["a note"])


def test_bars_tell_met_from_missed():
    rows = {(row.section, row.measure): row for row in phase_report.bars(findings())}
    verdicts = [row.verdict for row in rows.values()]
    assert [section for section, _ in rows] == [
        "mr / librosa's at 32", "CPU / librosa's at 32", "CPU / librosa's at 32", "inconsistency", "pre-echo", "stereo",
        "stereo",
    ]  # fmt: skip
    # .5 of the distance; 1/8 and 1/20 of the cost; -31 dB against -30; 1 dB less; .02 against .03; .4 against .3.
    assert verdicts == ["yes", "yes", "yes", "yes", "yes", "yes", "NO"]
    missed = list(phase_report.bars(findings(mr=0.2, cost=0.02)))
    assert [row.verdict for row in missed[:2]] == ["NO", "NO"]


def test_a_method_that_is_missing_has_no_bar():
    body = findings()
    body.mono = [record for record in body.mono if record["method"] == LIBROSA]
    body.cost = {LIBROSA: 0.08}
    assert {row.section for row in phase_report.bars(body)} == {"stereo"}


def test_means_pass_over_what_was_not_measured():
    records = [{"method": "a", "x": 1.0}, {"method": "a", "x": math.nan}, {"method": "a"}, {"method": "b", "x": 9.0}]
    assert phase_report.mean(records, "x", method="a") == 1.0
    assert math.isnan(phase_report.mean(records, "x", method="c"))
    assert phase_report.cell(-0.001, 1) == "0.0"
    assert phase_report.cell(math.nan, 1) == "-"


def test_results_are_written_whole(tmp_path):
    written = phase_report.write(findings(), tmp_path / "new")
    assert [path.suffix for path in written] == [".md", ".json", ".png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in written)
    assert "| pghi_refined | 0.100 | - | - | -31.0 | - | 2.0 | - | 0.0100 | 1/8.0 |" in written[0].read_text()
    stored = json.loads(written[1].read_text())
    assert stored["mono"][1]["mr"] == 0.1
    assert [row["reached"] for row in stored["bars"]][-1] == "NO"
    assert phase_report.without_nan({"a": [math.nan, 1.0]}) == {"a": [None, 1.0]}


@pytest.mark.e2e
def test_a_quick_run_compares_everything_that_is_here(tmp_path):
    options = ["--rendered", str(DATA / "violin_short.flac"), "--recorded", str(DATA / "piano_short.flac")]
    done = CliRunner().invoke(
        phase.main, ["--quick", "--seconds", "0.5", *options, "-o", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    stored = json.loads((tmp_path / "phase_benchmark.json").read_text())
    assert {record["set"] for record in stored["mono"]} == {"exact", "blurred", "mel-128", "model"}
    assert {record["set"] for record in stored["stereo"]} == {"exact", "blurred", "model"}
    assert {"librosa.griffinlim, 2", "source", AUTO} <= set(stored["cost"])
    assert all(seconds > 0 for seconds in stored["cost"].values())
    assert "oracle gain: no --paired folder was given" in stored["notes"]
    assert (tmp_path / "phase_benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert torch.get_num_threads() == 1


def test_mistakes_are_answered_by_one_line():
    for options, message in ((["--hop", "0"], "hop_length 0"), (["--rendered", "nowhere.wav"], "nowhere.wav")):
        done = CliRunner().invoke(phase.main, ["--quick", *options])
        assert done.exit_code == 2
        assert message in done.output
