"""Compiled inner loops of the phase methods. Imported only where one of them runs: numba takes its time to load.

Arrays are frames-major, ``(frames, bins)``, contiguous float32. Phases are those of the *centred* convention, in which
time 0 is the window's centre; `audiotrans.spectrogram.stft` starts its transforms at the window's first sample, which
multiplies bin m by (-1)^m.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., object])

LEVELS = 128
"""Buckets of the queues: steps of 0.9 dB over the 120 dB that are integrated. Finer ones cost time and win nothing."""

TOLERANCE_LOG = math.log(1e-6)
"""Bins this far below the loudest get random phases: nothing that can be heard depends on them."""

LEVELS_PER_NEPER = (LEVELS - 1) / -TOLERANCE_LOG

FLOOR_LOG = math.log(1e-10)
"""Logarithms are cut off this far below the loudest bin around: the gradients of nothing are nothing."""

TINY = 1e-37
"""Smaller magnitudes count as this, which float32 can still hold in full precision."""

SILENT_LOG = math.log(1.01 * TINY)
"""What has no louder bin is silence."""

TURN = 2 * math.pi


_njit: Any = numba.njit  # typed in some versions of numba, not in others


def compiled(function: Function) -> Function:
    """Compile on first use, and keep the machine code on disk where there is a place for it."""
    try:
        made: Function = _njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's folder nor the user's own cache can be written
        made = _njit(nogil=True, error_model="numpy")(function)
    return made


@compiled
def wrapped(phase: np.float32) -> np.float32:
    """Bring a phase to -pi..pi: float32 phases keep their accuracy however long the sound."""
    return np.float32(phase - TURN * np.rint(phase / TURN))


@compiled
def random_phase(seed: int, index: int) -> np.float32:
    """Return a phase that depends on its two arguments alone (SplitMix64's mixing function on a counter)."""
    z = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float32((np.float64(z >> np.uint64(11)) / 9007199254740992.0 - 0.5) * TURN)


@compiled
def sine_cosine(phase: np.float32) -> tuple[np.float32, np.float32]:
    """Return sine and cosine of a float32 phase within -pi..pi, to 1e-7; in plain arithmetic, which vectorises."""
    turned = phase * np.float32(2 / math.pi) + np.float32(12582912.0)  # 1.5 * 2^23: rounds to whole quarter turns
    quarter = turned - np.float32(12582912.0)
    r = phase - quarter * np.float32(1.5707964) + quarter * np.float32(4.371139e-08)
    x = r * r
    sine = r + r * x * (np.float32(-0.16666655) + x * (np.float32(0.0083321608) - x * np.float32(0.00019515296)))
    cosine = np.float32(1) - x * np.float32(0.5)
    cosine += x * x * (np.float32(0.041666646) + x * (np.float32(-0.0013887316) + x * np.float32(2.443315e-05)))
    odd = abs(quarter) == np.float32(1)
    sign = np.float32(-1) if abs(quarter) == np.float32(2) else np.float32(1)
    return (quarter * cosine if odd else sign * sine), (-quarter * sine if odd else sign * cosine)


@compiled
def polar(magnitude: Floats, phase: Floats, spectrum: Floats) -> None:
    """Write ``magnitude exp(j phase) (-1)^bin``: a spectrum of frames that start half a window before their centre.

    Args:
        magnitude: ``(frames, bins)``.
        phase: centred convention, -pi..pi, ``(frames, bins)``.
        spectrum: ``(frames, 2 bins)``, real and imaginary parts in turn.
    """
    for n in range(magnitude.shape[0]):
        for m in range(magnitude.shape[1]):
            sine, cosine = sine_cosine(phase[n, m])
            size = magnitude[n, m] * np.float32(1 - 2 * (m & 1))
            spectrum[n, 2 * m] = size * cosine
            spectrum[n, 2 * m + 1] = size * sine
