"""The level that images are made at: the whole sound's, and the one that follows the music."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.level import LevelMeter, check_level, followed
from audiotrans.spectrogram.stft import STFT

RATE = 44100
HOP = 512


def music(seconds: float, seed: int = 0) -> np.ndarray:
    """Make plucked notes, three a second, of two octaves, as stereo."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    x = np.zeros_like(t)
    for k in range(int(seconds * 3)):
        hertz, since = 220 * 2 ** (rng.integers(0, 24) / 12), t - k / 3
        envelope = np.where(since > 0, np.exp(-4 * since) * np.minimum(since / 0.005, 1), 0)
        x += envelope * sum(np.sin(2 * np.pi * hertz * h * t) / h for h in (1, 2, 3, 4)) * 0.05
    return np.stack([x, x]).astype(np.float32)


def meter(wave: np.ndarray, block: int | None = None, **options: int) -> LevelMeter:
    found = LevelMeter(2048, HOP, RATE, **options)
    step = block or wave.shape[1]
    for i in range(0, wave.shape[1], step):
        found.update(torch.from_numpy(wave[:, i : i + step]))
    return found


def levels(wave: np.ndarray) -> np.ndarray:
    return meter(wave).levels_db()


def test_noise_has_its_root_mean_square():
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 4 * RATE)).astype(np.float32)
    assert meter(noise).level_db() == pytest.approx(-20, abs=0.2)
    assert np.median(levels(noise)) == pytest.approx(-20, abs=1)


def test_there_is_a_level_for_each_frame_whatever_the_length():
    for samples in (1, 100, 511, 512, 513, 2047, 2048, 2049, 44100):
        found = levels(np.ones((1, samples), np.float32))
        assert len(found) == STFT(2048, HOP).frames(samples)
        assert np.isfinite(found).all()


def test_blocks_of_any_size_give_the_same():
    wave = music(1.5)
    whole = meter(wave)
    for block in (1000, 4096, 50_001):
        parts = meter(wave, block)
        np.testing.assert_allclose(parts.levels_db(), whole.levels_db(), atol=1e-9)
        assert parts.level_db() == pytest.approx(whole.level_db(), abs=1e-9)


def test_a_gain_moves_every_level_as_far():
    wave = music(6)
    np.testing.assert_allclose(levels(wave * np.float32(10 ** (-27 / 20))), levels(wave) - 27, atol=1e-3)


def test_a_soft_phrase_is_seen_as_it_is_alone():
    wave = music(3)
    frames, soft = wave.shape[1] // HOP, wave * np.float32(0.1)
    before = levels(np.concatenate([soft, wave], axis=1))[: frames - 110]
    np.testing.assert_allclose(before, levels(wave)[: frames - 110] - 20, atol=1)
    after = levels(np.concatenate([wave, soft], axis=1))[frames + 90 :]
    np.testing.assert_allclose(after.mean(), levels(wave)[90:].mean() - 20, atol=1)


def test_a_knock_moves_nothing():
    wave = music(6) * np.float32(10 ** (-27 / 20))
    knocked = wave.copy()
    knocked[:, 4 * RATE : 4 * RATE + 882] = np.random.default_rng(1).uniform(-1, 1, (1, 882))
    moved = np.abs(levels(knocked) - levels(wave))
    assert moved.max() < 3
    assert moved.mean() < 0.5


def test_an_offset_and_rumble_move_nothing():
    wave = music(6)
    t = np.arange(wave.shape[1]) / RATE
    for heavy in (wave + np.float32(0.01), (wave + 0.02 * np.sin(2 * np.pi * 8 * t)).astype(np.float32)):
        assert np.abs(levels(heavy) - levels(wave))[10:-10].max() < 0.6


def test_what_comes_later_counts_for_less_than_a_second():
    wave = music(8)
    known = int(3.9 * RATE / HOP)
    np.testing.assert_allclose(levels(wave[:, : 5 * RATE])[:known], levels(wave)[:known], atol=0.5)


def test_a_bounded_meter_keeps_the_last_frames():
    wave = music(3)
    bounded = meter(wave, 1000, most_frames=100)
    count = STFT(2048, HOP).frames(wave.shape[1])
    np.testing.assert_allclose(bounded.levels_db(count - 50, 50), levels(wave)[-50:], atol=1)
    assert len(bounded.levels_db(count - 300, 310)) == 310  # the nearest stands for what is forgotten, or to come


def test_silence_has_no_level_and_is_refused():
    silent = meter(np.zeros((2, RATE), np.float32))
    assert silent.level_db() == -math.inf
    assert np.isfinite(silent.levels_db()).all()
    with pytest.raises(AudiotransError, match="the sound is silent"):
        check_level(silent.level_db())
    with pytest.raises(AudiotransError, match="at most 400 is possible"):
        check_level(math.nan)


def test_a_level_falls_no_faster_than_a_string():
    power = np.concatenate([np.ones(200), np.full(400, 1e-4)])
    found = followed(power, HOP / RATE)
    assert found[150] == pytest.approx(0, abs=1e-9)
    assert np.diff(found).min() == pytest.approx(-40 * HOP / RATE)
    assert found[-1] == pytest.approx(-40, abs=1e-9)
