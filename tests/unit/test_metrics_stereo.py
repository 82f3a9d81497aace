"""Stereo cues against values that follow from how the sounds were made."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.stereo import (
    band_edges_hz,
    level_difference_error_db,
    stereo_coherence_error,
    stereo_image,
)

RATE = 44_100


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right]).astype(np.float32)


def correlated(share: float, seconds: float = 8.0) -> np.ndarray:
    """Two channels of equal level whose correlation is `share` at every frequency."""
    common, left, right = (noise(seconds, seed) for seed in range(3))
    return pair(*(math.sqrt(share) * common + math.sqrt(1.0 - share) * own for own in (left, right)))


def test_there_are_21_bands_of_two_erb_up_to_20_8_khz():
    edges = band_edges_hz()
    assert len(edges) == 22
    # Glasberg and Moore's width of an auditory filter, 24.7 (1 + 0.00437 f) Hz, at the middle of a band, twice.
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    assert width == pytest.approx(2 * 24.7 * (1 + 0.00437 * middle), rel=0.01)
    assert edges[-1] == pytest.approx(20_800, rel=0.01)


@pytest.mark.parametrize(("wave", "value"), [("same", 1.0), ("opposite", -1.0), ("one silent", 0.0)])
def test_coherence_at_its_bounds(wave, value):
    one = noise()
    waves = {"same": pair(one, one), "opposite": pair(one, -one), "one silent": pair(one, 0 * one)}
    # The e of the definition is 80 dB below the loudest band; white noise fills no band that little.
    assert stereo_image(waves[wave], RATE).coherence == pytest.approx(np.full((21, 1), value), abs=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_coherence_is_the_share_of_what_is_common(share):
    found = stereo_image(correlated(share), RATE).coherence[:, 0]
    # A band holds bandwidth x 8 s independent values: 890 in the lowest (56 Hz), so a standard error below .04.
    assert found == pytest.approx(np.full(21, share), abs=0.12)
    assert found[10:] == pytest.approx(np.full(11, share), abs=0.03)


def test_level_difference_is_the_gain_between_the_channels():
    one = noise()
    found = stereo_image(pair(one, one / 2), RATE).level_difference_db
    assert found == pytest.approx(np.full((21, 1), 20 * math.log10(2)), abs=1e-3)


def test_blocks_follow_a_sound_that_moves():
    one = noise(2.0)
    moving = pair(np.where(np.arange(len(one)) < RATE, one, 0.1 * one), one)
    found = stereo_image(moving, RATE, block_seconds=0.5).level_difference_db
    assert found.shape == (21, 5)
    # The last frames hang over the end; those of the two halves tell 0 dB from -20 dB.
    assert found[3:, 0] == pytest.approx(0.0, abs=0.01)
    assert found[3:, 3] == pytest.approx(-20.0, abs=0.01)


@pytest.mark.parametrize("block", [None, 0.2])
def test_the_same_image_has_no_error(block):
    wave = correlated(0.5, 1.0)
    assert stereo_coherence_error(wave, wave, RATE, block_seconds=block) == 0.0
    assert level_difference_error_db(wave, wave, RATE, block_seconds=block) == 0.0


def test_errors_by_hand():
    one = noise()
    middle = pair(one, one)
    # Turned over: from 1 to -1, and no level changed.
    assert stereo_coherence_error(middle, pair(one, -one), RATE) == pytest.approx(2.0, abs=1e-4)
    assert level_difference_error_db(middle, pair(one, -one), RATE) == pytest.approx(0.0, abs=1e-6)
    # Panned by 6.02 dB: as coherent as before.
    assert stereo_coherence_error(middle, pair(one, one / 2), RATE) == pytest.approx(0.0, abs=1e-4)
    assert level_difference_error_db(middle, pair(one, one / 2), RATE) == pytest.approx(6.02, abs=0.01)


def test_channels_whose_phases_drift_apart_lose_coherence_even_with_one_partial_in_a_band():
    time = np.arange(RATE) / RATE
    partials = [220.0, 440.0, 880.0, 1760.0, 3520.0]
    # Faded, so that beginning and end do not spread into the bands between.
    left = np.hanning(RATE) * sum(np.sin(2 * np.pi * hertz * time) for hertz in partials)
    right = np.hanning(RATE) * sum(np.sin(2 * np.pi * hertz * time + np.pi / 2) for hertz in partials)
    # Each partial a quarter turn away: correlation 0 in its band, and in those that its side lobes fill.
    assert stereo_coherence_error(pair(left, left), pair(left, right), RATE) == pytest.approx(1.0, abs=0.05)


def test_blocks_see_an_image_that_wanders_and_is_right_on_average():
    one, silence = noise(2.0), np.zeros(2 * RATE)
    early = np.arange(2 * RATE) // (RATE // 2) % 2 == 0
    swinging = pair(np.where(early, one, silence), np.where(early, silence, one))
    swung = swinging[::-1].copy()
    assert level_difference_error_db(swinging, swung, RATE) < 2.0
    # Most of 80 dB to one side becomes 80 dB to the other; blocks at the swings hold both.
    assert level_difference_error_db(swinging, swung, RATE, block_seconds=0.2) > 50.0


def test_level_does_not_count():
    reference, estimate = correlated(0.3, 1.0), correlated(0.8, 1.0)
    for measure in (stereo_coherence_error, level_difference_error_db):
        # A power of two scales floats exactly.
        assert measure(reference / 64, estimate / 64, RATE) == pytest.approx(measure(reference, estimate, RATE))


def test_bands_without_sound_do_not_count():
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * time)
    reference = pair(tone, tone) + 1e-6 * pair(noise(seed=1), noise(seed=2))
    estimate = pair(tone, tone) + 1e-6 * pair(noise(seed=3), noise(seed=4))
    # 100 dB below the tone lies a noise that is another in the estimate.
    assert stereo_coherence_error(reference, estimate, RATE) < 1e-3


def test_dual_mono_against_dual_mono_is_the_same_image():
    assert stereo_coherence_error(pair(noise(), noise()), pair(noise(seed=1), noise(seed=1)), RATE) < 1e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_sounds_without_two_channels_have_no_image(channels):
    wave = np.ones((channels, 4000))
    assert math.isnan(stereo_coherence_error(wave, wave, RATE))
    assert math.isnan(level_difference_error_db(wave, wave, RATE))
    with pytest.raises(AudiotransError, match="two channels"):
        stereo_image(wave, RATE)


def test_silence_is_refused_as_a_reference_and_counted_as_an_estimate():
    wave = pair(noise(), noise())
    with pytest.raises(AudiotransError, match="reference is silent"):
        stereo_coherence_error(0 * wave, wave, RATE)
    assert stereo_coherence_error(wave, 0 * wave, RATE) == pytest.approx(1.0, abs=1e-4)
    assert (stereo_image(0 * wave, RATE).coherence == 0.0).all()


@pytest.mark.parametrize(("rate", "bands"), [(8_000, 14), (44_100, 21), (96_000, 21)])
def test_low_rates_have_fewer_bands(rate, bands):
    assert stereo_image(pair(noise(), noise()), rate).coherence.shape[0] == bands


def test_one_sample_is_enough():
    wave = np.array([[0.5], [0.25]])
    assert stereo_coherence_error(wave, wave, RATE) == 0.0
