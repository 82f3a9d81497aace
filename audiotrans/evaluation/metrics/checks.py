"""What every measure asks of the waves that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError

Wave = npt.NDArray[np.floating[Any]]


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
        raise AudiotransError(f"the {name} holds NaN or infinite samples, which no measure can count")


def validate(reference: Wave, estimate: Wave, sample_rate: int = 1) -> None:
    """Refuse two waves that cannot be compared sample by sample.

    Raises:
        AudiotransError: where one of them is no wave, the shapes differ or the rate (Hz) is not positive.
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
