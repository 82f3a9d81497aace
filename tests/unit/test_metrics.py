"""Metrics against values that a reader can check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics import pitch, spectral, timing
from audiotrans.evaluation.metrics.spectral import band_matrix
from benchmarks import rulers

RATE = 22050


def tone(hertz: float, seconds: float = 1.0, *, rate: int = RATE, partials: int = 6, level: float = 0.2) -> np.ndarray:
    """A harmonic tone whose partial h has the amplitude level / h; shape (1, samples)."""
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * hertz * h * time) / h for h in range(1, partials + 1) if h * hertz < rate / 2)
    return (level * np.asarray(wave))[None].astype(np.float32)


def clicks(at_seconds: list[float], seconds: float = 2.0) -> np.ndarray:
    wave = np.zeros((1, round(seconds * RATE)), dtype=np.float32)
    decay = np.exp(-np.arange(2000) / 300) * np.random.default_rng(0).standard_normal(2000)
    for start in at_seconds:
        first = round(start * RATE)
        wave[0, first : first + 2000] += decay
    return wave


def noise(shape: tuple[int, int] = (2, RATE), seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Distances between spectra


@pytest.mark.parametrize("gain_db", [6.0, -12.0])
def test_a_gain_moves_white_noise_by_its_decibels(gain_db):
    wave = noise()
    louder = wave * 10 ** (gain_db / 20)
    # White noise lies within 30 dB of its loudest bin, so the floor touches nothing; 0.01 dB is float32.
    assert spectral.log_spectral_distance(wave, louder, RATE) == pytest.approx(abs(gain_db), abs=0.01)
    assert spectral.band_distance(wave, louder, RATE) == pytest.approx(abs(gain_db), abs=0.01)


def test_distance_to_silence_is_limited_by_the_floor():
    wave = noise()
    distance = spectral.log_spectral_distance(wave, np.zeros_like(wave), RATE)
    # Every bin of the estimate lies on the floor, 80 dB below the loudest; the rest of the noise is a few dB below.
    assert 50.0 < distance < 80.0


def test_floor_hides_what_is_80_db_below_the_loudest_bin():
    wave = tone(1000.0, partials=1)
    hidden = wave + 1e-7 * noise((1, wave.shape[1]))
    # A window's side lobes near the sine stand above the floor; what was added is 40 dB under it.
    assert spectral.log_spectral_distance(wave, hidden, RATE) < 0.01


def test_multi_resolution_distance_of_a_halved_wave():
    wave = noise()
    # Spectral convergence of a half is 0.5, the log difference ln 2, at every resolution.
    expected = 0.5 + math.log(2.0)
    assert spectral.multi_resolution_stft_distance(wave, wave / 2, RATE) == pytest.approx(expected, abs=1e-3)


def test_distances_of_a_silent_reference_are_refused():
    silent = np.zeros((1, 4096), dtype=np.float32)
    for measure in (
        spectral.log_spectral_distance,
        spectral.band_distance,
        spectral.multi_resolution_stft_distance,
    ):
        with pytest.raises(AudiotransError, match="reference is silent"):
            measure(silent, silent, RATE)


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_bands_are_means_and_none_is_empty(rate):
    matrix = band_matrix(rate)
    assert matrix.shape == (256, 1025)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    assert (matrix @ np.arange(1025.0))[-1] * rate / 2048 <= 12_000 + rate / 2048


def test_band_statistics_do_not_hear_loudness():
    wave = noise()
    first, second = rulers.band_statistics([wave], RATE), rulers.band_statistics([wave * 4], RATE)
    assert rulers.distribution_distance(first, second) < 0.01  # dB; float32 rounding in the STFT


def test_distribution_distance_by_hand():
    first = rulers.BandStatistics(np.zeros(4), np.zeros(4))
    second = rulers.BandStatistics(np.full(4, 3.0), np.full(4, 4.0))
    assert rulers.distribution_distance(first, second) == pytest.approx(5.0)


def test_band_statistics_of_nothing():
    with pytest.raises(AudiotransError, match="no wave"):
        rulers.band_statistics([], RATE)


# Samples


def test_snr_by_hand():
    wave = np.ones((2, 100), dtype=np.float32)
    assert spectral.snr_db(wave, wave * 1.01) == pytest.approx(40.0, abs=0.01)  # 1.01 is not exact in float32
    assert spectral.snr_db(wave, wave) == math.inf


def test_snr_of_silence_is_refused():
    silent = np.zeros((1, 10), dtype=np.float32)
    with pytest.raises(AudiotransError, match="silent"):
        spectral.snr_db(silent, silent)


def test_seam_level_sees_a_click_only_near_a_seam():
    wave = np.ones((1, 20_000), dtype=np.float32)
    clicked = wave.copy()
    clicked[0, 10_000] += 0.01
    assert rulers.seam_level_db(wave, clicked, [10_100]) == pytest.approx(-40.0, abs=0.01)
    assert rulers.seam_level_db(wave, clicked, [15_000]) == -math.inf


def test_seam_level_takes_the_worst_seam():
    wave = np.ones((1, 20_000), dtype=np.float32)
    clicked = wave.copy()
    clicked[0, 5_000], clicked[0, 15_000] = 1.001, 1.1
    assert rulers.seam_level_db(wave, clicked, [5_000, 15_000]) == pytest.approx(-20.0, abs=0.01)


def test_seam_level_without_a_seam_is_refused():
    wave = np.ones((1, 100), dtype=np.float32)
    with pytest.raises(AudiotransError, match="no seam"):
        rulers.seam_level_db(wave, wave, [200])
    with pytest.raises(AudiotransError, match="silent"):
        rulers.seam_level_db(wave * 0, wave, [50])


# Pitch


@pytest.mark.parametrize("hertz", [98.0, 196.0, 440.0, 1318.51])
def test_pitch_of_a_harmonic_tone(hertz):
    track = pitch.pitch_track(tone(hertz), RATE)
    distance = 1200 * np.log2(track.hertz[4:-4] / hertz)
    # Away from the ends, where half a window is silence; a tenth of a cent is the parabola's error.
    assert np.abs(distance).max() < 0.5


def test_pitch_error_of_a_detuned_tone():
    error = pitch.pitch_error(tone(440.0), tone(440.0 * 2 ** (15 / 1200)), RATE)
    assert error.median_cents == pytest.approx(15.0, abs=0.2)
    assert error.fraction_off == 0.0
    assert error.frames > 30


def test_an_octave_counts_as_off():
    error = pitch.pitch_error(tone(440.0), tone(880.0), RATE)
    assert error.median_cents == pytest.approx(1200.0, abs=1.0)
    assert error.fraction_off == 1.0


def test_noise_and_silence_have_no_pitch():
    silent = np.zeros((1, RATE), dtype=np.float32)
    error = pitch.pitch_error(silent, tone(440.0), RATE)
    assert (math.isnan(error.median_cents), math.isnan(error.fraction_off), error.frames) == (True, True, 0)


def test_note_errors_by_the_score(tmp_path):
    source = np.concatenate([tone(440.0), tone(493.88), tone(523.25)], axis=1)
    output = np.concatenate([tone(440.0), tone(493.88 * 2 ** (30 / 1200)), tone(523.25) * 0], axis=1)
    score = tmp_path / "notes.csv"
    # The fourth note is written where the source plays another one: it tells nothing.
    score.write_text("start_s,duration_s,midi,dynamic\n0,1,69,.5\n1,1,71,.5\n2,1,72,.5\n0,1,60,.5\n")
    errors = rulers.note_pitch_errors(source, output, RATE, score)
    assert errors[0] == pytest.approx(0.0, abs=0.01)
    assert errors[1] == pytest.approx(30.0, abs=0.5)
    assert errors[2] == math.inf
    assert math.isnan(errors[3])


def test_scores_that_cannot_be_read(tmp_path):
    with pytest.raises(AudiotransError, match="cannot read the notes"):
        pitch.read_notes(tmp_path / "none.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("start_s,duration_s,midi\n0,1,69\n1,x,70\n")
    with pytest.raises(AudiotransError, match=r"line 3 .*not a note"):
        pitch.read_notes(bad)
    bad.write_text("time,length\n0,1\n")
    with pytest.raises(AudiotransError, match="start_s, duration_s and midi"):
        pitch.read_notes(bad)


# Time


def test_onsets_are_found_where_the_clicks_are():
    times = timing.onset_times(clicks([0.5, 1.0, 1.5]), RATE)
    np.testing.assert_allclose(times, [0.5, 1.0, 1.5], atol=0.03)  # three hops of 10 ms


def test_onset_f1_of_a_missing_onset():
    f1 = timing.onset_f1(clicks([0.5, 1.0, 1.5]), clicks([0.5, 1.5]), RATE)
    assert f1 == pytest.approx(2 * 2 / 5)


def test_onset_f1_without_onsets_agrees():
    silent = np.zeros((1, RATE), dtype=np.float32)
    assert timing.onset_f1(silent, silent, RATE) == 1.0


def test_matching_is_one_to_one():
    assert timing.match_onsets(np.array([1.0]), np.array([0.98, 1.02])) == 1
    assert timing.match_onsets(np.array([1.0, 1.04]), np.array([0.96, 1.0])) == 2
    assert timing.match_onsets(np.array([1.0]), np.array([1.06])) == 0


def test_loudness_correlation():
    ramp = np.linspace(0.01, 1.0, RATE, dtype=np.float32)[None]
    wave = np.ones((1, RATE), dtype=np.float32)
    assert timing.loudness_correlation(ramp, ramp * 0.1, RATE) == pytest.approx(1.0, abs=1e-4)
    assert timing.loudness_correlation(ramp, ramp[:, ::-1], RATE) < -0.5
    assert timing.loudness_correlation(wave, wave * 0.5, RATE) == 1.0
    assert timing.loudness_correlation(wave, ramp, RATE) == 0.0


def test_clipping_and_silence_are_shares():
    wave = np.full((1, RATE), 0.5, dtype=np.float32)
    wave[0, : RATE // 2] = 0.0005  # -66 dB
    wave[0, -10:] = -1.0
    assert timing.clipped_fraction(wave) == pytest.approx(10 / RATE)
    assert timing.silent_fraction(wave, RATE) == pytest.approx(0.5, abs=0.05)  # a frame of 50 ms straddles the step


# The door


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(10), r"use wave\[None, :\]"),
        (np.zeros((1, 0)), "no samples"),
        (np.zeros((1, 10), dtype=np.int16), "int16"),
        (np.full((1, 10), np.nan), "NaN"),
        (np.zeros((1, 11)), r"\(1, 10\).*\(1, 11\)"),
    ],
)
def test_bad_waves_are_refused_with_the_reason(wave, message):
    good = np.ones((1, 10))
    with pytest.raises(AudiotransError, match=message):
        spectral.band_distance(good, wave, RATE)


def test_a_bad_rate_is_refused():
    good = np.ones((1, 10))
    with pytest.raises(AudiotransError, match="0 Hz"):
        spectral.band_distance(good, good, 0)


def test_a_sound_is_at_every_bound_to_itself():
    wave = tone(440.0, 0.5)
    assert spectral.log_spectral_distance(wave, wave, RATE) == 0.0
    assert spectral.snr_db(wave, wave) == math.inf
    assert pitch.pitch_error(wave, wave, RATE).median_cents == 0.0
    assert timing.onset_f1(wave, wave, RATE) == 1.0
