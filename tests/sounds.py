"""Sounds that several tests of the audio door share, and how near two of them are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]


def tones(channels: int, sample_rate: int = 48_000, seconds: float = 1.0) -> Wave:
    """Make a faded tone per channel, each at its own pitch; 7 samples more, so that no length is round."""
    time = np.arange(int(sample_rate * seconds) + 7) / sample_rate
    pitches = 220 + 30 * np.arange(channels)[:, None]
    return (0.4 * np.sin(2 * np.pi * pitches * time) * np.hanning(len(time))).astype(np.float32)


def snr_db(truth: Wave, found: Wave) -> float:
    """Return the level of ``truth`` over that of the difference."""
    error = float(np.sum((truth.astype(np.float64) - found) ** 2))
    return 10 * np.log10(float(np.sum(truth.astype(np.float64) ** 2)) / max(error, 1e-30))
