"""Fourier transforms of arrays, in float32: torch's where torch is loaded, scipy's where it is not.

Both give the same. scipy's takes half a second to load, and an exported graph is to run without torch.
"""

from __future__ import annotations

import sys
from typing import cast

import numpy as np
from numpy.typing import NDArray


def rfft(frames: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the spectra ``(..., size // 2 + 1)`` of real frames ``(..., size)``."""
    if sys.modules.get("torch") is not None:
        import torch

        return cast("NDArray[np.complex64]", torch.fft.rfft(torch.from_numpy(frames)).numpy())
    import scipy.fft

    return cast("NDArray[np.complex64]", scipy.fft.rfft(frames))


def irfft(spectra: NDArray[np.complex64], size: int) -> NDArray[np.float32]:
    """Return the frames ``(..., size)`` of spectra ``(..., size // 2 + 1)``."""
    if sys.modules.get("torch") is not None:
        import torch

        return cast("NDArray[np.float32]", torch.fft.irfft(torch.from_numpy(spectra), size).numpy())
    import scipy.fft

    return cast("NDArray[np.float32]", scipy.fft.irfft(spectra, size))
