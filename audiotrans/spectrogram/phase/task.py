"""What every phase method is given, and what all of them need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.stft import STFT

MAX_CHANNELS = 8
"""What sound files hold at most here; the number of a channel takes three bits in the compiled loops."""


@dataclass(frozen=True)
class PhaseTask:
    """One sound's magnitudes and what is known of its phases.

    Attributes:
        magnitude: ``(channels, bins, frames)``, >= 0.
        source: complex spectrum of the input, same shape.
        generated: phase in radians that a network painted, same shape, or None.
        stft: the settings all of them were made with.
        gain: ``(bins, frames)``, where the magnitude is so many times the source's.
        seed: for methods that start from random phases.
        mid_side: magnitudes ``(2, bins, frames)`` of (left + right) / 2 and (left - right) / 2 of a stereo sound, where
            they are known; None: they are derived from the source's phase differences.
    """

    magnitude: Tensor
    source: Tensor
    generated: Tensor | None
    stft: STFT
    gain: Tensor | None = None
    seed: int = 0
    mid_side: Tensor | None = None


def direction(spectrum: Tensor) -> Tensor:
    """Return ``exp(j angle)``; 1 where the spectrum is zero, or too small to be divided by."""
    parts = torch.view_as_real(spectrum)
    small = parts.abs().amax(-1) < torch.finfo(parts.dtype).tiny
    return torch.sgn(spectrum).masked_fill_(small, 1)


def common(spectrum: Tensor) -> Tensor:
    """Sum the channels, turned to the polarity of the loudest: channels of opposite polarity must not cancel.

    Args:
        spectrum: complex, ``(channels, bins, frames)``.

    Returns:
        Complex ``(bins, frames)``.
    """
    loudest = spectrum[spectrum.abs().square().sum((1, 2)).argmax()]
    agreement = (spectrum * loudest.conj()).real.sum((1, 2))
    return torch.where(agreement[:, None, None] < 0, -spectrum, spectrum).sum(0)


def check_magnitude(magnitude: Tensor, stft: STFT) -> None:
    """Refuse what is no magnitude.

    Args:
        magnitude: wanted: ``(channels, bins, frames)``, finite.
        stft: says how many bins.

    Raises:
        ValueError: for another shape.
        AudiotransError: for values that no magnitude can have.
    """
    if magnitude.ndim != 3 or magnitude.shape[1] != stft.bins:
        raise ValueError(f"magnitudes of shape {tuple(magnitude.shape)}: give (channels, {stft.bins}, frames)")
    if not 1 <= len(magnitude) <= MAX_CHANNELS:
        raise ValueError(f"{len(magnitude)} channels: 1 to {MAX_CHANNELS} are possible")
    if magnitude.numel() and not math.isfinite(float(magnitude.max())):  # the largest of anything with NaN is NaN
        raise AudiotransError("the magnitudes hold NaN or infinite values: no phase fits them; repair the sound first")
