"""PGHI: phases from magnitudes by integrating their gradients, which the magnitudes hold.

Source: Prusa, Balazs and Sondergaard, "A non-iterative method for reconstruction of phase from STFT magnitude",
IEEE/ACM TASLP 25(5), 2017. The heap is replaced by buckets of 0.9 dB: every bin is queued once, at constant cost.
The form for several channels, which keeps their phases apart by given angles, is this project's own.
Runs on the CPU, a sound of any length in time and memory proportional to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiotrans.spectrogram.phase.gaussian import HANN_GAMMA, gradient_steps, half_advance
from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    from audiotrans.spectrogram.phase.kernels import Floats


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
    from audiotrans.spectrogram.phase.kernels import FLOOR_LOG, TINY
    from audiotrans.spectrogram.phase.pghi_kernels import fill_slopes, integrate_all

    channels, frames, bins = magnitude.shape
    loudest = int(magnitude.argmax()) if magnitude.size else 0
    if not magnitude.size or magnitude.flat[loudest] < TINY:
        return np.zeros((frames, bins), np.float32)
    width, entries = bins + 2, (frames + 2) * (bins + 2)
    slopes, codes = np.empty((entries, channels, 3), np.float32), np.zeros(entries, np.int16)
    steps, advance = np.array(gradient_steps(stft, gamma), np.float32), half_advance(stft)
    floor, top = magnitude.flat[loudest] * np.float32(np.exp(FLOOR_LOG)), np.log(magnitude.flat[loudest])
    for number in range(channels):
        logs = np.maximum(magnitude[number], floor)
        np.log(logs, out=logs)
        apart = np.broadcast_to(np.float32(0), logs.shape) if angle is None else angle[number]
        fill_slopes(logs, top, apart, steps, advance, number, slopes, codes)
    phase, following = np.empty(entries, np.float32), np.empty(entries, np.int32)
    loudest %= frames * bins
    first = (loudest // bins + 1) * width + loudest % bins + 1
    integrate_all(first, width, seed, slopes, codes, phase, following)
    return np.ascontiguousarray(phase.reshape(frames + 2, width)[1:-1, 1:-1])
