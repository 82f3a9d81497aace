"""How phase and magnitude of a Gaussian-windowed STFT hang together, for the Hann window that resembles it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    Floats = NDArray[np.float32]

HANN_GAMMA = 0.25645
"""The Gaussian ``exp(-pi l^2 / gamma)`` nearest to a Hann window of N samples has ``gamma = 0.25645 N^2`` (LTFAT)."""


def gradient_steps(stft: STFT, gamma: float = HANN_GAMMA) -> tuple[float, float]:
    """Return what turns differences of log magnitudes over two bins, and over two hops, into half a phase step.

    With window length N, hop a and ``L = ln |X|``, phases of the centred convention advance, per hop, by
    ``a / (2 gamma N) (L[m+1] - L[m-1]) + 2 pi a m / N`` and, per bin, by ``-gamma N / (2 a) (L[n+1] - L[n-1])``.
    Integrating by the trapezoid rule takes half a step from either end.

    Args:
        stft: its window length and hop.
        gamma: of the window, in units of its squared length.

    Source: Prusa, Balazs and Sondergaard, "A non-iterative method for reconstruction of phase from STFT magnitude",
    IEEE/ACM TASLP 25(5), 2017, eq. 17-18 in their discrete form.
    """
    time = stft.hop_length / (4 * gamma * stft.n_fft)
    return time, gamma * stft.n_fft / (4 * stft.hop_length)


def half_advance(stft: STFT) -> Floats:
    """Return half of each bin's phase advance per hop, ``(bins,)``, whole turns taken off exactly."""
    turns = np.arange(stft.bins) * stft.hop_length % stft.n_fft / stft.n_fft
    return (math.pi * turns).astype(np.float32)
