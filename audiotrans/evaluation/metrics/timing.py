"""Onsets, loudness over time, clipping and silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.evaluation.wave_checks import Wave, mono, validate, validate_wave

Array = npt.NDArray[np.floating[Any]]

ONSET_WINDOW_SECONDS = 0.05
LOUDNESS_RANGE_DB = 60.0
SILENCE_DB = -60.0
# The largest value that 16-bit samples can hold; a wave at it has been cut off or is about to be.
CLIP_LEVEL = 32767 / 32768
_FRAME_SECONDS = 0.05


def onset_f1(reference: Wave, estimate: Wave, sample_rate: int) -> float:
    """Compute the onset F1 of two sounds: onsets within 50 ms of each other agree.

    Onsets come from librosa's spectral-flux detector on both sounds, so a soft attack that it misses counts against
    the agreement. 1.0 where neither sound has an onset.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz.

    Returns:
        Between 0 and 1.

    Raises:
        AudiotransError: where the waves cannot be compared.
    """
    validate(reference, estimate, sample_rate)
    return f1_of_onsets(onset_times(reference, sample_rate), onset_times(estimate, sample_rate))


def f1_of_onsets(first: Array, second: Array) -> float:
    """Return F1, 0 to 1, over two ascending lists of onsets in seconds; 1.0 where both are empty."""
    total = len(first) + len(second)
    return 2.0 * match_onsets(first, second) / total if total else 1.0


def onset_times(wave: Wave, sample_rate: int) -> Array:
    """Detect note onsets in the mono mix of a wave (channels, samples); returns seconds in ascending order."""
    import librosa

    hop = max(1, round(sample_rate * 0.01))
    times: Array = librosa.onset.onset_detect(
        y=mono(wave).astype(np.float32), sr=sample_rate, hop_length=hop, units="time"
    )
    return times


def match_onsets(first: Array, second: Array, window_seconds: float = ONSET_WINDOW_SECONDS) -> int:
    """Count the most pairs that can be made, one of each side, no further apart than the window.

    Args:
        first: seconds, ascending.
        second: seconds, ascending.
        window_seconds: the largest distance of a pair.
    """
    # With the same window for all, pairing the earliest two that fit never costs a later pair.
    i = j = pairs = 0
    while i < len(first) and j < len(second):
        if abs(first[i] - second[j]) <= window_seconds:
            i, j, pairs = i + 1, j + 1, pairs + 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    return pairs


def loudness_correlation(reference: Wave, estimate: Wave, sample_rate: int) -> float:
    """Compute the correlation of two loudness curves: Pearson's r between levels in dB, frames of 50 ms.

    Levels more than 60 dB below a sound's own loudest frame count as that floor. Two sounds of constant level agree
    (1.0); where only one is constant there is nothing to follow (0.0).

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz.

    Returns:
        Between -1 and 1.

    Raises:
        AudiotransError: where the waves cannot be compared.
    """
    validate(reference, estimate, sample_rate)
    curves = [_level_curve(wave, sample_rate) for wave in (reference, estimate)]
    curves = [np.maximum(curve, curve.max() - LOUDNESS_RANGE_DB) for curve in curves]
    # A hundredth of a dB: below it the variation of a level is rounding, not music.
    constant = [bool(curve.std() < 0.01) for curve in curves]
    if any(constant):
        return float(all(constant))
    return float(np.corrcoef(curves[0], curves[1])[0, 1])


def _level_curve(wave: Wave, sample_rate: int) -> Array:
    """Return the level of each frame of 50 ms, all channels together, in dB re full scale, no lower than -200 dB."""
    size = max(1, round(sample_rate * _FRAME_SECONDS))
    starts = np.arange(0, wave.shape[1], size)
    energy = np.add.reduceat(np.square(wave, dtype=np.float64).mean(axis=0), starts)
    lengths = np.minimum(size, wave.shape[1] - starts)
    level: Array = 10.0 * np.log10(np.maximum(energy / lengths, 1e-20))
    return level


def clipped_fraction(wave: Wave) -> float:
    """Return the share of samples, 0 to 1, at or beyond full scale of a wave (channels, samples)."""
    validate_wave(wave)
    return float(np.mean(np.abs(wave) >= CLIP_LEVEL))


def silent_fraction(wave: Wave, sample_rate: int) -> float:
    """Return the share of frames of 50 ms, 0 to 1, below -60 dB re full scale in a wave (channels, samples)."""
    validate_wave(wave)
    return float(np.mean(_level_curve(wave, sample_rate) < SILENCE_DB))
