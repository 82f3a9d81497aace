"""Waves as evaluation takes them: what is refused, the mono mix, and the mono mix at another rate in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.audio import resample_blocks
from audiotrans.errors import AudiotransError

Wave = npt.NDArray[np.floating[Any]]

_BLOCK = 1 << 16


def validate_wave(wave: Wave, name: str = "wave") -> None:
    """Refuse anything but finite samples of shape (channels, samples).

    Raises:
        AudiotransError: naming `name` and what is wrong with it.
    """
    if wave.ndim != 2:
        raise AudiotransError(
            f"the {name} has shape {wave.shape}; a wave is (channels, samples), for mono use wave[None, :]"
        )
    if 0 in wave.shape:
        raise AudiotransError(f"the {name} of shape {wave.shape} holds no samples, so there is nothing to measure")
    if not np.issubdtype(wave.dtype, np.floating):
        raise AudiotransError(f"the {name} holds {wave.dtype} samples; give floating point, full scale 1.0")
    if not np.isfinite(wave).all():
        raise AudiotransError(f"the {name} holds NaN or infinite samples, which no metric can count")


def validate(reference: Wave, estimate: Wave, sample_rate: int = 1) -> None:
    """Refuse two waves that cannot be compared sample by sample.

    Raises:
        AudiotransError: where one of them is not a wave, the shapes differ or the rate (Hz) is not positive.
    """
    validate_wave(reference, "reference")
    validate_wave(estimate, "estimate")
    if reference.shape != estimate.shape:
        raise AudiotransError(
            f"the reference has shape {reference.shape}, the estimate {estimate.shape}; cut both to the same channels "
            "and length first"
        )
    if sample_rate <= 0:
        raise AudiotransError(f"the sample rate is {sample_rate} Hz; it must be positive")


def mono(wave: Wave) -> npt.NDArray[np.float64]:
    """Mix a wave (channels, samples) down to (samples,): the mean over the channels."""
    mix: npt.NDArray[np.float64] = np.mean(wave, axis=0, dtype=np.float64)
    return mix


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
