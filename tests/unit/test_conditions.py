"""Rooms, equalisers and noise of the benchmark: what they are said to do is what they do."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.conditions import CONDITIONS, RATE, in_a_room, low_passed, noisy, tilted


@pytest.fixture
def wave():
    return np.random.default_rng(1).normal(0, 0.1, (2, 3 * RATE)).astype(np.float32)


def level_db(wave, low, high):
    power = np.square(np.abs(np.fft.rfft(wave, axis=-1)))
    hertz = np.fft.rfftfreq(wave.shape[1], 1 / RATE)
    return 10 * np.log10(power[:, (hertz >= low) & (hertz < high)].mean())


@pytest.mark.parametrize("name", CONDITIONS)
def test_length_channels_and_type_stay(wave, name):
    made = CONDITIONS[name](wave)
    assert (made.shape, made.dtype) == (wave.shape, np.float32)
    assert np.isfinite(made).all()


@pytest.mark.parametrize("slope", [2.0, -3.0])
def test_a_tilt_is_as_steep_as_asked(wave, slope):
    made = tilted(wave, slope)
    for octave in (-2, -1, 1, 2):
        middle = 1000 * 2.0**octave
        change = level_db(made, middle * 0.99, middle * 1.01) - level_db(wave, middle * 0.99, middle * 1.01)
        assert change == pytest.approx(slope * octave, abs=0.1)


def test_a_room_falls_by_sixty_decibels_in_its_time():
    click = np.zeros((1, 2 * RATE), np.float32)
    click[0, 0] = 1.0
    tail = np.square(in_a_room(click, 0.6)[0])
    early, late = tail[200:4000].mean(), tail[200 + round(0.3 * RATE) : 4000 + round(0.3 * RATE)].mean()
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=1)
    assert not tail[round(0.7 * RATE) :].max() > 1e-9


def test_noise_lies_as_far_below_as_asked(wave):
    rest = noisy(wave, 35) - wave
    assert 10 * np.log10(np.square(wave).mean() / np.square(rest).mean()) == pytest.approx(35, abs=0.1)
    assert level_db(rest, 200, 400) - level_db(rest, 3200, 6400) == pytest.approx(12, abs=1)  # 3 dB an octave


def test_a_low_pass_leaves_the_rest_alone(wave):
    made = low_passed(wave, 8000)
    assert level_db(made, 100, 6000) == pytest.approx(level_db(wave, 100, 6000), abs=0.2)
    assert level_db(made, 12_000, 20_000) < level_db(wave, 12_000, 20_000) - 40
