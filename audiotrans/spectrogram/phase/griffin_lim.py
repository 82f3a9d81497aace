"""Fast Griffin-Lim iterations: on the CPU so that only the magnitudes are read again each time, elsewhere in PyTorch.

One iteration gives the spectrum c its magnitudes, s c/|c|, and takes the nearest wave's spectrum, t = STFT(ISTFT(.));
with momentum alpha, the next c is t + alpha (t - t before). The STFT is linear, so c is the transform of the wave
w + alpha (w - w before): extrapolating waves instead of spectra saves keeping any spectrum at all.

Source: Griffin and Lim, IEEE TASSP 32(2), 1984; Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm",
WASPAA 2013. The stereo form, which also imposes the magnitudes of mid and side, is this project's own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiotrans.spectrogram.phase.task import Floats
from audiotrans.spectrogram.stft import STFT

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
    from audiotrans.spectrogram.phase import kernels

    if mid_side is not None:
        kernels.impose_jointly(magnitude, mid_side, start, block)
    if mid_side is None or last:
        kernels.impose(magnitude, start, block)


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

        from audiotrans.spectrogram.phase import kernels

        frames = irfft(block.view(np.complex64), self._stft.n_fft, axis=-1, workers=1)
        kernels.add_frames(frames, start, self._stft.hop_length, self._window, self._added)

    def step(self, momentum: float) -> None:
        """Make what was added the last wave."""
        from audiotrans.spectrogram.phase import kernels

        kernels.extrapolate(self._added, self._weight, momentum, self._wave, self._ahead)

    def cut(self, start: int, count: int) -> Floats:
        """Transform frames ``start .. start + count`` of the wave ahead: ``(channels, count, 2 bins)``."""
        from scipy.fft import rfft

        from audiotrans.spectrogram.phase import kernels

        frames = np.empty((len(self._ahead), count, self._stft.n_fft), np.float32)
        kernels.cut_frames(self._ahead, start, self._stft.hop_length, self._window, frames)
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


def iterate_batched(
    spectrum: Floats, magnitude: Floats, mid_side: Floats | None, stft: STFT, iterations: int, device: torch.device
) -> Floats:
    """Do what `iterate` does in plain PyTorch, on any device and all channels at once, and return the spectrum.

    Args:
        spectrum: to start from, ``(channels, frames, 2 bins)``, real and imaginary parts in turn.
        magnitude: wanted, ``(channels, frames, bins)``.
        mid_side: magnitudes of mid and side, or None.
        stft: settings of all of them.
        iterations: how many.
        device: where to.
    """

    def there(plane: Floats) -> Tensor:
        return torch.from_numpy(plane).to(device).transpose(-1, -2)

    start = there(spectrum.view(np.complex64))
    found = iterate_tensors(start, there(magnitude), None if mid_side is None else there(mid_side), stft, iterations)
    back: Floats = found.transpose(-1, -2).contiguous().cpu().numpy().view(np.float32)
    return back


def iterate_tensors(
    spectrum: Tensor,
    magnitude: Tensor,
    mid_side: Tensor | None,
    stft: STFT,
    iterations: int,
    momentum: float = MOMENTUM,
) -> Tensor:
    """Iterate as Perraudin et al. (2013) write it down, spectra kept from step to step: the reference for `iterate`.

    Args:
        spectrum: complex, to start from, ``(channels, bins, frames)``.
        magnitude: wanted, same shape.
        mid_side: for two channels, magnitudes of (left + right) / 2 and (left - right) / 2; None: each channel alone.
        stft: settings of all of them.
        iterations: how many, >= 0.
        momentum: 0: plain Griffin-Lim.

    Returns:
        Complex spectrum with the magnitudes.
    """
    if spectrum.shape[-1] == 1:
        return spectrum
    length = (spectrum.shape[-1] - 1) * stft.hop_length
    before: Tensor | None = None
    for left in range(iterations - 1, -1, -1):
        consistent = stft.forward(stft.inverse(spectrum, length))
        ahead = consistent if before is None else consistent + momentum * (consistent - before)
        before = consistent
        spectrum = ahead if mid_side is None else _jointly(ahead, magnitude, mid_side)
        if mid_side is None or left == 0:
            spectrum = magnitude * torch.sgn(spectrum)
    return spectrum


def _jointly(spectrum: Tensor, magnitude: Tensor, mid_side: Tensor) -> Tensor:
    left, right = spectrum
    mid, side = mid_side * torch.sgn(torch.stack([left + right, left - right]))
    return (magnitude * torch.sgn(spectrum) + torch.stack([mid + side, mid - side])) / 2
