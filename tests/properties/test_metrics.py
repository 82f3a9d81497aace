"""Laws that the metrics keep for any sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotrans.evaluation.metrics import artefacts, spectral, stereo, timing
from benchmarks import rulers

RATE = 16000

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(1, 9000)
channels = st.integers(1, 3)
onsets = st.lists(st.integers(0, 200), max_size=12).map(lambda ticks: np.array(sorted(ticks)) / 100)


def measured(reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Run every metric but those of pitch and onsets, which are slow."""
    of_two = (
        *(
            spectral.log_spectral_distance,
            spectral.band_distance,
            spectral.multi_resolution_stft_distance,
        ),
        *(
            timing.loudness_correlation,
            stereo.stereo_coherence_error,
            stereo.level_difference_error_db,
        ),
        *(artefacts.pre_echo_db, artefacts.modulation_noise_excess_db),
    )
    return {
        **{metric.__name__: metric(reference, estimate, RATE) for metric in of_two},
        "snr_db": spectral.snr_db(reference, estimate),
        "clipped_fraction": timing.clipped_fraction(estimate),
        "silent_fraction": timing.silent_fraction(estimate, RATE),
        "clicks_per_second": artefacts.clicks_per_second(estimate, RATE),
    }


def noise(seed: int, shape: tuple[int, int], level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, length=lengths, count=channels)
def test_a_sound_is_at_no_distance_from_itself(seed, length, count):
    wave = noise(seed, (count, length))
    result = measured(wave, wave)
    assert result["log_spectral_distance"] == result["band_distance"] == 0.0
    assert result["multi_resolution_stft_distance"] == 0.0
    assert result["snr_db"] == np.inf
    assert result["loudness_correlation"] == pytest.approx(1.0)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, length=lengths, gain_db=st.floats(-40, 40))
def test_a_gain_costs_at_most_its_decibels(seed, length, gain_db):
    wave = noise(seed, (1, length))
    scaled = (wave * 10 ** (gain_db / 20)).astype(np.float32)
    # The floor can only hide a part of the difference; 0.01 dB is float32 rounding.
    assert spectral.log_spectral_distance(wave, scaled, RATE) <= abs(gain_db) + 0.01
    assert spectral.band_distance(wave, scaled, RATE) <= abs(gain_db) + 0.01


@settings(deadline=None, max_examples=30)
@given(seed=seeds, length=lengths, count=channels, gain=st.sampled_from([0.25, 0.5, 2.0]))
def test_relative_measures_do_not_depend_on_the_level(seed, length, count, gain):
    reference = noise(seed, (count, length))
    estimate = reference + noise(seed + 1, (count, length), 0.01)
    for measure in (
        spectral.log_spectral_distance,
        spectral.band_distance,
        spectral.multi_resolution_stft_distance,
    ):
        # Powers of two scale floats exactly, but the guard against log 0 (-200 dB) stays where it is.
        same = measure(reference * gain, estimate * gain, RATE)
        assert same == pytest.approx(measure(reference, estimate, RATE), rel=1e-5)
    # A power of two only changes exponents.
    assert spectral.snr_db(reference * gain, estimate * gain) == pytest.approx(spectral.snr_db(reference, estimate))


@settings(deadline=None, max_examples=20)
@given(seed=seeds, length=st.integers(2, 9000))
def test_nothing_that_is_given_gets_changed(seed, length):
    reference, estimate = noise(seed, (2, length)), noise(seed + 1, (2, length))
    before = reference.copy(), estimate.copy()
    measured(reference, estimate)
    rulers.seam_level_db(reference, estimate, [0])
    rulers.band_statistics([reference, estimate], RATE)
    np.testing.assert_array_equal(reference, before[0])
    np.testing.assert_array_equal(estimate, before[1])


@settings(deadline=None, max_examples=20)
@given(seed=seeds, length=st.integers(600, 9000))
def test_shares_and_correlations_stay_in_their_range(seed, length):
    wave, other = noise(seed, (1, length), 0.6), noise(seed + 1, (1, length), 0.001)
    assert 0.0 <= timing.clipped_fraction(wave) <= 1.0
    assert 0.0 <= timing.silent_fraction(other, RATE) <= 1.0
    assert -1.0001 <= timing.loudness_correlation(wave, other, RATE) <= 1.0001  # rounding in corrcoef


@given(first=onsets, second=onsets)
def test_matching_is_symmetric_and_bounded(first, second):
    pairs = timing.match_onsets(first, second)
    assert pairs == timing.match_onsets(second, first)
    assert 0 <= pairs <= min(len(first), len(second))
    assert timing.match_onsets(first, first) == len(first)


@given(first=onsets, second=onsets)
def test_matching_is_as_large_as_mir_evals(first, second):
    util = pytest.importorskip("mir_eval.util")
    # Off the grid of ticks, so that no pair lies exactly on the edge of the window, where rounding decides.
    assert timing.match_onsets(first, second, 0.055) == len(util.match_events(first, second, 0.055))


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_distribution_distance_is_a_metric(seed):
    rng = np.random.default_rng(seed)
    one, two, three = (rulers.BandStatistics(rng.normal(size=8), rng.random(8)) for _ in range(3))
    assert rulers.distribution_distance(one, one) == 0.0
    assert rulers.distribution_distance(one, two) == pytest.approx(rulers.distribution_distance(two, one))
    way_round = rulers.distribution_distance(one, two) + rulers.distribution_distance(two, three)
    assert rulers.distribution_distance(one, three) <= way_round + 1e-9
