"""How loud a sound is to listeners: integrated loudness after ITU-R BS.1770-4, and the gains that match it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.signal import sosfilt

from audiotrans.audio.resampling import Wave

QUIETEST_DB = 15.0
"""A sound further than this below its clip's median is not matched: all others would have to be made as faint."""

_BLOCK_SECONDS = 0.4
_OVERLAP = 4  # a block begins every quarter of a block
_SILENCE_LUFS = -70.0
_GATE_LU = -10.0
_OFFSET_DB = -0.691  # makes a 997 Hz sine at full scale in one channel -3.01 LUFS
_SURROUND = 1.41  # weight of the channels behind the listener

Array = npt.NDArray[np.float64]


def loudness_lufs(wave: Wave, sample_rate: int) -> float | None:
    """Measure the integrated loudness.

    Args:
        wave: (channels, samples), not empty. Shorter than the standard's block of 0.4 s it is repeated. Of more than
            five channels, the first two stand for all.
        sample_rate: in Hz.

    Returns:
        LUFS, K-weighted and gated, or None for what lies under the gate (-70 LUFS): silence.

    Source: ITU-R BS.1770-4, annex 1.
    """
    block = max(1, round(_BLOCK_SECONDS * sample_rate))
    heard = wave if len(wave) <= 5 else wave[:2]
    if heard.shape[1] < block:
        heard = np.tile(heard, -(-block // heard.shape[1]))
    powers = _block_powers(sosfilt(k_weighting(sample_rate), heard.astype(np.float64), axis=-1), block)
    weights = np.array([1.0, 1.0, 1.0, _SURROUND, _SURROUND])[: len(heard)]
    power = weights @ powers
    power = power[_lufs(power) > _SILENCE_LUFS]
    if not power.size:
        return None
    gate = float(_lufs(np.asarray(power.mean()))) + _GATE_LU
    return float(_lufs(np.asarray(power[_lufs(power) > gate].mean())))


def matching_gains(levels: Sequence[float | None]) -> list[float]:
    """Find the gains that make the sounds of one clip equally loud, by lowering only: raising could clip.

    Args:
        levels: loudness of each, LUFS; None for silence.

    Returns:
        A gain in dB, <= 0, for each; 0 for silence, and for what is ``QUIETEST_DB`` or more below the median.
    """
    heard = [level for level in levels if level is not None]
    if not heard:
        return [0.0 for _ in levels]
    target = min(level for level in heard if level > float(np.median(heard)) - QUIETEST_DB)
    return [0.0 if level is None else min(0.0, target - level) for level in levels]


def k_weighting(sample_rate: int) -> Array:
    """Return the standard's two filters as second-order sections, shape (2, 6), made for any sample rate.

    The standard tabulates them at 48 kHz only; these are the analogue filters behind the table, by the bilinear
    transform, and equal it there.
    """
    return np.array([_shelf(sample_rate), _high_pass(sample_rate)])


def _shelf(sample_rate: int) -> list[float]:
    """Return the rise of 4 dB above 1.7 kHz, the head's; nothing where the rate does not reach there."""
    hertz, gain_db, quality = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    if hertz > 0.45 * sample_rate:
        return [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    k = math.tan(math.pi * hertz / sample_rate)
    high = 10 ** (gain_db / 20)
    middle = high**0.4996667741545416
    norm = 1 + k / quality + k * k
    rise = [high + middle * k / quality + k * k, 2 * (k * k - high), high - middle * k / quality + k * k]
    return [*(each / norm for each in rise), 1.0, *_poles(k, quality)]


def _high_pass(sample_rate: int) -> list[float]:
    """Return the fall below 38 Hz."""
    hertz, quality = 38.13547087602444, 0.5003270373238773
    return [1.0, -2.0, 1.0, 1.0, *_poles(math.tan(math.pi * hertz / sample_rate), quality)]


def _poles(k: float, quality: float) -> tuple[float, float]:
    norm = 1 + k / quality + k * k
    return 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm


def _block_powers(wave: Array, block: int) -> Array:
    """Return the mean square of overlapping blocks, (channels, blocks)."""
    sums = np.pad(np.cumsum(wave * wave, axis=1), ((0, 0), (1, 0)))
    starts = np.arange(0, wave.shape[1] - block + 1, max(1, block // _OVERLAP))
    powers: Array = (sums[:, starts + block] - sums[:, starts]) / block
    return np.maximum(powers, 0.0)  # rounding of the running sum


def _lufs(power: Array) -> Array:
    return np.asarray(_OFFSET_DB + 10.0 * np.log10(np.maximum(power, 1e-20)))
