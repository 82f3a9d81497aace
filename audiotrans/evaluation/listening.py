"""A wave as those who listen to it want it: mono, at their own rate, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from audiotrans.audio import resample_blocks
from audiotrans.evaluation.metrics.checks import Wave

_BLOCK = 1 << 16


def mono_blocks(wave: Wave, sample_rate: int, wanted_rate: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the mono mix of a wave at another rate, in blocks, so that no second copy of the whole is held.

    Args:
        wave: shape (channels, samples).
        sample_rate: its rate in Hz.
        wanted_rate: rate in Hz of the blocks.

    Yields:
        Arrays of shape (samples,); joined they are what mixing and resampling the whole gives.
    """
    starts = range(0, wave.shape[1], _BLOCK)
    mixed = (
        wave[:, start : start + _BLOCK].mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        for start in starts
    )
    blocks = mixed if sample_rate == wanted_rate else resample_blocks(mixed, sample_rate, wanted_rate, 1)
    for block in blocks:
        yield block[0]
