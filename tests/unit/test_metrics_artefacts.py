"""Measures of artefacts against sounds that hold a known amount of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics import artefacts
from audiotrans.evaluation.metrics.artefacts import (
    attack_times,
    clicks_per_second,
    consistency_db,
    modulation_noise_db,
    modulation_noise_excess_db,
    pre_echo_db,
    pre_echo_level_db,
)
from audiotrans.spectrogram.stft import STFT

RATE = 44_100


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def bursts(at_seconds: list[float], floor: float = 0.0, seconds: float = 2.0) -> np.ndarray:
    """Bursts of decaying noise on a floor of noise whose amplitude is the share `floor` of theirs; (1, samples)."""
    wave = 0.1 * floor * noise(seconds, 1)
    for start in at_seconds:
        first = round(start * RATE)
        length = len(wave) - first
        wave[first:] += 0.1 * noise(length / RATE, 2) * np.exp(-np.arange(length) / (0.05 * RATE))
    return wave[None]


def sine(hertz: float, seconds: float = 1.5, *, depth: float = 0.0, swing_hertz: float = 86.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    envelope = 1.0 + depth * np.cos(2 * np.pi * swing_hertz * time)
    return (0.3 * envelope * np.sin(2 * np.pi * hertz * time))[None]


def random_phases(wave: np.ndarray) -> np.ndarray:
    """Rebuild a wave (1, samples) from its magnitudes by a few Griffin-Lim iterations from random phases."""
    import librosa

    magnitude = STFT().forward(torch.from_numpy(wave.astype(np.float32))).abs()
    samples = (magnitude.shape[-1] - 1) * 512
    again = librosa.griffinlim(magnitude.numpy(), n_iter=8, hop_length=512, length=samples, random_state=0)
    return again[:, : wave.shape[1]]


# Inconsistency


def test_a_wave_is_consistent_with_its_own_magnitude():
    wave = (0.1 * noise(0.3)).astype(np.float32)[None]
    magnitude = STFT().forward(torch.from_numpy(wave)).abs().double().numpy()
    assert consistency_db(magnitude, wave) == -math.inf
    # Half the magnitude is missed by half of it.
    assert consistency_db(2.0 * magnitude, wave) == pytest.approx(-6.02, abs=0.01)
    assert consistency_db(magnitude, 0.0 * wave) == 0.0


def test_inconsistency_takes_other_settings_and_refuses_other_shapes():
    wave = (0.1 * noise(0.1)).astype(np.float32)[None]
    stft = STFT(512, 128)
    assert consistency_db(stft.forward(torch.from_numpy(wave)).abs().numpy(), wave, stft) < -120
    with pytest.raises(AudiotransError, match=r"\(1, 3, 3\).*\(1, 1025, 10\)"):
        consistency_db(np.ones((1, 3, 3)), wave)
    with pytest.raises(AudiotransError, match="zero everywhere"):
        consistency_db(np.zeros((1, 1025, 10)), wave)


# Attacks and pre-echo


def test_attacks_are_found_within_2_ms():
    found = attack_times(bursts([0.3, 0.9, 1.5], floor=0.01), RATE)
    assert found == pytest.approx([0.3, 0.9, 1.5], abs=2e-3)


def test_soft_attacks_and_rates_without_treble_have_none():
    swell = noise(2.0)[None] * np.linspace(0, 1, 2 * RATE)
    assert len(attack_times(swell, RATE)) == 0
    assert len(attack_times(bursts([0.3]), 4_000)) == 0
    assert len(attack_times(np.zeros((1, RATE)), RATE)) == 0
    assert math.isnan(pre_echo_db(swell, swell, RATE))
    assert math.isnan(pre_echo_level_db(swell, RATE))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_pre_echo_by_hand(share):
    reference = bursts([0.5, 1.2], floor=0.01)
    estimate = reference.copy()
    for start in (0.5, 1.2):
        first, last = round((start - 0.025) * RATE), round(start * RATE)
        estimate[:, first:last] += 0.1 * share * noise(1.0, 5)[: last - first]
    # Noise of the share 0.01 was there, in power; the floor is 60 dB down, a hundredth of that. A thousand values
    # above 2 kHz in each window leave a standard error of 0.2 dB on each of the four powers.
    expected = 10 * math.log10((0.01**2 + share**2) / 0.01**2)
    assert pre_echo_db(reference, estimate, RATE) == pytest.approx(expected, abs=0.6)
    assert pre_echo_db(reference, reference, RATE) == 0.0


def test_pre_echo_in_silence_counts_from_60_db_below_the_attack():
    reference = bursts([0.5])
    estimate = reference.copy()
    estimate[:, round(0.475 * RATE) : round(0.5 * RATE)] = 0.1 * 0.01 * noise(0.025, 5)
    # 40 dB below the attack, where nothing was: 20 dB above the floor. The burst has fallen by 1.7 dB within 10 ms,
    # 0.8 dB on average.
    assert pre_echo_db(reference, estimate, RATE) == pytest.approx(20.0 + 0.8, abs=0.6)


def test_what_lies_below_2_khz_or_outside_the_window_is_no_pre_echo():
    reference = bursts([0.5], floor=0.01)
    estimate = reference.copy()
    before = slice(0, round(0.46 * RATE))
    estimate[:, before] += 0.1 * noise(0.46, 6)
    estimate += 0.05 * np.sin(2 * np.pi * 300 * np.arange(estimate.shape[1]) / RATE)
    # The filter rings on after the added noise stops, 15 ms before the window: far below the floor there.
    assert pre_echo_db(reference, estimate, RATE) == pytest.approx(0.0, abs=0.05)


def test_pre_echo_level_by_hand():
    wave = bursts([0.5, 1.2], floor=0.1)
    # 20 dB below the burst at its beginning, 0.8 dB less on its first 10 ms.
    assert pre_echo_level_db(wave, RATE) == pytest.approx(-20.0 + 0.8, abs=0.6)
    assert pre_echo_level_db(bursts([0.5]), RATE) == -60.0
    assert pre_echo_level_db(wave, RATE, np.array([0.5])) == pytest.approx(-20.0 + 0.8, abs=0.9)


def test_griffin_lim_smears_attacks():
    wave = bursts([0.5, 1.2], floor=0.001)
    again = random_phases(wave)
    # Random phases fill the 25 ms before an attack, half a window; the true phases leave them empty.
    assert pre_echo_db(wave, again, RATE) > 6.0
    assert pre_echo_level_db(again, RATE, np.array([0.5, 1.2])) > pre_echo_level_db(wave, RATE) + 6.0


# Roughness


def test_a_steady_sine_is_smooth():
    assert modulation_noise_db(sine(1000.3), RATE) == -80.0


@pytest.mark.parametrize("extent", [60.0, 86.13, 120.0])
@pytest.mark.parametrize("depth", [0.01, 0.05, 0.15])
def test_amplitude_modulation_has_its_closed_form(depth, extent):
    wave = sine(1000.3, depth=depth, swing_hertz=extent)
    # Carrier power 1/2, each of two side bands (depth / 2)^2 / 2. Nothing but the window's side lobes is left out.
    assert modulation_noise_db(wave, RATE) == pytest.approx(10 * math.log10(depth**2 / 2), abs=0.02)


def test_slow_swings_and_distant_partials_are_no_roughness():
    assert modulation_noise_db(sine(1000.3, depth=0.15, swing_hertz=6.0), RATE) < -75.0
    assert modulation_noise_db(sine(1000.3) + sine(1196.0) + sine(1392.0), RATE) < -75.0
    # Another note 80 Hz away, 10 dB weaker: not taken for a side band.
    assert modulation_noise_db(sine(1000.3) + 0.3 * sine(1080.0), RATE) < -75.0


def test_noise_around_a_sine_counts_by_its_power():
    level = 0.001
    wave = sine(1000.3, 3.0) + level * noise(3.0)
    # White noise of power level^2 over 22,050 Hz: its share between 24 and 150 Hz on both sides. Mean of dB of some
    # 47 values each is 0.1 dB below the dB of the mean.
    share = level**2 * 2 * (150 - 24) / 22_050 / (0.3**2 / 2)
    assert modulation_noise_db(wave, RATE) == pytest.approx(10 * math.log10(share), abs=0.7)


def test_random_phases_roughen_a_sustained_tone():
    wave = sine(440.0) + 0.5 * sine(880.0) + 0.3 * sine(1320.0)
    again = random_phases(wave)
    assert modulation_noise_db(wave, RATE) < -75.0
    assert modulation_noise_db(again, RATE) > -45.0
    excess = modulation_noise_excess_db(wave, again, RATE)
    # At the same partials; the one-wave figure passes over those that are too broken to be sustained.
    assert excess > 30.0


def test_excess_by_hand():
    smooth, rough = sine(1000.3, depth=0.02), sine(1000.3, depth=0.1)
    assert modulation_noise_excess_db(smooth, smooth, RATE) == 0.0
    assert modulation_noise_excess_db(smooth, rough, RATE) == pytest.approx(20 * math.log10(5), abs=0.05)
    assert modulation_noise_excess_db(rough, smooth, RATE) == pytest.approx(-20 * math.log10(5), abs=0.05)


def test_sounds_without_a_sustained_partial_have_no_roughness():
    for wave in (np.zeros((1, RATE)), np.ones((1, 10)), sine(1000.0, 0.2)):
        assert math.isnan(modulation_noise_db(wave, RATE))
    assert math.isnan(modulation_noise_excess_db(np.zeros((1, RATE)), sine(1000.0, 1.0), RATE))


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_roughness_at_other_rates(rate):
    time = np.arange(2 * rate) / rate
    wave = ((1 + 0.1 * np.cos(2 * np.pi * 80 * time)) * np.sin(2 * np.pi * 1000 * time))[None]
    assert modulation_noise_db(wave, rate) == pytest.approx(10 * math.log10(0.005), abs=0.05)


# Clicks


@pytest.mark.parametrize("places", [[], [20_000], [20_000, 40_000, 41_000]])
def test_steps_in_a_tone_are_counted(places):
    wave = sine(440.0)
    for place in places:
        wave[:, place:] += 0.05
    assert clicks_per_second(wave, RATE) == pytest.approx(len(places) / 1.5)


def test_music_has_no_clicks_of_its_own():
    assert clicks_per_second(noise(1.0)[None], RATE) == 0.0
    assert clicks_per_second(bursts([0.3, 0.9, 1.5], floor=0.001), RATE) == 0.0
    # A sawtooth jumps once a period.
    sawtooth = 0.3 * ((np.arange(RATE) * 196.0 / RATE) % 1.0 - 0.5)
    assert clicks_per_second(sawtooth[None], RATE) == 0.0


def test_silence_and_its_dither_have_no_clicks():
    dither = np.zeros((1, RATE))
    dither[0, ::5000] = 2.0**-15
    dither[0, 100:200] = 0.5
    assert clicks_per_second(np.zeros((1, RATE)), RATE) == 0.0
    assert clicks_per_second(np.ones((1, 1)), RATE) == 0.0
    assert clicks_per_second(dither, RATE) <= 2.0


@pytest.mark.parametrize("far", [6, 7])
def test_the_largest_before_is_what_it_says(far):
    values, near = np.random.default_rng(0).random(50), 2
    wanted = [max(values[max(i - far, 0) : max(i - near + 1, 0)], default=0.0) for i in range(50)]
    assert artefacts._largest_before(values, near, far) == pytest.approx(wanted)


# All of them


def test_pre_echo_of_a_sound_and_itself_is_none():
    wave = bursts([0.5, 1.2], floor=0.01)
    assert pre_echo_db(wave, wave, RATE) == 0.0


@pytest.mark.parametrize("measure", [pre_echo_db, modulation_noise_excess_db])
def test_level_does_not_count(measure):
    reference = bursts([0.5, 1.2], floor=0.01) + sine(1000.0, 2.0)
    estimate = reference + 0.001 * noise(2.0, 9)[None]
    # A power of two scales floats exactly.
    assert measure(reference / 64, estimate / 64, RATE) == pytest.approx(measure(reference, estimate, RATE))


def test_nothing_that_is_given_gets_changed():
    wave = bursts([0.5]).astype(np.float32)
    before = wave.copy()
    for measure in (pre_echo_level_db, modulation_noise_db, clicks_per_second):
        measure(wave, RATE)
    np.testing.assert_array_equal(wave, before)


@pytest.mark.parametrize("measure", [pre_echo_level_db, modulation_noise_db, clicks_per_second, attack_times])
def test_bad_waves_are_refused(measure):
    with pytest.raises(AudiotransError, match="NaN"):
        measure(np.full((1, 10), np.nan), RATE)
