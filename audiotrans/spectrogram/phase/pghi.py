"""PGHI: phases from magnitudes by integrating their gradients, which the magnitudes hold.

Source: Prusa, Balazs and Sondergaard, "A non-iterative method for reconstruction of phase from STFT magnitude",
IEEE/ACM TASLP 25(5), 2017. The heap is replaced by buckets of 0.9 dB: every bin is queued once, at constant cost.
The form for several channels, which keeps their phases apart by given angles, is this project's own.
Runs on the CPU, a sound of any length in time and memory proportional to it.
"""

from __future__ import annotations

import math

import numpy as np

from audiotrans.spectrogram.phase.task import Floats
from audiotrans.spectrogram.stft import STFT

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

    Source: eq. 17-18 in their discrete form.
    """
    time = stft.hop_length / (4 * gamma * stft.n_fft)
    return time, gamma * stft.n_fft / (4 * stft.hop_length)


def half_advance(stft: STFT) -> Floats:
    """Return half of each bin's phase advance per hop, ``(bins,)``, whole turns taken off exactly."""
    turns = np.arange(stft.bins) * stft.hop_length % stft.n_fft / stft.n_fft
    return (math.pi * turns).astype(np.float32)


def integrated_phase(
    magnitude: Floats, angle: Floats | None, stft: STFT, *, seed: int = 0, gamma: float = HANN_GAMMA
) -> Floats:
    """Return the phases that fit the magnitudes of up to eight channels.

    Args:
        magnitude: finite, at most about 1e30, ``(channels, frames, bins)``.
        angle: radians, same shape: the channels' phases shall differ as these do, and only what is to be added to
            all of them is sought, from the loudest channel of each bin; None: 0 everywhere.
        stft: settings of the magnitudes.
        seed: decides the phases of what lies more than 120 dB below the loudest bin.
        gamma: of the window, see `gradient_steps`.

    Returns:
        What to add to ``angle``, radians in -pi..pi, centred convention (see `kernels`), ``(frames, bins)``.
    """
    from audiotrans.spectrogram.phase import kernels

    channels, frames, bins = magnitude.shape
    loudest = int(magnitude.argmax()) if magnitude.size else 0
    if not magnitude.size or magnitude.flat[loudest] < kernels.TINY:
        return np.zeros((frames, bins), np.float32)
    width, entries = bins + 2, (frames + 2) * (bins + 2)
    slopes, codes = np.empty((entries, channels, 3), np.float32), np.zeros(entries, np.int16)
    steps, advance = np.array(gradient_steps(stft, gamma), np.float32), half_advance(stft)
    floor, top = magnitude.flat[loudest] * np.float32(np.exp(kernels.FLOOR_LOG)), np.log(magnitude.flat[loudest])
    for number in range(channels):
        logs = np.maximum(magnitude[number], floor)
        np.log(logs, out=logs)
        apart = np.broadcast_to(np.float32(0), logs.shape) if angle is None else angle[number]
        kernels.fill_slopes(logs, top, apart, steps, advance, number, slopes, codes)
    phase, following = np.empty(entries, np.float32), np.empty(entries, np.int32)
    loudest %= frames * bins
    first = (loudest // bins + 1) * width + loudest % bins + 1
    kernels.integrate_all(first, width, seed, slopes, codes, phase, following)
    return np.ascontiguousarray(phase.reshape(frames + 2, width)[1:-1, 1:-1])
