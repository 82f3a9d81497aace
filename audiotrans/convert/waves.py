"""What a wave must be before anything is made of it."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from audiotrans.audio import Wave
from audiotrans.audio.formats import MAX_CHANNELS
from audiotrans.errors import AudiotransError


def check_wave(wave: NDArray[np.floating], sample_rate: int) -> Wave:
    """Return a wave as float32 ``(channels, samples)``.

    Raises:
        AudiotransError: naming what is wrong with the wave or the rate.
    """
    if not isinstance(wave, np.ndarray) or not np.issubdtype(wave.dtype, np.floating):
        kind = getattr(wave, "dtype", type(wave).__name__)
        raise AudiotransError(f"the wave is of type {kind}: give a numpy array of floats in [-1, 1]")
    if wave.ndim not in (1, 2) or (wave.ndim == 2 and not 1 <= wave.shape[0] <= MAX_CHANNELS):
        shapes = f"(samples,) or (channels, samples) with 1 to {MAX_CHANNELS} channels"
        raise AudiotransError(f"the wave has shape {wave.shape}: give {shapes}")
    known = isinstance(sample_rate, Real) and math.isfinite(sample_rate)
    if not known or sample_rate <= 0 or sample_rate != int(sample_rate):
        raise AudiotransError(f"sample rate {sample_rate!r} Hz: give the wave's rate, a whole number above 0")
    with np.errstate(over="ignore"):
        found = np.atleast_2d(wave).astype(np.float32)
    if not np.isfinite(found).all():
        raise AudiotransError("the wave holds NaN or infinite samples: repair it first, for instance numpy.nan_to_num")
    return found
