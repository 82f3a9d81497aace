"""The benchmark's own parts: a wrong ruler would praise a wrong model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from audiotrans.evaluation import baselines
from audiotrans.evaluation.metrics import pitch
from audiotrans.evaluation.metrics.spectral import power_spectrum
from audiotrans.evaluation.soundfont import midi_file
from benchmarks import paired, rulers, scale
from benchmarks.compare_models import table
from benchmarks.table import Row, bootstrap, markdown, write_json

pytestmark = pytest.mark.slow


@pytest.fixture
def three_notes(monkeypatch):
    """Keep the lowest, a middle and the highest note: the pitch tracker takes its time."""
    monkeypatch.setattr(scale, "MIDI", (55, 67, 79))


@pytest.mark.usefixtures("three_notes")
@pytest.mark.parametrize("instrument", ["violin", "piano"])
def test_the_scale_is_in_tune_and_every_note_is_heard(instrument):
    wave = scale.synthesise(instrument)
    track = pitch.pitch_track(wave, scale.RATE)
    for note in scale.score():
        written = 440 * 2 ** ((note.midi - 69) / 12)
        # A stiff string sounds up to 8 cents sharp at the top of the scale.
        assert -1 < 1200 * math.log2(rulers.note_pitch(note, track) / written) < 10


@pytest.mark.usefixtures("three_notes")
def test_a_transposed_scale_misses_the_bar():
    class Transposing:
        domains = ("violin", "piano")

        def convert(self, wave, sample_rate, *, to):
            # Played 1.7 % faster: 30 cents high; the notes move by 40 ms at most.
            positions = np.arange(wave.shape[1]) * 2 ** (30 / 1200)
            return np.stack([np.interp(positions, np.arange(len(channel)), channel) for channel in wave])

    rows = list(scale.rows(Transposing(), None))
    worst = [row for row in rows if "worst" in row.measure]
    assert len(worst) == 2
    assert all(row.verdict == "NO" and row.value > 25 for row in worst)


def test_midi_file_by_hand():
    data = midi_file(scale.score(), 40)
    assert data[:14] == b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xf4"
    length = int.from_bytes(data[18:22], "big")
    assert len(data) == 22 + length
    # Program 40 at once; G3 (55) after 250 ticks, written as 0x81 0x7a.
    assert data[22:29] == b"\x00\xc0\x28\x81\x7a\x90\x37"
    assert data.endswith(b"\xff\x2f\x00")


def test_equalising_reaches_the_long_term_spectrum():
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal((2, 44_100)).astype(np.float32)
    target = power_spectrum(wave).mean(axis=1) * np.linspace(4.0, 0.4, 1025)
    reached = power_spectrum(baselines.equalise(wave, target)).mean(axis=1)
    difference_db = 10 * np.log10(baselines.smooth(reached) / baselines.smooth(target))
    # Where the target is steep (its top octave falls 7 dB) or has few bins, smoothing leaves tenths of a dB.
    assert np.abs(difference_db[20:-20]).max() < 0.5


def test_nearer_by_hand():
    distances = {"model": np.array([8.0, 8.0]), "copy": np.array([10.0, 10.0])}
    assert paired.nearer(distances, "model") == pytest.approx((20.0, 20.0, 20.0))


def test_bootstrap_covers_the_spread_of_the_clips():
    values = np.arange(8.0)
    low, high = bootstrap(lambda chosen: float(values[chosen].mean()), 8)
    # The mean of 8 draws has a standard error of sqrt(5.25 / 8) = 0.81.
    assert low == pytest.approx(3.5 - 1.96 * 0.81, abs=0.2)
    assert high == pytest.approx(3.5 + 1.96 * 0.81, abs=0.2)


def test_rows_know_whether_they_reach_their_bar(tmp_path):
    rows = [
        Row("a", "more", 41.0, "dB", at_least=40),
        Row("a", "less", -79.0, "dB", at_most=-80),
        Row("a", "nothing", math.nan, "cents", at_most=20),
        Row("a", "free", math.inf),
    ]
    assert [row.verdict for row in rows] == ["yes", "NO", "NO", ""]
    assert "| a | more | 41 dB | >= 40 | yes |" in markdown(rows)
    write_json(rows, ["a note"], tmp_path / "rows.json")
    stored = json.loads((tmp_path / "rows.json").read_text())
    assert stored["notes"] == ["a note"]
    assert [row["reached"] for row in stored["rows"]] == ["yes", "NO", "NO", ""]


def test_models_stand_side_by_side():
    lines = table([("one", "a to b", {"x": 1.0}), ("two", "a to b", {"x": 2.0})]).splitlines()
    assert lines[-1] == "| two | a to b | 2.00 |"
    assert len({line.count("|") for line in lines}) == 1
