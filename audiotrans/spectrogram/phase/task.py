"""What every phase method is given, and its arrays as the compiled loops of `kernels` want them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.stft import STFT

Floats = NDArray[np.float32]

MAX_CHANNELS = 8
"""What sound files hold at most here; the number of a channel takes three bits in the compiled loops."""


@dataclass(frozen=True)
class PhaseTask:
    """One sound's magnitudes and what is known of its phases.

    Attributes:
        magnitude: ``(channels, bins, frames)``, >= 0.
        source: complex spectrum of the input, same shape.
        generated: phase in radians that a network generated, same shape, or None.
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
    """Refuse what cannot be magnitudes.

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


@dataclass(frozen=True)
class Planes:
    """A task's arrays: frames-major float32 whose loudest bin is near 1.

    Attributes:
        magnitude: ``(channels, frames, bins)``, the loudest between 1/2 and 1.
        angle: phases of the source in the centred convention (see `kernels`), same shape; None for a single channel.
        mid_side: see `PhaseTask`, scaled as ``magnitude``; None: not known.
    """

    magnitude: Floats
    angle: Floats | None
    mid_side: Floats | None


def planes(task: PhaseTask) -> Planes:
    """Return a task's arrays.

    Raises:
        ValueError: for shapes that do not belong together.
        AudiotransError: for magnitudes that are not finite.
    """
    check_magnitude(task.magnitude, task.stft)
    if task.source.shape != task.magnitude.shape:
        raise ValueError(f"a source of shape {tuple(task.source.shape)} for magnitudes {tuple(task.magnitude.shape)}")
    scale = power_of_two(task.magnitude)
    mid_side = None
    if task.mid_side is not None:
        if len(task.magnitude) != 2 or task.mid_side.shape != task.magnitude.shape:
            raise ValueError(
                f"mid and side of shape {tuple(task.mid_side.shape)}: only stereo has them, as its channels"
            )
        mid_side = frames_major(task.mid_side * scale)
    angle = source_angle(task.source) if len(task.source) > 1 else None
    return Planes(frames_major(task.magnitude * scale), angle, mid_side)


def source_angle(source: Tensor) -> Floats:
    """Return the phases of ``(channels, bins, frames)``, ``(channels, frames, bins)``, centred; 0 for silence."""
    from audiotrans.spectrogram.phase import kernels

    plane = spectrum_plane(source.cpu().to(torch.complex64))
    found = np.empty((*plane.shape[:2], plane.shape[2] // 2), np.float32)
    kernels.angles(plane, found)
    return found


def power_of_two(values: Tensor) -> float:
    """Return the power of two that brings the largest absolute value to 1/2 .. 1: an exact scaling; 1 for silence."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    return math.ldexp(1.0, -max(-100, min(100, math.frexp(largest)[1]))) if largest else 1.0


def frames_major(real: Tensor) -> Floats:
    """Return ``(..., bins, frames)`` as contiguous float32 ``(..., frames, bins)``."""
    array: Floats = real.detach().cpu().float().transpose(-1, -2).contiguous().numpy()
    return array


def spectrum_plane(spectrum: Tensor) -> Floats:
    """Return complex64 ``(..., bins, frames)`` as contiguous float32 ``(..., frames, 2 bins)``."""
    array: Floats = spectrum.detach().transpose(-1, -2).contiguous().resolve_conj().numpy().view(np.float32)
    return array


def spectrum_like(plane: Floats, magnitude: Tensor) -> Tensor:
    """Return a spectrum with exactly the magnitudes asked for, in their precision and on their device.

    Args:
        plane: ``(channels, frames, 2 bins)`` of about the right magnitude, the loudest near 1; overwritten.
        magnitude: ``(channels, bins, frames)``.
    """
    from audiotrans.spectrogram.phase import kernels

    alike = magnitude.device.type == "cpu" and magnitude.dtype == torch.float32
    kernels.dress(frames_major(magnitude if alike else torch.ones_like(magnitude)), plane)
    spectrum = torch.from_numpy(plane.view(np.complex64)).transpose(-1, -2)
    return spectrum if alike else spectrum.to(magnitude.device) * magnitude
