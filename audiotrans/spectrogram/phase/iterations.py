"""Fast Griffin-Lim iterations on the CPU, written so that only the magnitudes are read again each time.

One iteration gives the spectrum c its magnitudes, s c/|c|, and takes the nearest wave's spectrum, t = STFT(ISTFT(.));
with momentum alpha, the next c is t + alpha (t - t before). The STFT is linear, so c is the transform of the wave
w + alpha (w - w before): extrapolating waves instead of spectra saves keeping any spectrum at all.

Source: Griffin and Lim, IEEE TASSP 32(2), 1984; Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm",
WASPAA 2013. The stereo form, which also imposes the magnitudes of mid and side, is this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    from audiotrans.spectrogram.phase.kernels import Floats

MOMENTUM = 0.99
"""Above 1 the iteration climbs away from a good start."""

BLOCK_FRAMES = 24
"""Frames worked on at a time, over all channels: few enough to stay in a core's cache."""


def iterate(
    spectrum: Floats,
    magnitude: Floats,
    mid_side: Floats | None,
    stft: STFT,
    iterations: int,
    momentum: float = MOMENTUM,
) -> None:
    """Bring a spectrum's phases nearer to those of a wave.

    Args:
        spectrum: to start from, ``(channels, frames, 2 bins)``, real and imaginary parts in turn; overwritten by the
            result, whose magnitudes are those wanted, or 0 where nothing says which phase they should have.
        magnitude: wanted, ``(channels, frames, bins)``, largest about 1.
        mid_side: magnitudes of (left + right) / 2 and (left - right) / 2, for two channels; None: each channel alone.
        stft: settings of all of them.
        iterations: how many, >= 0.
        momentum: 0: plain Griffin-Lim.
    """
    if not iterations or spectrum.shape[1] == 1:  # between the first frame's centre and itself lies no sample
        return
    channels, frames, _ = spectrum.shape
    waves = Waves(channels, frames, stft)
    size = max(1, BLOCK_FRAMES // channels)
    starts = range(0, frames, size)
    for start in starts:
        waves.add(spectrum[:, start : start + size], start)
    for left in range(iterations - 1, -1, -1):
        waves.step(momentum if left < iterations - 1 else 0.0)
        for start in starts:
            block = waves.cut(start, min(size, frames - start))
            project(block, start, magnitude, mid_side, left == 0)
            if left:
                waves.add(block, start)
            else:
                spectrum[:, start : start + size] = block


def project(block: Floats, start: int, magnitude: Floats, mid_side: Floats | None, last: bool) -> None:
    """Impose magnitudes on the frames from ``start`` on; the last time, those of the channels themselves."""
    from audiotrans.spectrogram.phase.iteration_kernels import impose, impose_jointly

    if mid_side is not None:
        impose_jointly(magnitude, mid_side, start, block)
    if mid_side is None or last:
        impose(magnitude, start, block)


class Waves:
    """The waves between iterations: the last one, the one ahead of it, and the next one as its frames are added."""

    def __init__(self, channels: int, frames: int, stft: STFT) -> None:
        self._stft = stft
        self._window = stft.window().numpy()
        self._weight = overlap_weight(frames, stft)
        self._wave, self._ahead, self._added = (np.zeros((channels, len(self._weight)), np.float32) for _ in range(3))

    def add(self, block: Floats, start: int) -> None:
        """Add some frames' spectra ``(channels, n, 2 bins)`` to the next wave."""
        from scipy.fft import irfft

        from audiotrans.spectrogram.phase.iteration_kernels import add_frames

        frames = irfft(block.view(np.complex64), self._stft.n_fft, axis=-1, workers=1)
        add_frames(frames, start, self._stft.hop_length, self._window, self._added)

    def step(self, momentum: float) -> None:
        """Make what was added the last wave."""
        from audiotrans.spectrogram.phase.iteration_kernels import extrapolate

        extrapolate(self._added, self._weight, momentum, self._wave, self._ahead)

    def cut(self, start: int, count: int) -> Floats:
        """Transform frames ``start .. start + count`` of the wave ahead: ``(channels, count, 2 bins)``."""
        from scipy.fft import rfft

        from audiotrans.spectrogram.phase.iteration_kernels import cut_frames

        frames = np.empty((len(self._ahead), count, self._stft.n_fft), np.float32)
        cut_frames(self._ahead, start, self._stft.hop_length, self._window, frames)
        spectrum: Floats = rfft(frames, axis=-1, overwrite_x=True, workers=1).view(np.float32)
        return spectrum


def overlap_weight(frames: int, stft: STFT) -> Floats:
    """Return 1 over the sum of squared windows, ``((frames - 1) hop + n_fft,)``; 0 before and after the sound."""
    square = stft.window().double().numpy() ** 2
    total = np.zeros((frames - 1) * stft.hop_length + stft.n_fft)
    for n in range(frames):
        total[n * stft.hop_length : n * stft.hop_length + stft.n_fft] += square
    inside = slice(stft.n_fft // 2, stft.n_fft // 2 + (frames - 1) * stft.hop_length)
    weight = np.zeros(len(total), np.float32)
    weight[inside] = 1 / total[inside]
    return weight
