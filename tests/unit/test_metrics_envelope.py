"""Attack and decay of synthetic notes whose attack and decay are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.envelope import note_shapes
from audiotrans.evaluation.metrics.pitch import Note

RATE = 22_050
SCORE = [Note(0.2, 0.9, 60), Note(1.2, 0.9, 67), Note(2.2, 0.9, 72)]


def median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def attack_seconds(wave: np.ndarray, sample_rate: int, notes: list[Note] | None = None) -> float:
    return median(note_shapes(wave, sample_rate, notes).attack_seconds)


def decay_db_per_second(wave: np.ndarray, sample_rate: int, notes: list[Note] | None = None) -> float:
    return median(note_shapes(wave, sample_rate, notes).decay_db_per_second)


def played(notes: list[Note], attack: float = 0.01, decay: float = 0.0, sample_rate: int = RATE) -> np.ndarray:
    """Play notes of five partials with a straight rise (seconds) and an exponential fall (dB/s); stereo."""
    end = max(note.onset_seconds + note.duration_seconds for note in notes) + 0.2
    wave = np.zeros(round(end * sample_rate))
    for note in notes:
        time = np.arange(round(note.duration_seconds * sample_rate)) / sample_rate
        hertz = 440 * 2 ** ((note.midi - 69) / 12)
        tone = sum(np.sin(2 * np.pi * hertz * k * time + k) / k for k in range(1, 6))
        shape = np.minimum(time / attack, 1) * 10 ** (-decay * np.maximum(time - attack, 0) / 20)
        start = round(note.onset_seconds * sample_rate)
        wave[start : start + len(time)] += 0.1 * tone * shape
    return np.stack([wave, 0.5 * wave])


@pytest.mark.parametrize("attack", [0.03, 0.06, 0.12, 0.2])
def test_the_attack_of_a_straight_rise(attack: float) -> None:
    # From 10 to 90 % of a straight rise is 0.8 of it; the smoothing rounds its two corners by some 5 ms at most.
    assert attack_seconds(played(SCORE, attack), RATE, SCORE) == pytest.approx(0.8 * attack, abs=0.006)


def test_the_shortest_attack_is_that_of_the_smoothing() -> None:
    assert 0.0 < attack_seconds(played(SCORE, 0.0005), RATE, SCORE) < 0.008


@pytest.mark.parametrize("decay", [0.0, 5.0, 20.0, 60.0])
def test_the_decay_of_an_exponential_fall(decay: float) -> None:
    # The beats between partials average out over most of a second: half a dB/s, and 3 % of steep falls.
    found = decay_db_per_second(played(SCORE, 0.01, decay), RATE, SCORE)
    assert found == pytest.approx(decay, abs=0.5, rel=0.03)


def test_gain_channels_and_rate_do_not_matter() -> None:
    wave = played(SCORE, 0.05, 20.0)
    shapes = note_shapes(wave, RATE, SCORE)
    quiet = note_shapes(0.01 * wave[:1], RATE, SCORE)
    # The floor below which a level counts as none is 120 dB down: nothing here reaches it.
    np.testing.assert_allclose(quiet.attack_seconds, shapes.attack_seconds, atol=1e-4)
    np.testing.assert_allclose(quiet.decay_db_per_second, shapes.decay_db_per_second, rtol=1e-6)
    finer = played(SCORE, 0.05, 20.0, 44_100)
    assert attack_seconds(finer, 44_100, SCORE) == pytest.approx(attack_seconds(wave, RATE, SCORE), abs=0.001)


def test_a_note_is_measured_in_its_own_band() -> None:
    # A loud steady bass an octave and more below must not hide the attack and the decay of the notes above it.
    bass = 0.5 * np.sin(2 * np.pi * 65.4 * np.arange(played(SCORE).shape[1]) / RATE)
    wave = played(SCORE, 0.05, 30.0) + bass
    assert attack_seconds(wave, RATE, SCORE) == pytest.approx(0.04, abs=0.01)
    assert decay_db_per_second(wave, RATE, SCORE) == pytest.approx(30.0, rel=0.1)


def test_the_median_is_over_notes_in_the_order_of_their_onsets() -> None:
    parts = [played([note], 0.03, decay) for note, decay in zip(SCORE, (10.0, 20.0, 40.0), strict=True)]
    wave = np.zeros((2, max(part.shape[1] for part in parts)))
    for part in parts:
        wave[:, : part.shape[1]] += part
    shapes = note_shapes(wave, RATE, SCORE[::-1])
    assert shapes.decay_db_per_second == pytest.approx([10.0, 20.0, 40.0], abs=0.7)
    assert decay_db_per_second(wave, RATE, SCORE) == pytest.approx(20.0, abs=0.7)


def test_without_a_score_the_onsets_are_heard() -> None:
    wave = played(SCORE, 0.01, 30.0)
    assert attack_seconds(wave, RATE) == pytest.approx(0.008, abs=0.006)
    # The last stretch of a note reaches to the next onset, over the silence between them; so a wide tolerance.
    assert decay_db_per_second(wave, RATE) > 20.0


def test_what_has_no_beginning_has_no_attack() -> None:
    time = np.arange(2 * RATE) / RATE
    steady = 0.1 * np.sin(2 * np.pi * 440 * time)[None]
    shapes = note_shapes(steady, RATE, [Note(0.9, 0.8, 69)])
    assert np.isnan(shapes.attack_seconds).all()
    assert shapes.decay_db_per_second == pytest.approx([0.0], abs=0.1)


@pytest.mark.parametrize("notes", [[], [Note(50.0, 1.0, 60)], [Note(0.1, 0.0, 60)], [Note(-3.0, 1.0, 60)]])
def test_notes_that_are_not_there_count_for_nothing(notes: list[Note]) -> None:
    shapes = note_shapes(played(SCORE), RATE, notes)
    assert len(shapes.attack_seconds) == len(notes)
    assert np.isnan(shapes.decay_db_per_second).all()
    assert math.isnan(decay_db_per_second(np.zeros((1, RATE)), RATE, SCORE))


@pytest.mark.parametrize("wave", [np.zeros(10), np.zeros((1, 0)), np.full((1, 10), np.nan)])
def test_what_is_no_wave_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(AudiotransError, match="wave"):
        note_shapes(wave, RATE, SCORE)
