"""Fast Griffin-Lim iterations in plain PyTorch: on any device, all channels at once; the reference for `iterations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from audiotrans.spectrogram.phase.iterations import MOMENTUM
from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    from audiotrans.spectrogram.phase.kernels import Floats


def iterate_batched(
    spectrum: Floats, magnitude: Floats, mid_side: Floats | None, stft: STFT, iterations: int, device: torch.device
) -> Floats:
    """Do what `iterations.iterate` does, on ``device``, and return the spectrum.

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
    found = fast_griffin_lim(start, there(magnitude), None if mid_side is None else there(mid_side), stft, iterations)
    back: Floats = found.transpose(-1, -2).contiguous().cpu().numpy().view(np.float32)
    return back


def fast_griffin_lim(
    spectrum: Tensor,
    magnitude: Tensor,
    mid_side: Tensor | None,
    stft: STFT,
    iterations: int,
    momentum: float = MOMENTUM,
) -> Tensor:
    """Iterate as Perraudin, Balazs and Sondergaard (WASPAA 2013) write it down, with spectra kept from step to step.

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
